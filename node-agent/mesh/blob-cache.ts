/**
 * Blobs on the agent's disk, by hash: each is fetched once, verified on the way, kept while it is in
 * use and after that while there is room. What an earlier run left is read through before its first use:
 * a power cut keeps names of files whose bytes were never written.
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { fetchBlob, verifyBlob } from '../../protocol/net/blob-transfer.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { writePieces } from '../../protocol/net/write-pieces.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { isBlobHash } from '../../protocol/wire/ids.ts';
import { blobProtocol } from '../../protocol/wire/messages.ts';

export interface BlobCacheSettings {
  folder: string;
  /** Coordinator's multiaddr. */
  address: string;
  /** Unused blobs are removed, oldest first, above this. */
  bytesMax: number;
  dialMsMax: number;
}

export interface BlobCache {
  /** Where a blob is once `fetch` has resolved. */
  pathOf(hash: BlobHash): string;
  /**
   * Brings a blob to the disk and keeps it until `release`; calls for the same hash share the work.
   * @throws PerigeeError not_found, forbidden, unreachable, invalid_request
   */
  fetch(hash: BlobHash): Promise<void>;
  release(hash: BlobHash): Promise<void>;
  /** Gives up what is under way. */
  close(): Promise<void>;
}

/** Opens the cache on a folder, which may hold blobs of an earlier run. */
export async function openBlobCache(
  host: MeshHost,
  settings: BlobCacheSettings,
): Promise<BlobCache> {
  // Slot users walk through but cannot list: a hash that nobody told them opens nothing.
  await mkdir(settings.folder, { recursive: true, mode: 0o711 });
  const sizes = await readSizes(settings.folder);
  /** Of an earlier run, and not yet read through. */
  const leftovers = new Set(sizes.keys());
  const inUse = new Set<BlobHash>();
  const underWay = new Map<BlobHash, Promise<void>>();
  const stopping = new AbortController();
  let heldBytes = 0;
  for (const size of sizes.values()) heldBytes += size;
  const pathOf = (hash: BlobHash): string => join(settings.folder, hash);

  const download = async (hash: BlobHash): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(settings.dialMsMax)]);
    const stream = await host.open(settings.address, blobProtocol, { signal });
    const giveUp = (): void => stream.abort(toError(stopping.signal.reason));
    stopping.signal.addEventListener('abort', giveUp, { once: true });
    const aside = `${pathOf(hash)}.part`;
    // What a broken line has left is gone on with.
    const offset = await sizeOfPart(aside);
    let sizeBytes = offset;
    try {
      const download = await fetchBlob(stream, { hash, offset });
      sizeBytes += download.sizeBytes;
      const verified = verifyBlob(behindPart(aside, offset, download.bytes), { hash, sizeBytes });
      await append(aside, skip(verified, offset));
      await rename(aside, pathOf(hash));
    } catch (caught) {
      const isLine = caught instanceof PerigeeError && lineCodes.has(caught.code);
      // Nothing may have been read of it.
      stream.abort(toError(caught));
      if (!isLine) await rm(aside, { force: true });
      throw caught;
    } finally {
      stopping.signal.removeEventListener('abort', giveUp);
    }
    sizes.set(hash, sizeBytes);
    heldBytes += sizeBytes;
  };
  /** Keeps a leftover that is its blob, and downloads the others anew. */
  const recheck = async (hash: BlobHash, sizeBytes: number): Promise<void> => {
    leftovers.delete(hash);
    if (await isBlob(pathOf(hash), { hash, sizeBytes })) return await touch(hash, sizeBytes);
    forget(hash, sizeBytes);
    await rm(pathOf(hash), { force: true });
    await download(hash);
  };
  /** Last used goes last: the map's order is the order of removal. */
  const touch = async (hash: BlobHash, sizeBytes: number): Promise<void> => {
    sizes.delete(hash);
    sizes.set(hash, sizeBytes);
    const now = new Date();
    await utimes(pathOf(hash), now, now);
  };
  const forget = (hash: BlobHash, sizeBytes: number): void => {
    sizes.delete(hash);
    heldBytes -= sizeBytes;
  };
  const evict = async (): Promise<void> => {
    for (const [hash, size] of sizes) {
      if (heldBytes <= settings.bytesMax) return;
      if (inUse.has(hash) || underWay.has(hash)) continue;
      forget(hash, size);
      leftovers.delete(hash);
      await rm(pathOf(hash), { force: true });
    }
  };

  return {
    pathOf,
    async fetch(hash) {
      inUse.add(hash);
      const size = sizes.get(hash);
      let work = underWay.get(hash);
      if (size !== undefined && work === undefined && !leftovers.has(hash)) {
        await touch(hash, size);
        return;
      }
      if (work === undefined) {
        const bringing = size === undefined ? download(hash) : recheck(hash, size);
        work = bringing.finally(() => underWay.delete(hash));
        underWay.set(hash, work);
      }
      await work;
    },
    async release(hash) {
      inUse.delete(hash);
      await evict();
    },
    async close() {
      stopping.abort();
      await Promise.allSettled(underWay.values());
    },
  };
}

/** The line broke: what has arrived is as good as the rest will be. */
const lineCodes: ReadonlySet<string> = new Set(['unreachable', 'timed_out']);

/** What has come before the line breaks is on disk. */
async function append(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'a', 0o644);
  try {
    await writePieces(file, bytes);
  } finally {
    await file.close();
  }
}

/** Whether a file can be read and holds just this blob. */
async function isBlob(
  path: string,
  expected: { hash: BlobHash; sizeBytes: number },
): Promise<boolean> {
  try {
    for await (const bytes of verifyBlob(createReadStream(path), expected)) void bytes;
    return true;
  } catch {
    // Whatever is wrong with it, the coordinator has a good one.
    return false;
  }
}

async function sizeOfPart(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (caught) {
    const error = toError(caught);
    if ('code' in error && error.code === 'ENOENT') return 0;
    throw error;
  }
}

/** The first bytes of a blob from the part on disk, the others as they come. */
async function* behindPart(
  path: string,
  sizeBytes: number,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (sizeBytes > 0) yield* createReadStream(path, { end: sizeBytes - 1 });
  yield* rest;
}

/** All but the first bytes. */
async function* skip(
  bytes: AsyncIterable<Uint8Array>,
  count: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = count;
  for await (const chunk of bytes) {
    if (chunk.length > left) yield chunk.subarray(left);
    left = Math.max(0, left - chunk.length);
  }
}

/** Sizes of what an earlier run left, least recently used first; unfinished downloads are removed. */
async function readSizes(folder: string): Promise<Map<BlobHash, number>> {
  const found: { hash: BlobHash; size: number; usedAtMs: number }[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (!isBlobHash(name)) {
      await rm(path, { force: true, recursive: true });
      continue;
    }
    const { size, mtimeMs } = await stat(path);
    found.push({ hash: name, size, usedAtMs: mtimeMs });
  }
  found.sort((left, right) => left.usedAtMs - right.usedAtMs);
  return new Map(found.map(({ hash, size }) => [hash, size]));
}
