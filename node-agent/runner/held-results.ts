/**
 * Results on their way to the coordinator: those of some size in memory, within a bound for all of
 * them, the others in files. A file that is written, hashed and sent again costs more than the task.
 */

import type { BlobHash } from '../../protocol/wire/ids.ts';
import { lineResultBytesMax } from '../../protocol/wire/limits.ts';

/** A whole result; its name is the path where its file is, or would be. */
export type HeldResult =
  | { kind: 'memory'; hash: BlobHash; sizeBytes: number; pieces: readonly Buffer[] }
  | { kind: 'file'; hash: BlobHash; sizeBytes: number };

/** All results of an agent that are not handed in yet. */
export interface HeldResults {
  /** Takes room for bytes of a result that has so many already; false when it belongs into a file. */
  reserve(bytes: number, sizeBytes: number): boolean;
  /** Gives room back. */
  release(bytes: number): void;
  keep(path: string, result: HeldResult): void;
  find(path: string): HeldResult | undefined;
  /** Forgets a result, which frees its room. */
  drop(path: string): void;
}

/** Of all results in memory; what comes while so much waits for the line goes to the disk. */
export const heldResultsBytesMax = 32 * 1024 * 1024;

export function createHeldResults(bytesMax: number = heldResultsBytesMax): HeldResults {
  const kept = new Map<string, HeldResult>();
  let heldBytes = 0;
  const release = (bytes: number): void => {
    heldBytes -= bytes;
  };
  return {
    reserve(bytes, sizeBytes) {
      if (sizeBytes + bytes > lineResultBytesMax || heldBytes + bytes > bytesMax) return false;
      heldBytes += bytes;
      return true;
    },
    release,
    keep(path, result) {
      kept.set(path, result);
    },
    find: (path) => kept.get(path),
    drop(path) {
      const result = kept.get(path);
      kept.delete(path);
      if (result?.kind === 'memory') release(result.sizeBytes);
    },
  };
}
