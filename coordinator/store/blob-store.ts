/**
 * Content-addressed files: `blobs/ab/cdef…`. A blob appears under its name only when its bytes are
 * verified and on disk, so that whoever finds one may use it unread.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, renameSync } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { verifyBlob } from '../../protocol/net/blob-transfer.ts';
import { writePieces } from '../../protocol/net/write-pieces.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import type { FileCommitter, WrittenFile } from './commit-files.ts';
import { createFileCommitter, syncFolder } from './commit-files.ts';
import type { BlobStore } from './port.ts';
import { storeError } from './sqlite-errors.ts';

/** Larger chunks gain nothing measurable over a line that noise limits to some 100 MB/s. */
const readChunkBytes = 256 * 1024;

/**
 * Opens the folder; what an earlier run left half-written is removed.
 * @throws PerigeeError data_unwritable
 */
export async function openBlobStore(
  folder: string,
  committer: FileCommitter = createFileCommitter(),
): Promise<BlobStore> {
  const uploads = join(folder, 'uploads');
  try {
    await rm(uploads, { recursive: true, force: true });
    await mkdir(uploads, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new PerigeeError('data_unwritable', `${folder} cannot be written.`, { cause });
  }
  const shardOf = (hash: BlobHash): string => join(folder, hash.slice(0, 2));
  const pathOf = (hash: BlobHash): string => join(shardOf(hash), hash.slice(2));
  /** Blobs that may have their names already, but not on disk. */
  const pending = new Map<BlobHash, Promise<void>>();
  /** Folders whose last sync failed: no name in them is believed before the next one. */
  const unsynced = new Set<string>();
  const sizeOf = async (hash: BlobHash): Promise<number | undefined> => {
    await pending.get(hash)?.catch(() => undefined);
    const shard = shardOf(hash);
    if (unsynced.has(shard)) {
      await syncFolder(shard);
      unsynced.delete(shard);
    }
    try {
      return (await stat(pathOf(hash))).size;
    } catch (caught) {
      const error = toError(caught);
      if ('code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  };
  const size = async (hash: BlobHash): Promise<number> => {
    const found = await sizeOf(hash);
    if (found === undefined) throw new PerigeeError('not_found', `There is no blob ${hash}.`);
    return found;
  };
  /** Those that are on disk, or about to be: whoever writes into one waits until it is. */
  const shards = new Map<string, Promise<void>>();
  const makeShard = (shard: string): Promise<void> => {
    const known = shards.get(shard);
    if (known !== undefined) return known;
    const made = (async () => {
      await mkdir(shard, { recursive: true, mode: 0o700 });
      await syncFolder(folder);
    })();
    shards.set(shard, made);
    made.catch(() => shards.delete(shard));
    return made;
  };
  const commit = async (hash: BlobHash, written: WrittenFile): Promise<void> => {
    const committed = committer.commit(written);
    pending.set(hash, committed);
    try {
      await committed;
    } catch (caught) {
      unsynced.add(written.folder);
      throw caught;
    } finally {
      if (pending.get(hash) === committed) pending.delete(hash);
    }
  };
  const write: BlobStore['write'] = async (hash, bytes, options) => {
    const upload = join(uploads, randomBytes(12).toString('hex'));
    const shard = shardOf(hash);
    try {
      const file = await open(upload, 'wx', 0o600);
      try {
        const { sizeBytes = null, bytesMax } = options;
        const verified = verifyBlob(bytes, { hash, sizeBytes, bytesMax });
        await writePieces(file, verified);
        await makeShard(shard);
      } catch (caught) {
        await file.close();
        throw caught;
      }
      await commit(hash, { file, from: upload, to: pathOf(hash), folder: shard });
    } catch (caught) {
      await rm(upload, { force: true });
      throw storeError(caught, folder);
    }
  };
  return {
    has: async (hash) => (await sizeOf(hash)) !== undefined,
    size,
    async *read(hash, offset = 0, length = Number.POSITIVE_INFINITY) {
      await size(hash);
      if (length <= 0) return;
      const stream = createReadStream(pathOf(hash), {
        start: offset,
        end: offset + length - 1,
        highWaterMark: readChunkBytes,
      });
      for await (const chunk of stream) yield chunk as Uint8Array;
    },
    write,
    remove(hash) {
      // By a name that nobody finds: to free the bytes of a large file may take a while.
      const aside = join(uploads, randomBytes(12).toString('hex'));
      try {
        renameSync(pathOf(hash), aside);
      } catch (caught) {
        const error = toError(caught);
        if ('code' in error && error.code === 'ENOENT') return;
        throw error;
      }
      // What stays of it after a failure goes at the next start.
      rm(aside, { force: true }).catch(() => undefined);
    },
    async writeBytes(bytes) {
      const hash = createHash('sha256').update(bytes).digest('hex') as BlobHash;
      if ((await sizeOf(hash)) === undefined) {
        await write(hash, once(bytes), { bytesMax: bytes.length });
      }
      return hash;
    },
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
