/** Packing and unpacking of images, each in a child process; see `archive-worker.ts`. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isErrorCode, PerigeeError } from '../base/errors.ts';

/** What an image is, whoever packs it. */
export interface ImageContent {
  /** SHA-256 of the tar, lower-case hexadecimal. */
  contentHash: string;
  contentBytes: number;
}

/** An image on its way: the tar says what it is, the packed file where to go on after a cut. */
export interface ImageArchive extends ImageContent {
  /** SHA-256 of the packed file: packers of other versions may make others of the same tar. */
  archiveHash: string;
  archiveBytes: number;
}

/**
 * Packs an image's folder into a file, whole or not at all.
 * @throws PerigeeError image_invalid, disk_full
 */
export async function packArchive(
  order: { folder: string; archive: string },
  signal: AbortSignal,
): Promise<ImageArchive> {
  return (await runWorker(['pack', order.folder, order.archive], { signal })) as ImageArchive;
}

/**
 * What an image's folder would be as an archive, without making one.
 * @throws PerigeeError image_invalid
 */
export async function hashFolder(folder: string, signal: AbortSignal): Promise<ImageContent> {
  return (await runWorker(['hash', folder], { signal })) as ImageContent;
}

/**
 * Verifies an archive and unpacks it into a folder that does not exist yet. After a failure the
 * folder may be there in part: it is the caller's to remove.
 * @throws PerigeeError image_invalid when the bytes are not the image's, disk_full
 */
export async function unpackArchive(
  order: { archive: string; folder: string; contentHash: string; contentBytes: number },
  signal: AbortSignal,
): Promise<void> {
  const { archive, folder, contentHash, contentBytes } = order;
  await runWorker(['unpack', archive, folder, contentHash, String(contentBytes)], { signal });
}

async function runWorker(
  words: readonly string[],
  options: { signal: AbortSignal },
): Promise<unknown> {
  const worker = fileURLToPath(new URL('archive-worker.ts', import.meta.url));
  const child = spawn(process.execPath, [worker, ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: options.signal,
    killSignal: 'SIGKILL',
  });
  let said = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2_000);
  });
  // It may be gone before it reads; how it ended says why.
  child.stdin.on('error', () => undefined);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  const exitCode = await promise;
  const answer = parseAnswer(said);
  if (exitCode === 0 && answer !== undefined) return answer;
  const { code, message, fix } = { code: '', message: '', fix: '', ...answer };
  if (isErrorCode(code)) throw new PerigeeError(code, message, { fix });
  throw new PerigeeError('internal', `The image's packer failed (${exitCode}): ${complaint}`);
}

function parseAnswer(said: string): Record<string, string> | undefined {
  const line = said.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) return undefined;
  return JSON.parse(line) as Record<string, string>;
}
