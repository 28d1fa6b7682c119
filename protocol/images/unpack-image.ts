/**
 * The other way: a tar into a folder that is empty. It comes from another machine, so nothing in it
 * may reach outside the folder, whatever its names and links say.
 */
import { createWriteStream } from 'node:fs';
import { chmod, link, lutimes, mkdir, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Header } from 'tar-stream';
import { extract } from 'tar-stream';
import { PerigeeError, toError } from '../base/errors.ts';

/**
 * Unpacks below a folder that exists and is empty; everything belongs to who runs this.
 * @throws PerigeeError image_invalid
 */
export async function unpackImage(bytes: AsyncIterable<Uint8Array>, folder: string): Promise<void> {
  const tar = extract();
  const feeding = pipeline(bytes, tar).catch((caught: unknown) => {
    throw asInvalid(toError(caught));
  });
  // Told by the loop below, or after it.
  feeding.catch(() => undefined);
  const folders = new Set<string>(['']);
  const files = new Set<string>();
  /** Folders get their modes last: one that nobody may write must first be filled. */
  const modes: { path: string; mode: number }[] = [];
  try {
    for await (const entry of tar) {
      const { name } = checkEntry(entry.header, { folders, files });
      const path = join(folder, name);
      const { type, mode = 0, mtime, linkname } = entry.header;
      if (type === 'directory') {
        await mkdir(path);
        folders.add(name);
        modes.push({ path, mode: mode & 0o1777 });
      } else if (type === 'symlink') {
        await symlink(linkname ?? '', path);
        await lutimes(path, 0, 0);
      } else if (type === 'link') {
        await link(join(folder, linkname ?? ''), path);
        files.add(name);
      } else {
        await pipeline(entry, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
        await chmod(path, mode & 0o777);
        const seconds = (mtime?.getTime() ?? 0) / 1_000;
        await utimes(path, seconds, seconds);
        files.add(name);
      }
      entry.resume();
    }
  } catch (caught) {
    tar.destroy();
    throw asInvalid(toError(caught));
  }
  await feeding;
  for (const { path, mode } of modes.reverse()) {
    await chmod(path, mode);
    await utimes(path, 0, 0);
  }
}

/** Only what a packer makes: each parent is a folder of this tar, never a link. */
function checkEntry(
  header: Header,
  made: { folders: ReadonlySet<string>; files: ReadonlySet<string> },
): { name: string } {
  const name = header.name.replace(/\/$/, '');
  const parts = name.split('/');
  const parent = parts.slice(0, -1).join('/');
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  if (!isPlain || name.includes('\0') || !made.folders.has(parent)) {
    throw new PerigeeError('image_invalid', `The archive has an entry out of place: ${name}`);
  }
  switch (header.type) {
    case 'file':
    case 'directory':
    case 'symlink':
      return { name };
    case 'link':
      if (made.files.has(header.linkname ?? '')) return { name };
      throw new PerigeeError(
        'image_invalid',
        `The archive links ${name} to what it does not have.`,
      );
    default:
      throw new PerigeeError('image_invalid', `The archive has a ${header.type}: ${name}`);
  }
}

/** A full disk is told as such; what tar-stream says of its input is the archive's fault. */
function asInvalid(error: Error): Error {
  if (error instanceof PerigeeError) return error;
  if ('code' in error && typeof error.code === 'string' && error.code.startsWith('E')) {
    if (['ENOSPC', 'EDQUOT'].includes(error.code)) {
      return new PerigeeError('disk_full', `The disk is full: ${error.message}`, { cause: error });
    }
    return error;
  }
  return new PerigeeError('image_invalid', `The archive is damaged: ${error.message}`, {
    cause: error,
  });
}
