/** A frame is a u32 big-endian length and that many bytes. */
import { PerigeeError } from '../base/errors.ts';

const headerBytes = 4;

/** A frame around a body. */
export function encodeFrame(body: Uint8Array): Uint8Array {
  const frame = new Uint8Array(headerBytes + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, headerBytes);
  return frame;
}

/** Cuts a byte stream into frames; holds at most one unfinished frame. */
export interface FrameReader {
  /**
   * The bodies completed by these bytes, in order. They may share memory with the input.
   * @throws PerigeeError frame_invalid when a frame is longer than the bound.
   */
  push(bytes: Uint8Array): Uint8Array[];
  /** Bytes of an unfinished frame; what follows the frames read so far. */
  rest(): Uint8Array;
}

/** A reader that refuses frames above `bytesMax`. */
export function createFrameReader(bytesMax: number): FrameReader {
  // Chunks of the unfinished frame, joined once it is complete: joining at every chunk would
  // cost the square of a large frame's size.
  let chunks: Uint8Array[] = [];
  let held = 0;
  const join = (): Uint8Array => {
    const only = chunks[0];
    if (chunks.length === 1 && only !== undefined) return only;
    return Buffer.concat(chunks, held);
  };
  const wanted = (): number => {
    if (held < headerBytes) return headerBytes;
    const joined = join();
    chunks = [joined];
    const length = new DataView(joined.buffer, joined.byteOffset, headerBytes).getUint32(0);
    if (length > bytesMax) {
      throw new PerigeeError(
        'frame_invalid',
        `A frame of ${length} bytes is over the limit of ${bytesMax}.`,
      );
    }
    return headerBytes + length;
  };
  let target = headerBytes;
  return {
    push(bytes) {
      const bodies: Uint8Array[] = [];
      if (bytes.length === 0) return bodies;
      chunks.push(bytes);
      held += bytes.length;
      while (held >= target) {
        target = wanted();
        if (held < target) break;
        const joined = join();
        bodies.push(joined.subarray(headerBytes, target));
        const left = joined.subarray(target);
        chunks = left.length > 0 ? [left] : [];
        held = left.length;
        target = headerBytes;
      }
      return bodies;
    },
    rest: () => join(),
  };
}
