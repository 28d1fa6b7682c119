/**
 * What groups carry, unpacked for their workers: each archive once, for as long as a worker uses it
 * and after that while there is room. Everything goes with the runner's own folder.
 */
import { createReadStream } from 'node:fs';
import { chmod, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { unpackImage } from '../../protocol/images/unpack-image.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';

/** A worker's hold on a folder. */
export interface IncludeLease {
  /** Readable to all and writable to nobody but the agent. */
  folder: string;
  /** Idempotent. */
  release(): Promise<void>;
}

export interface IncludeFolders {
  /**
   * Unpacks an archive, or waits for who does.
   * @throws PerigeeError image_invalid, disk_full; Error of the file system
   */
  open(hash: BlobHash, archivePath: string): Promise<IncludeLease>;
}

/** Folders that no worker uses are removed, least recently used first, above this. */
const unusedBytesMax = 2 * 1024 ** 3;
const readBytes = 256 * 1024;

interface Unpacked {
  users: number;
  folder: Promise<string>;
  /** Of the archive, about what its files take. */
  sizeBytes: number;
}

export function createIncludeFolders(
  base: string,
  options: { unusedBytesMax: number } = { unusedBytesMax },
): IncludeFolders {
  /** In order of their last use. */
  const unpacked = new Map<BlobHash, Unpacked>();
  let number = 0;

  const unpack = async (hash: BlobHash, archivePath: string): Promise<string> => {
    const folder = join(base, hash);
    number += 1;
    // A removal of the same folder may still be under way.
    const aside = join(base, `.${hash}-${number}`);
    try {
      await mkdir(aside);
      await unpackImage(createReadStream(archivePath, { highWaterMark: readBytes }), aside);
      await chmod(aside, 0o755);
      await rename(aside, folder);
    } catch (caught) {
      await rm(aside, { recursive: true, force: true });
      throw caught;
    }
    return folder;
  };
  const evict = async (): Promise<void> => {
    const unused = [...unpacked].filter(([, one]) => one.users === 0);
    let heldBytes = unused.reduce((sum, [, { sizeBytes }]) => sum + sizeBytes, 0);
    for (const [hash, { folder, sizeBytes }] of unused) {
      if (heldBytes <= options.unusedBytesMax) return;
      heldBytes -= sizeBytes;
      unpacked.delete(hash);
      const path = await folder;
      number += 1;
      const aside = join(base, `.removed-${number}`);
      await rename(path, aside);
      await rm(aside, { recursive: true, force: true });
    }
  };

  return {
    async open(hash, archivePath) {
      const { size } = await stat(archivePath);
      let one = unpacked.get(hash);
      if (one === undefined) {
        one = { users: 0, folder: unpack(hash, archivePath), sizeBytes: size };
        // Told to whoever waits for it, below.
        one.folder.catch(() => undefined);
        unpacked.set(hash, one);
      }
      const held = one;
      held.users += 1;
      let isHeld = true;
      const release = async (): Promise<void> => {
        if (!isHeld) return;
        isHeld = false;
        held.users -= 1;
        if (unpacked.get(hash) !== held) return;
        unpacked.delete(hash);
        unpacked.set(hash, held);
        await evict();
      };
      try {
        return { folder: await held.folder, release };
      } catch (caught) {
        isHeld = false;
        // The next worker tries anew.
        if (unpacked.get(hash) === held) unpacked.delete(hash);
        throw caught;
      }
    },
  };
}
