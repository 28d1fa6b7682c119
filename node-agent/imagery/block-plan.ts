/** The arithmetic of blocks: which ones a range touches, and which missing ones travel together. */
import type { ByteRange } from './port.ts';

const mib = 1024 * 1024;
/** Block of a large asset. Object stores like 4 to 16 MiB; smaller ones cost a round trip each. */
export const blockBytes = 4 * mib;
/** Adjacent missing blocks are fetched in one request up to this. */
export const runBytesMax = 8 * mib;

/** How an asset is cut: one block when it is small, aligned blocks when it is large. */
export interface BlockShape {
  sizeBytes: number;
  blockBytes: number;
}

export function shapeOf(sizeBytes: number, wholeBytesMax: number): BlockShape {
  return {
    sizeBytes,
    blockBytes: sizeBytes <= wholeBytesMax ? Math.max(1, sizeBytes) : blockBytes,
  };
}

export function blockCount(shape: BlockShape): number {
  return Math.max(1, Math.ceil(shape.sizeBytes / shape.blockBytes));
}

/** Where a block lies in its asset; the last one may be short. */
export function rangeOfBlock(shape: BlockShape, index: number): ByteRange {
  const offset = index * shape.blockBytes;
  return { offset, length: Math.min(shape.blockBytes, shape.sizeBytes - offset) };
}

/** A range within the asset; what reaches beyond the end is cut. */
export function clampRange(shape: BlockShape, range: ByteRange): ByteRange {
  const offset = Math.min(Math.max(0, range.offset), shape.sizeBytes);
  return { offset, length: Math.max(0, Math.min(range.length, shape.sizeBytes - offset)) };
}

/** Indexes of the blocks that a range within the asset touches. */
export function blocksOfRange(shape: BlockShape, range: ByteRange): number[] {
  if (range.length <= 0) return [];
  const first = Math.floor(range.offset / shape.blockBytes);
  const last = Math.floor((range.offset + range.length - 1) / shape.blockBytes);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

/** Sorted indexes, cut into runs of neighbours that one request fetches. */
export function joinNeighbours(shape: BlockShape, indexes: readonly number[]): number[][] {
  const countMax = Math.max(1, Math.floor(runBytesMax / shape.blockBytes));
  const runs: number[][] = [];
  for (const index of indexes) {
    const run = runs.at(-1);
    if (run !== undefined && run.at(-1) === index - 1 && run.length < countMax) run.push(index);
    else runs.push([index]);
  }
  return runs;
}

/** A long range in pieces of at most `runBytesMax`, to be fetched side by side. */
export function splitRange(range: ByteRange): ByteRange[] {
  const pieces: ByteRange[] = [];
  for (let at = 0; at < range.length; at += runBytesMax) {
    pieces.push({ offset: range.offset + at, length: Math.min(runBytesMax, range.length - at) });
  }
  return pieces;
}
