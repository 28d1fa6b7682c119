/**
 * Blobs in memory for a moment after they were written: a result is mostly asked for as soon as it is
 * recorded, and an argument as soon as it is granted. To find, open, read and close a file of 1 MB costs
 * more than to send it.
 */
import type { BlobHash } from '../../protocol/wire/ids.ts';
import type { BlobStore } from './port.ts';

export interface RecentBlobsSettings {
  /** A larger one is read from its file. */
  blobBytesMax: number;
  /** Of all of them; the oldest go first. */
  bytesMax: number;
  /** After so long without a new one none is kept. */
  quietMs: number;
}

interface RecentBlob {
  pieces: readonly Uint8Array[];
  sizeBytes: number;
}

/** The same store, which must be the only way to its folder. */
export function keepRecentBlobs(store: BlobStore, settings: RecentBlobsSettings): BlobStore {
  const recent = new Map<BlobHash, RecentBlob>();
  let heldBytes = 0;
  let quiet: NodeJS.Timeout | undefined;
  const drop = (hash: BlobHash): void => {
    heldBytes -= recent.get(hash)?.sizeBytes ?? 0;
    recent.delete(hash);
  };
  const keep = (hash: BlobHash, blob: RecentBlob): void => {
    drop(hash);
    recent.set(hash, blob);
    heldBytes += blob.sizeBytes;
    for (const oldest of recent.keys()) {
      if (heldBytes <= settings.bytesMax) break;
      drop(oldest);
    }
    clearTimeout(quiet);
    quiet = setTimeout(() => {
      recent.clear();
      heldBytes = 0;
    }, settings.quietMs).unref();
  };
  return {
    ...store,
    has: async (hash) => recent.has(hash) || (await store.has(hash)),
    size: async (hash) => recent.get(hash)?.sizeBytes ?? (await store.size(hash)),
    read(hash, offset = 0, length = Number.POSITIVE_INFINITY) {
      const found = recent.get(hash);
      return found === undefined
        ? store.read(hash, offset, length)
        : slice(found.pieces, offset, length);
    },
    async write(hash, bytes, options) {
      const passing = collect(bytes, settings.blobBytesMax);
      await store.write(hash, passing.bytes, options);
      const blob = passing.found();
      if (blob !== undefined) keep(hash, blob);
    },
    remove(hash) {
      drop(hash);
      store.remove(hash);
    },
  };
}

/** Passes bytes on and keeps them, unless they are too many. */
function collect(
  source: AsyncIterable<Uint8Array>,
  bytesMax: number,
): { bytes: AsyncIterable<Uint8Array>; found(): RecentBlob | undefined } {
  let pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  async function* pass(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of source) {
      sizeBytes += piece.length;
      if (sizeBytes <= bytesMax) pieces.push(piece);
      else pieces = [];
      yield piece;
    }
  }
  return {
    bytes: pass(),
    found: () => (sizeBytes <= bytesMax ? { pieces, sizeBytes } : undefined),
  };
}

async function* slice(
  pieces: readonly Uint8Array[],
  offset: number,
  length: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let skipped = offset;
  let left = length;
  for (const piece of pieces) {
    if (left <= 0) return;
    if (skipped < piece.length) {
      const part = piece.subarray(skipped, skipped + left);
      left -= part.length;
      yield part;
    }
    skipped = Math.max(0, skipped - piece.length);
  }
}
