/**
 * Packed images beside the unpacked ones, in `<images>/.archives`: made when somebody asks, kept
 * within a bound, the longest unused removed first. Processes that share the folder make the same
 * files, so that whoever is last changes nothing.
 */
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../base/errors.ts';
import type { ImageDigest } from '../wire/ids.ts';
import type { ImageArchive, ImageContent } from './image-archive.ts';
import { hashFolder, packArchive } from './image-archive.ts';
import type { ImageSource } from './image-transfer.ts';

export interface ArchiveStore extends ImageSource {
  /** Takes a packed file that is known to be right, so that it need not be packed again. */
  adopt(digest: ImageDigest, archive: ImageArchive, path: string): Promise<void>;
  /** Removes what is packed of an image that is gone. */
  forget(digest: ImageDigest): Promise<void>;
  /** Gives up what is being packed. */
  close(): Promise<void>;
}

const chunkBytes = 256 * 1024;
const hashPattern = /^[0-9a-f]{64}$/;

export function createArchiveStore(settings: {
  /** `<home>/images`. */
  folder: string;
  /** Of all packed files; the one asked for last stays whatever its size. */
  bytesMax: number;
}): ArchiveStore {
  const archives = join(settings.folder, '.archives');
  const stopping = new AbortController();
  const packing = new Map<ImageDigest, Promise<ImageArchive>>();
  const hashing = new Map<ImageDigest, Promise<ImageContent>>();
  const shortOf = (digest: ImageDigest): string => digest.slice(7, 39);
  const fileOf = (digest: ImageDigest): string => join(archives, `${shortOf(digest)}.tar.zst`);
  const noteOf = (digest: ImageDigest): string => join(archives, `${shortOf(digest)}.json`);
  const contentOf = (digest: ImageDigest): string =>
    join(archives, `${shortOf(digest)}.content.json`);

  /** What was packed before, when the image is still the one that was packed. */
  const findPacked = async (digest: ImageDigest, made: string): Promise<ImageArchive | null> => {
    try {
      const note: unknown = JSON.parse(await readFile(noteOf(digest), 'utf8'));
      const { size } = await stat(fileOf(digest));
      const { archive, image } = note as { archive: ImageArchive; image: string };
      const isRight =
        image === made && size === archive.archiveBytes && hashPattern.test(archive.contentHash);
      if (!isRight) return null;
      const now = new Date();
      await utimes(fileOf(digest), now, now);
      return archive;
    } catch {
      // Not there, or half written by a process that died: packed anew.
      return null;
    }
  };
  /** Tells one making of an image from another: set-up may build a digest again. */
  const markOf = async (digest: ImageDigest): Promise<string> => {
    const path = join(settings.folder, shortOf(digest), 'image.json');
    try {
      const { mtimeMs, size, ino } = await stat(path);
      return `${mtimeMs} ${size} ${ino}`;
    } catch (cause) {
      throw new PerigeeError('not_found', `There is no image ${digest} here.`, { cause });
    }
  };
  const note = async (digest: ImageDigest, archive: ImageArchive, image: string) => {
    const { contentHash, contentBytes } = archive;
    await noteContent(digest, { contentHash, contentBytes }, image);
    await write(noteOf(digest), { image, archive });
  };
  /** Stays when the archive or the image itself goes: it says what the digest stands for. */
  const noteContent = (digest: ImageDigest, content: ImageContent, image: string) =>
    write(contentOf(digest), { image, content });
  const write = async (path: string, value: object): Promise<void> => {
    const aside = `${path}.${process.pid}`;
    await writeFile(aside, JSON.stringify(value), { mode: 0o644 });
    await rename(aside, path);
  };
  const findContent = async (digest: ImageDigest, made: string | null) => {
    try {
      const noted: unknown = JSON.parse(await readFile(contentOf(digest), 'utf8'));
      const { content, image } = noted as { content: ImageContent; image: string };
      const isRight = (made === null || image === made) && hashPattern.test(content.contentHash);
      return isRight ? content : null;
    } catch {
      // Never described, or half written by a process that died.
      return null;
    }
  };
  const describe = async (digest: ImageDigest): Promise<ImageContent> => {
    let made: string;
    try {
      made = await markOf(digest);
    } catch (caught) {
      // The image is gone from here; what it was is known, and others can give it.
      const content = await findContent(digest, null);
      if (content !== null) return content;
      throw caught;
    }
    const noted = await findContent(digest, made);
    if (noted !== null) return noted;
    await mkdir(archives, { recursive: true });
    const content = await hashFolder(join(settings.folder, shortOf(digest)), stopping.signal);
    await noteContent(digest, content, made);
    return content;
  };
  const pack = async (digest: ImageDigest): Promise<ImageArchive> => {
    const made = await markOf(digest);
    const packed = await findPacked(digest, made);
    if (packed !== null) return packed;
    await mkdir(archives, { recursive: true });
    const aside = join(archives, `.${shortOf(digest)}-${process.pid}`);
    const folder = join(settings.folder, shortOf(digest));
    const archive = await packArchive({ folder, archive: aside }, stopping.signal);
    await rename(aside, fileOf(digest));
    await note(digest, archive, made);
    await evict(digest);
    return archive;
  };
  const evict = async (kept: ImageDigest): Promise<void> => {
    const found: { path: string; bytes: number; usedAtMs: number }[] = [];
    for (const name of await readdir(archives)) {
      if (!name.endsWith('.tar.zst') || name.startsWith(shortOf(kept))) continue;
      const path = join(archives, name);
      const { size, mtimeMs } = await stat(path);
      found.push({ path, bytes: size, usedAtMs: mtimeMs });
    }
    found.sort((left, right) => left.usedAtMs - right.usedAtMs);
    let bytes = (await stat(fileOf(kept))).size;
    for (const each of found) bytes += each.bytes;
    for (const oldest of found) {
      if (bytes <= settings.bytesMax) return;
      // Who reads it has it open, and reads on to its end.
      await rm(oldest.path, { force: true });
      bytes -= oldest.bytes;
    }
  };

  return {
    describe(digest) {
      let work = hashing.get(digest);
      if (work === undefined) {
        work = describe(digest).finally(() => hashing.delete(digest));
        hashing.set(digest, work);
      }
      return work;
    },
    archive(digest) {
      let work = packing.get(digest);
      if (work === undefined) {
        work = pack(digest).finally(() => packing.delete(digest));
        packing.set(digest, work);
      }
      return work;
    },
    async *read(digest, archive, offset) {
      try {
        if (offset >= archive.archiveBytes) return;
        yield* createReadStream(fileOf(digest), { start: offset, highWaterMark: chunkBytes });
      } catch (caught) {
        const message = `The packed image went away: ${toError(caught).message}`;
        throw new PerigeeError('unreachable', message, { cause: caught });
      }
    },
    async adopt(digest, archive, path) {
      await mkdir(archives, { recursive: true });
      await rename(path, fileOf(digest));
      await note(digest, archive, await markOf(digest));
      await evict(digest);
    },
    async forget(digest) {
      await rm(noteOf(digest), { force: true });
      await rm(fileOf(digest), { force: true });
    },
    async close() {
      stopping.abort();
      await Promise.allSettled([...packing.values(), ...hashing.values()]);
    },
  };
}
