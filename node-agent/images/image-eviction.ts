/**
 * Makes room for images: those that came over the mesh and are unused go, the longest unused first.
 * What set-up made, what any agent of this machine uses and what another image lies on stays.
 *
 * An image goes by one rename, under the lock that also guards its coming; a crash leaves it whole or
 * under a dotted name that the next start removes.
 */
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { ArchiveStore } from '../../protocol/images/archive-store.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import { lockFile } from './folder-lock.ts';
import { fetchedMark } from './image-fetcher.ts';
import type { ImageUses } from './image-uses.ts';

export interface EvictionDeps {
  uses: Pick<ImageUses, 'isUsed'>;
  archives: Pick<ArchiveStore, 'forget'>;
  /** Whether tasks of this agent wait for an image. */
  isWanted(digest: ImageDigest): boolean;
  /** Of the disk with the images. */
  readFreeBytes(): Promise<number>;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface ImageEviction {
  /**
   * Removes until so many bytes more fit, of the bound and of the disk, or nothing more can go.
   * Answers what was removed.
   */
  makeRoom(needed: { bytes: number; keep: ReadonlySet<ImageDigest> }): Promise<ImageDigest[]>;
  /** Removes what a crash left half removed. */
  recover(): Promise<void>;
}

/** An image on the disk, as its eviction sees it. */
interface Stored {
  name: string;
  digest: ImageDigest;
  base: ImageDigest | null;
  /** Null for what did not come over the mesh. */
  fetched: { bytes: number; usedAtMs: number } | null;
}

const removing = '.removing-';

export function createImageEviction(
  deps: EvictionDeps,
  settings: {
    /** `<home>/images`. */
    folder: string;
    /** Of all images that came over the mesh. */
    bytesMax: number;
    /** Left on the disk beside them. */
    freeBytesMin: number;
    signal: AbortSignal;
  },
): ImageEviction {
  const { folder, bytesMax, freeBytesMin, signal } = settings;

  const listStored = async (): Promise<Stored[]> => {
    const stored: Stored[] = [];
    for (const name of await readdir(folder).catch(() => [])) {
      if (name.startsWith('.')) continue;
      const found = await readStored(join(folder, name)).catch(() => null);
      if (found !== null) stored.push({ name, ...found });
    }
    return stored;
  };
  const canGo = async (image: Stored, all: readonly Stored[]): Promise<boolean> => {
    if (deps.isWanted(image.digest) || all.some(({ base }) => base === image.digest)) return false;
    return !(await deps.uses.isUsed(image.name));
  };
  /** False when somebody began to use it meanwhile. */
  const evict = async (image: Stored): Promise<boolean> => {
    const aside = join(folder, `${removing}${image.name}`);
    const unlock = await lockFile(join(folder, `.lock-${image.name}`), signal);
    try {
      await rename(join(folder, image.name), aside);
      // A use is noted first, and then looks whether the image is there: either it sees that it is
      // gone, or it is seen here.
      if (await deps.uses.isUsed(image.name)) {
        await rename(aside, join(folder, image.name));
        return false;
      }
      await deps.archives.forget(image.digest);
      await rm(aside, { recursive: true, force: true });
      return true;
    } finally {
      await unlock();
    }
  };

  return {
    async makeRoom({ bytes, keep }) {
      const gone: ImageDigest[] = [];
      let stored = await listStored();
      let free = await deps.readFreeBytes();
      const oldestFirst = stored
        .filter(({ fetched, digest }) => fetched !== null && !keep.has(digest))
        .sort((one, other) => (one.fetched?.usedAtMs ?? 0) - (other.fetched?.usedAtMs ?? 0));
      // Once more for bases, which can go when nothing lies on them any more.
      for (const image of [...oldestFirst, ...oldestFirst]) {
        let held = 0;
        for (const { fetched } of stored) held += fetched?.bytes ?? 0;
        if (held + bytes <= bytesMax && free - bytes >= freeBytesMin) break;
        if (!stored.includes(image) || !(await canGo(image, stored))) continue;
        try {
          if (!(await evict(image))) continue;
        } catch (caught) {
          signal.throwIfAborted();
          const fields = { digest: image.digest, error: toError(caught).message };
          deps.log.warn(fields, 'An image could not be removed.');
          continue;
        }
        deps.log.info({ digest: image.digest }, 'An unused image was removed to make room.');
        gone.push(image.digest);
        stored = stored.filter((other) => other !== image);
        free = await deps.readFreeBytes();
      }
      return gone;
    },
    async recover() {
      for (const name of await readdir(folder).catch(() => [])) {
        if (!name.startsWith(removing)) continue;
        // Whoever holds the lock is not done with it yet.
        const unlock = await lockFile(join(folder, `.lock-${name.slice(removing.length)}`), signal);
        try {
          await rm(join(folder, name), { recursive: true, force: true });
        } finally {
          await unlock();
        }
      }
    },
  };
}

async function readStored(path: string): Promise<Omit<Stored, 'name'>> {
  const { digest, base } = JSON.parse(await readFile(join(path, 'image.json'), 'utf8')) as {
    digest: ImageDigest;
    base?: ImageDigest;
  };
  return { digest, base: base ?? null, fetched: await readFetched(join(path, fetchedMark)) };
}

/** The mark's time is when the image was last used; its content is what came. */
async function readFetched(mark: string): Promise<Stored['fetched']> {
  try {
    const { contentBytes } = JSON.parse(await readFile(mark, 'utf8')) as { contentBytes: number };
    return { bytes: contentBytes, usedAtMs: (await stat(mark)).mtimeMs };
  } catch {
    return null;
  }
}

/** @throws PerigeeError disk_full when an image does not fit beside what must stay */
export function requireRoom(room: { freeBytes: number; bytes: number }): void {
  if (room.freeBytes >= room.bytes) return;
  const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  throw new PerigeeError(
    'disk_full',
    `The image needs ${mb(room.bytes)} of disk while it comes, and ${mb(room.freeBytes)} are free.`,
    { fix: 'Make room on the disk with PERIGEE_HOME; unused images have gone from it already.' },
  );
}
