/**
 * Gives a finished image its name so that a power cut leaves the whole image or none: every file is on
 * the disk before the name is, which a rename alone does not promise.
 */
import { execFile } from 'node:child_process';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PerigeeError, toError } from '../base/errors.ts';

const run = promisify(execFile);

/** Whether an image's description can be read; one that lost its content to a power cut is no image. */
export async function isImageThere(folder: string): Promise<boolean> {
  try {
    JSON.parse(await readFile(join(folder, 'image.json'), 'utf8'));
    return true;
  } catch (caught) {
    const error = toError(caught);
    const isMissing = 'code' in error && error.code === 'ENOENT';
    if (isMissing || error instanceof SyntaxError) return false;
    // A sick disk, or too many open files, says nothing of the image.
    throw error;
  }
}

/**
 * Renames a folder to its name, unless a sound image is there; what is there of a damaged one goes.
 * @throws PerigeeError data_unwritable when the disk does not take it
 */
export async function putFolderInPlace(
  ready: string,
  final: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    // One call for thousands of files: syncing each one would take minutes.
    await run('sync', ['-f', ready], { signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new PerigeeError('data_unwritable', `${ready}: ${toError(cause).message}`, { cause });
  }
  try {
    await rename(ready, final);
  } catch (caught) {
    const error = toError(caught);
    const isTaken = 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST');
    if (!isTaken) throw error;
    // Somebody else has made the same meanwhile: the first is as good.
    if (await isImageThere(final)) return;
    const aside = join(dirname(final), `.removing-${basename(final)}`);
    await rm(aside, { recursive: true, force: true });
    await rename(final, aside);
    await rename(ready, final);
    await rm(aside, { recursive: true, force: true });
  }
  const parent = await open(dirname(final), 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}
