/**
 * Pieces of assets as files: `<folder>/<key's first two digits>/<key>/`, with `meta.json` and one file
 * per piece, whose name carries its SHA-256. A file is written aside and renamed, and never changed
 * after that, so that what a crash leaves is whole or has a name that nobody reads.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import {
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

export interface AssetMeta {
  scope: string;
  uri: string;
  version: string;
  sizeBytes: number;
  blockBytes: number;
}

/** A block by its index, or the assembled whole of a large asset. */
export interface PieceName {
  index: number | 'whole';
  sum: string;
}

export interface FoundAsset {
  key: string;
  meta: AssetMeta;
  pieces: (PieceName & { bytes: number })[];
}

export interface BlockStore {
  /** What an earlier run left; what is unfinished or not understood is removed. */
  scan(): Promise<FoundAsset[]>;
  pathOf(key: string, piece: PieceName): string;
  write(key: string, meta: AssetMeta, piece: PieceName, bytes: Uint8Array): Promise<void>;
  /** Writes a piece part by part; the sum is known at the end. */
  assemble(key: string, meta: AssetMeta, parts: AsyncIterable<Uint8Array>): Promise<PieceName>;
  /** @throws when the file is gone or too short. */
  read(key: string, piece: PieceName, range: { offset: number; length: number }): Promise<Buffer>;
  /** Whether the file still has the sum that its name says. */
  verify(key: string, piece: PieceName): Promise<boolean>;
  remove(key: string, piece: PieceName): Promise<void>;
  removeAsset(key: string): Promise<void>;
  freeBytes(): Promise<number>;
}

const piecePattern = /^(\d{1,10}|whole)\.([0-9a-f]{64})$/;
/** Other users walk through but cannot list; files may be linked into a sandbox's folder. */
const folderMode = 0o711;
const fileMode = 0o644;

export function createBlockStore(folder: string): BlockStore {
  const aside = join(folder, 'tmp');
  const folderOf = (key: string): string => join(folder, key.slice(0, 2), key);
  const pathOf = (key: string, piece: PieceName): string =>
    join(folderOf(key), `${piece.index}.${piece.sum}`);
  let files = 0;
  const makeAside = (): string => {
    files += 1;
    return join(aside, String(files));
  };
  const prepared = new Set<string>();
  const prepare = async (key: string, meta: AssetMeta): Promise<void> => {
    if (prepared.has(key)) return;
    await mkdir(folderOf(key), { recursive: true, mode: folderMode });
    const path = makeAside();
    await writeFile(path, JSON.stringify(meta), { mode: 0o600 });
    await rename(path, join(folderOf(key), 'meta.json'));
    prepared.add(key);
  };
  const writeAside = async (fill: (file: FileHandle) => Promise<void>): Promise<string> => {
    const path = makeAside();
    try {
      const file = await open(path, 'wx', fileMode);
      // Whatever the agent's umask is: tasks are another user.
      await file.chmod(fileMode);
      try {
        await fill(file);
      } finally {
        await file.close();
      }
      return path;
    } catch (caught) {
      await rm(path, { force: true });
      throw caught;
    }
  };

  return {
    pathOf,
    async scan() {
      await mkdir(folder, { recursive: true, mode: folderMode });
      await rm(aside, { recursive: true, force: true });
      await mkdir(aside, { recursive: true, mode: 0o700 });
      const found: FoundAsset[] = [];
      for (const shelf of await readdir(folder)) {
        if (!/^[0-9a-f]{2}$/.test(shelf)) continue;
        for (const key of await readdir(join(folder, shelf))) {
          const asset = await scanAsset(folderOf(key), key);
          if (asset === undefined) await rm(folderOf(key), { recursive: true, force: true });
          else {
            prepared.add(key);
            found.push(asset);
          }
        }
      }
      return found;
    },
    async write(key, meta, piece, bytes) {
      await prepare(key, meta);
      const path = await writeAside((file) => file.writeFile(bytes));
      await rename(path, pathOf(key, piece));
    },
    async assemble(key, meta, parts) {
      await prepare(key, meta);
      const digest = createHash('sha256');
      const path = await writeAside(async (file) => {
        for await (const part of parts) {
          digest.update(part);
          await file.writeFile(part);
        }
      });
      const piece: PieceName = { index: 'whole', sum: digest.digest('hex') };
      await rename(path, pathOf(key, piece));
      return piece;
    },
    async read(key, piece, { offset, length }) {
      const file = await open(pathOf(key, piece), 'r');
      try {
        const bytes = Buffer.allocUnsafe(length);
        const { bytesRead } = await file.read(bytes, 0, length, offset);
        if (bytesRead < length) throw new Error(`${pathOf(key, piece)} is too short.`);
        return bytes;
      } finally {
        await file.close();
      }
    },
    async verify(key, piece) {
      const digest = createHash('sha256');
      const options = { highWaterMark: 1024 * 1024 };
      for await (const part of createReadStream(pathOf(key, piece), options)) {
        digest.update(part as Buffer);
      }
      return digest.digest('hex') === piece.sum;
    },
    remove: (key, piece) => rm(pathOf(key, piece), { force: true }),
    async removeAsset(key) {
      prepared.delete(key);
      await rm(folderOf(key), { recursive: true, force: true });
      // The shelf goes with its last asset; one that is not empty stays.
      await rmdir(join(folder, key.slice(0, 2))).catch(() => undefined);
    },
    async freeBytes() {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    },
  };
}

async function scanAsset(folder: string, key: string): Promise<FoundAsset | undefined> {
  if (!/^[0-9a-f]{64}$/.test(key)) return undefined;
  const meta = await readMeta(join(folder, 'meta.json'));
  if (meta === undefined) return undefined;
  const pieces: FoundAsset['pieces'] = [];
  for (const name of await readdir(folder)) {
    const match = piecePattern.exec(name);
    const { size } = await stat(join(folder, name));
    const index = match?.[1] === 'whole' ? 'whole' : Number(match?.[1]);
    const expected =
      index === 'whole'
        ? meta.sizeBytes
        : Math.min(meta.blockBytes, meta.sizeBytes - index * meta.blockBytes);
    if (match !== null && size === expected) {
      pieces.push({ index, sum: match[2] ?? '', bytes: size });
    } else if (name !== 'meta.json') await rm(join(folder, name), { force: true, recursive: true });
  }
  return pieces.length === 0 ? undefined : { key, meta, pieces };
}

async function readMeta(path: string): Promise<AssetMeta | undefined> {
  let found: unknown;
  try {
    found = JSON.parse(await readFile(path, 'utf8'));
  } catch {
    // A folder without a readable description is as good as none: it is removed.
    return undefined;
  }
  if (typeof found !== 'object' || found === null) return undefined;
  const { scope, uri, version, sizeBytes, blockBytes } = found as Record<string, unknown>;
  if (typeof scope !== 'string' || typeof uri !== 'string' || typeof version !== 'string') {
    return undefined;
  }
  if (!Number.isSafeInteger(sizeBytes) || !Number.isSafeInteger(blockBytes)) return undefined;
  return { scope, uri, version, sizeBytes: Number(sizeBytes), blockBytes: Number(blockBytes) };
}
