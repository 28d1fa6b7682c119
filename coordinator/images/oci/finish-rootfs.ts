/**
 * Makes what umoci unpacked ready to be the root of sandboxes: owned by who runs this, writable to
 * nobody else, without set-uid bits and devices, and with the places that sandboxes mount on.
 *
 * The files come from strangers, so no link in them is followed: each step looks with lstat, or is a
 * program that does.
 */
import { chmod, lstat, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import { runProgram } from './run-program.ts';

/** A read-only root cannot be given new folders later. */
const mountPoints = ['data', 'dev', 'home', 'in', 'perigee', 'proc', 'run', 'tmp'];
/** A sandbox with a network mounts the machine's own over these. */
const networkFiles = ['resolv.conf', 'hosts'];
const stepMsMax = 30 * 60_000;

export async function finishRootfs(
  rootfs: string,
  options: { isRoot: boolean; signal: AbortSignal },
): Promise<void> {
  const run = async (program: string, words: string[]): Promise<void> => {
    const { signal } = options;
    const end = await runProgram(program, words, { signal, msMax: stepMsMax });
    if (end.exitCode === 0) return;
    throw new PerigeeError('internal', `${program} failed on the image: ${end.complaint}`);
  };
  await run('find', [rootfs, '!', '-type', 'f', '!', '-type', 'd', '!', '-type', 'l', '-delete']);
  if (options.isRoot) await run('chown', ['-R', '-h', '0:0', rootfs]);
  await run('chmod', ['-R', 'u+rwX,go+rX,go-w,a-st', rootfs]);
  for (const name of mountPoints) await makeFolder(join(rootfs, name));
  await run('chmod', ['1777', join(rootfs, 'tmp')]);
  await makeFolder(join(rootfs, 'etc'));
  for (const name of networkFiles) await makeFile(join(rootfs, 'etc', name));
}

/** A real folder of that name, in place of a link or a file. */
async function makeFolder(path: string): Promise<void> {
  const found = await findStatus(path);
  if (found?.isDirectory()) return;
  if (found !== undefined) await rm(path);
  await mkdir(path);
  // Whatever the coordinator's umask is.
  await chmod(path, 0o755);
}

async function makeFile(path: string): Promise<void> {
  const found = await findStatus(path);
  if (found?.isFile()) return;
  if (found !== undefined) await rm(path, { recursive: true });
  await writeFile(path, '', { flag: 'wx' });
  await chmod(path, 0o644);
}

async function findStatus(path: string) {
  try {
    return await lstat(path);
  } catch (caught) {
    const error = toError(caught);
    if ('code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
