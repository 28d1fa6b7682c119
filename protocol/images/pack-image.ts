/**
 * An image's folder as one tar: the same folder always makes the same bytes, wherever it lies and
 * whoever owns it. What the folder holds below dotted names of its top is this machine's own and
 * stays behind.
 *
 * Files keep their times, in whole seconds: Python compares them with those inside its `.pyc`
 * files, and an image whose times were all the same would be compiled anew at every start.
 */
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Pack } from 'tar-stream';
import { pack } from 'tar-stream';
import { PerigeeError } from '../base/errors.ts';

/** Bytes read from a file at a time. */
const chunkBytes = 256 * 1024;
/** Set-uid, set-gid and sticky bits are dropped, but for the sticky bit of folders. */
const fileModeMask = 0o777;
const folderModeMask = 0o1777;
const epoch = new Date(0);

/**
 * The tar of a folder, in order of its names' bytes.
 * @throws PerigeeError image_invalid for what cannot travel: devices, sockets, names that are no UTF-8
 */
export function packImage(folder: string): AsyncIterable<Uint8Array> {
  const tar = pack();
  addAll(tar, folder).then(
    () => tar.finalize(),
    (caught: Error) => tar.destroy(caught),
  );
  return tar as AsyncIterable<Uint8Array>;
}

async function addAll(tar: Pack, folder: string): Promise<void> {
  /** First name of each file that has several. */
  const linked = new Map<string, string>();
  const addFolder = async (path: string): Promise<void> => {
    for (const name of await listNames(join(folder, path))) {
      if (path === '' && name.startsWith('.')) continue;
      const below = path === '' ? name : `${path}/${name}`;
      const isFolder = await addEntry(below);
      if (isFolder) await addFolder(below);
    }
  };
  const addEntry = async (name: string): Promise<boolean> => {
    const file = join(folder, name);
    const found = await lstat(file, { bigint: true });
    const mode = Number(found.mode);
    if (found.isDirectory()) {
      await write(tar, { name, type: 'directory', mode: mode & folderModeMask, mtime: epoch });
      return true;
    }
    if (found.isSymbolicLink()) {
      const linkname = await readlink(file);
      await write(tar, { name, type: 'symlink', linkname, mode: 0o777, mtime: epoch });
      return false;
    }
    if (!found.isFile()) {
      throw new PerigeeError('image_invalid', `${name} is neither a file, a folder nor a link.`);
    }
    const key = `${found.dev}-${found.ino}`;
    const first = found.nlink > 1n ? linked.get(key) : undefined;
    const mtime = new Date(Number(found.mtimeNs / 1_000_000_000n) * 1_000);
    if (first !== undefined) {
      await write(tar, { name, type: 'link', linkname: first, mode: mode & fileModeMask, mtime });
      return false;
    }
    if (found.nlink > 1n) linked.set(key, name);
    const header = { name, type: 'file', mode: mode & fileModeMask, mtime } as const;
    await writeFile(tar, { ...header, size: Number(found.size) }, file);
    return false;
  };
  await addFolder('');
}

/** Names in order of their UTF-8 bytes, which no locale changes. */
async function listNames(folder: string): Promise<string[]> {
  const names = await readdir(folder, { encoding: 'buffer' });
  return names.sort(Buffer.compare).map((bytes) => {
    const name = bytes.toString('utf8');
    if (!Buffer.from(name).equals(bytes)) {
      throw new PerigeeError('image_invalid', `A file's name in ${folder} is not UTF-8: ${name}`);
    }
    return name;
  });
}

type Header = Exclude<Parameters<Pack['entry']>[0], undefined>;

function write(tar: Pack, header: Header): Promise<void> {
  return new Promise((resolve, reject) => {
    tar.entry({ ...header, uid: 0, gid: 0 }, (error) => (error ? reject(error) : resolve()));
  });
}

async function writeFile(tar: Pack, header: Header, file: string): Promise<void> {
  if (header.size === 0) {
    await new Promise<void>((resolve, reject) => {
      tar
        .entry({ ...header, uid: 0, gid: 0 }, (error) => (error ? reject(error) : resolve()))
        .end(Buffer.alloc(0));
    });
    return;
  }
  await pipeline(
    createReadStream(file, { highWaterMark: chunkBytes }),
    tar.entry({ ...header, uid: 0, gid: 0 }),
  );
}
