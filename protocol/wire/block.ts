/**
 * A block is a run of payloads, each behind its length as u32 big-endian. The client makes it once;
 * it is stored, granted and written to the worker without being encoded again.
 */
import { PerigeeError } from '../base/errors.ts';

/**
 * Where each payload of a block ends: `offsets[i]` is the first byte behind payload i, its length
 * prefix included; payload i (with prefix) is `offsets[i - 1] ?? 0 … offsets[i]`.
 * @throws PerigeeError frame_invalid when the block is not exactly `count` payloads.
 */
export function indexBlock(block: Uint8Array, count: number): Uint32Array {
  const offsets = new Uint32Array(count);
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  let position = 0;
  for (let index = 0; index < count; index += 1) {
    if (position + 4 > block.length) throw malformed(count);
    position += 4 + view.getUint32(position);
    if (position > block.length) throw malformed(count);
    offsets[index] = position;
  }
  if (position !== block.length) throw malformed(count);
  return offsets;
}

/** The payloads `lo … lo + count - 1` of a block, prefixes included, without copying. */
export function sliceBlock(
  block: Uint8Array,
  offsets: Uint32Array,
  run: { lo: number; count: number },
): Uint8Array {
  const start = run.lo === 0 ? 0 : (offsets[run.lo - 1] ?? 0);
  const end = offsets[run.lo + run.count - 1] ?? start;
  return block.subarray(start, end);
}

/** One payload of a block, without its prefix, without copying. */
export function payloadAt(block: Uint8Array, offsets: Uint32Array, index: number): Uint8Array {
  return sliceBlock(block, offsets, { lo: index, count: 1 }).subarray(4);
}

/** The block of a list of payloads. */
export function encodeBlock(payloads: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const payload of payloads) size += 4 + payload.length;
  const block = new Uint8Array(size);
  const view = new DataView(block.buffer);
  let position = 0;
  for (const payload of payloads) {
    view.setUint32(position, payload.length);
    block.set(payload, position + 4);
    position += 4 + payload.length;
  }
  return block;
}

function malformed(count: number): PerigeeError {
  return new PerigeeError('frame_invalid', `The block is not exactly ${count} payloads.`);
}
