/**
 * Raw bytes over a libp2p stream with back-pressure both ways. libp2p's own iteration reads ahead
 * without bound; here the stream is paused while the consumer is behind, so that a blob of any size
 * passes through a bounded buffer.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { PerigeeError } from '../base/errors.ts';
import { decode, encode } from '../wire/codec.ts';
import { encodeFrame } from '../wire/frames.ts';
import { countPassedBytes } from './collect-buffers.ts';
import { blobFrameBytesMax, readAheadBytesMax, transferWaits } from './limits.ts';
import { streamDrained } from './stream-drained.ts';
import { createStreamHold } from './stream-hold.ts';

/** Reads a stream in order: first frames, then raw bytes. */
export interface StreamReader {
  /**
   * The next frame's message.
   * @throws PerigeeError frame_invalid when it is too long or not msgpack, unreachable when the stream ends before it.
   */
  readMessage(): Promise<unknown>;
  /**
   * Exactly `sizeBytes` raw bytes.
   * @throws PerigeeError unreachable when the stream ends before them.
   */
  readBytes(sizeBytes: number): AsyncGenerator<Uint8Array, void, undefined>;
  /**
   * Whether the peer has closed its end and everything was read; waits for a byte or that end.
   * @throws PerigeeError unreachable when the stream broke.
   */
  isOver(): Promise<boolean>;
  /** The peer has reason to be silent until `work` has ended, well or not: its silence counts from then. */
  excuse(work: Promise<unknown>): void;
}

/**
 * Starts to read a stream; call it before anything is awaited, so that no byte is missed. A peer that
 * sends nothing for `silenceMsMax` while it is waited for loses the stream.
 */
export function createStreamReader(
  stream: Stream,
  { silenceMsMax = transferWaits.idleMsMax }: { silenceMsMax?: number } = {},
): StreamReader {
  const chunks: Uint8Array[] = [];
  const hold = createStreamHold(stream);
  let held = 0;
  // A peer may have refused before anyone could listen: then no event comes any more.
  let ended = stream.status === 'aborted' || stream.status === 'reset';
  let failure: Error | undefined;
  let wake: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let excusesCount = 0;
  const notify = (): void => {
    wake?.();
    wake = undefined;
  };
  stream.addEventListener('message', (event: StreamMessageEvent) => {
    const { data } = event;
    if (data instanceof Uint8Array) chunks.push(data);
    else chunks.push(...data);
    held += data.byteLength;
    if (held > readAheadBytesMax) hold.pause();
    notify();
  });
  stream.addEventListener('close', (event: StreamCloseEvent) => {
    failure = event.error;
    ended = true;
    notify();
  });
  stream.addEventListener('end', () => {
    ended = true;
    notify();
  });
  /** Counts the peer's silence from now, if it is waited for. */
  const watch = (): void => {
    clearTimeout(timer);
    if (wake === undefined || excusesCount > 0) return;
    timer = setTimeout(() => {
      stream.abort(new PerigeeError('timed_out', 'The peer sent nothing for too long.'));
    }, silenceMsMax);
  };
  /** Waits until something is held, or the stream has ended. */
  const look = async (): Promise<void> => {
    if (held === 0) hold.resume();
    if (held > 0 || ended) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    wake = resolve;
    watch();
    await promise;
    clearTimeout(timer);
  };
  const more = async (): Promise<void> => {
    await look();
    if (held === 0) throw broken(failure);
  };
  /** At most `sizeMax` bytes of what is held. */
  const take = (sizeMax: number): Uint8Array => {
    const chunk = chunks.shift() ?? new Uint8Array(0);
    const taken = chunk.subarray(0, sizeMax);
    if (taken.length < chunk.length) chunks.unshift(chunk.subarray(sizeMax));
    held -= taken.length;
    return taken;
  };
  async function* readBytes(sizeBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
    let left = sizeBytes;
    while (left > 0) {
      await more();
      const taken = take(left);
      left -= taken.length;
      if (taken.length === 0) continue;
      yield taken;
      countPassedBytes(taken.length);
    }
  }
  const readExactly = async (sizeBytes: number): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    for await (const part of readBytes(sizeBytes)) parts.push(part);
    return Buffer.concat(parts, sizeBytes);
  };
  return {
    async readMessage() {
      const length = (await readExactly(4)).readUInt32BE(0);
      if (length > blobFrameBytesMax) {
        throw new PerigeeError(
          'frame_invalid',
          `A frame of ${length} bytes is over the limit of ${blobFrameBytesMax}.`,
        );
      }
      return decode(await readExactly(length));
    },
    readBytes,
    async isOver() {
      await look();
      if (held > 0) return false;
      if (failure !== undefined) throw broken(failure);
      return true;
    },
    excuse(work) {
      excusesCount += 1;
      watch();
      const end = (): void => {
        excusesCount -= 1;
        watch();
      };
      void work.then(end, end);
    },
  };
}

/** Writes a message as a frame. @throws PerigeeError unreachable, as `writeBytes`. */
export async function writeMessage(
  stream: Stream,
  message: unknown,
  options: { stallMsMax?: number } = {},
): Promise<void> {
  await writeBytes(stream, [encodeFrame(encode(message))], options);
}

/**
 * Writes bytes as they come, and waits while the peer is behind.
 * @throws PerigeeError unreachable when the stream is closed, or takes no byte for `stallMsMax`.
 */
export async function writeBytes(
  stream: Stream,
  source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { stallMsMax = transferWaits.idleMsMax }: { stallMsMax?: number } = {},
): Promise<void> {
  for await (const chunk of source) {
    if (!stream.send(chunk)) await streamDrained(stream, { stallMsMax });
    countPassedBytes(chunk.length);
  }
}

function broken(cause: Error | undefined): PerigeeError {
  return new PerigeeError('unreachable', 'The stream ended before its time.', { cause });
}
