/** Which pieces of an attempt's output are kept: the first and the last part (decision 3). */
import { logHeadBytes, logTailBytes } from '../../protocol/wire/limits.ts';

/** The part of a piece that is new, when output up to `endOffset` has arrived; undefined for none. */
export function newPart<Chunk extends { offset: number; bytes: Uint8Array }>(
  chunk: Chunk,
  endOffset: number,
): Chunk | undefined {
  const known = endOffset - chunk.offset;
  if (known <= 0) return chunk.bytes.length === 0 ? undefined : chunk;
  // A node that came back sends again what was not acknowledged.
  if (known >= chunk.bytes.length) return undefined;
  return { ...chunk, offset: endOffset, bytes: chunk.bytes.subarray(known) };
}

/**
 * Pieces that start in `from … to` and end at or before `to` are cut, when output up to
 * `endOffset` has arrived; undefined while everything is kept.
 */
export function cutRange(endOffset: number): { from: number; to: number } | undefined {
  const to = endOffset - logTailBytes;
  return to > logHeadBytes ? { from: logHeadBytes, to } : undefined;
}
