/** Archives below `<home>/boot`, each made once and kept by the digest of what it was made from. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { BootFile } from './port.ts';

/** Bare machines unpack gzip without any package; what little xz would save is not worth one. */
const gzipLevel = 6;

/**
 * The archive of a folder. Names sorted, times and owners fixed: the same folder gives the same bytes.
 * @param options.key names what the folder holds, so that the same is not packed again.
 */
export async function packFolder(options: {
  /** Where archives are kept. */
  kept: string;
  key: string;
  /** The folder that contains the one packed. */
  parent: string;
  name: string;
  /** Modes in the archive, as tar takes them; those of the files when left out. */
  mode?: string;
}): Promise<BootFile> {
  const { kept, key } = options;
  const path = join(kept, `${key}.tar.gz`);
  const digestPath = `${path}.sha256`;
  const known = await readFile(digestPath, 'utf8').catch(() => undefined);
  if (known !== undefined) {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) return { digest: known.trim(), path, sizeBytes: found.size };
  }
  await mkdir(kept, { recursive: true, mode: 0o700 });
  const partial = `${path}.${process.pid}.partial`;
  try {
    await tarTo(partial, options);
    const digest = await digestOfFile(partial);
    await rename(partial, path);
    await writeFile(digestPath, `${digest}\n`);
    return { digest, path, sizeBytes: (await stat(path)).size };
  } finally {
    await rm(partial, { force: true });
  }
}

/** Removes archives that an interrupted run left half made. */
export async function removePartials(kept: string): Promise<void> {
  const names = await readdir(kept).catch(() => []);
  for (const name of names.filter((each) => each.endsWith('.partial'))) {
    await rm(join(kept, name), { force: true });
  }
}

/** SHA-256 of a file, hexadecimal. */
export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

async function tarTo(
  path: string,
  from: { parent: string; name: string; mode?: string },
): Promise<void> {
  const child = spawn(
    'tar',
    [
      ...['--create', '--format=gnu', '--sort=name', '--mtime=@0', '--numeric-owner'],
      ...(from.mode === undefined ? [] : [`--mode=${from.mode}`]),
      ...['--owner=0', '--group=0', '--directory', from.parent, from.name],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2_000);
  });
  const ended = once(child, 'close');
  await pipeline(child.stdout, createGzip({ level: gzipLevel }), createWriteStream(path));
  const [status] = await ended;
  if (status === 0) return;
  throw new PerigeeError('internal', `tar could not pack ${from.name}: ${said}`);
}
