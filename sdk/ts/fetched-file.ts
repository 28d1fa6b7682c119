/** Files that are fetched from a mesh: each grows beside its place and comes to it once its hash is right. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { rename, rm, stat } from 'node:fs/promises';
import { PerigeeError } from '../../protocol/base/errors.ts';

interface Content {
  sizeBytes: number;
  sha256: string;
}

/** Whether a file holds this very content. */
export async function isFetched(path: string, content: Content): Promise<boolean> {
  const size = await findSize(path);
  return size === content.sizeBytes && (await hashOfFile(path)) === content.sha256;
}

/** Where to go on in what an earlier call has fetched; empties a file that is longer than it may be. */
export async function findResumeOffset(file: FileHandle, content: Content): Promise<number> {
  const { size } = await file.stat();
  if (size <= content.sizeBytes) return size;
  await file.truncate(0);
  return 0;
}

/**
 * Brings what was fetched to its place; removes it when its hash is wrong.
 * @throws PerigeeError invalid_request when the bytes are not those that the task gave out.
 */
export async function placeFetched(
  aside: string,
  path: string,
  options: { output: { name: string; task: string; sha256: string }; fix: string },
): Promise<void> {
  const { output, fix } = options;
  if ((await hashOfFile(aside)) !== output.sha256) {
    await rm(aside);
    throw new PerigeeError(
      'invalid_request',
      `The bytes of output ${output.name} of task ${output.task} are not those that it gave out.`,
      { fix },
    );
  }
  await rename(aside, path);
}

/** Undefined when nothing is there. */
export async function findStat(path: string) {
  try {
    return await stat(path);
  } catch (caught) {
    if (caught instanceof Error && 'code' in caught && caught.code === 'ENOENT') return undefined;
    throw caught;
  }
}

/** Bytes of a file; undefined when it is not there. */
export async function findSize(path: string): Promise<number | undefined> {
  return (await findStat(path))?.size;
}

async function hashOfFile(path: string): Promise<string> {
  const digest = createHash('sha256');
  for await (const piece of createReadStream(path)) digest.update(piece);
  return digest.digest('hex');
}
