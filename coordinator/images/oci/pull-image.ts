/**
 * Brings a registry's image into the images' folder: copied by skopeo, unpacked by umoci, made ready,
 * asked for its Python, and put in place by one rename. Whatever ends it before leaves nothing.
 */
import { chmod, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import { isImageThere, putFolderInPlace } from '../../../protocol/images/put-in-place.ts';
import type { Interpreter } from './find-interpreter.ts';
import { findInterpreter } from './find-interpreter.ts';
import { finishRootfs } from './finish-rootfs.ts';
import { formatReference } from './reference.ts';
import type { RegistrySettings, ResolvedImage } from './registry.ts';
import { accessWords, policyWords, registryError, urlOf } from './registry.ts';
import { runProgram } from './run-program.ts';

export interface PullOrder {
  image: ResolvedImage;
  /** `<home>/images`. */
  folder: string;
  settings: RegistrySettings;
  isRoot: boolean;
  signal: AbortSignal;
  onOutput(text: string): void;
}

export interface PulledImage {
  python: Interpreter;
  sizeBytes: number;
}

const workPrefix = '.importing-';
/** For gigabytes over a slow line. */
const copyMsMax = 6 * 3_600_000;
const unpackMsMax = 3_600_000;
/** The only tag of the copy. */
const tag = 'image';

/**
 * Pulls, and answers what was found inside.
 * @throws PerigeeError as `resolveImage`, and disk_full, timed_out
 */
export async function pullImage(order: PullOrder): Promise<PulledImage> {
  const { image, signal, onOutput, isRoot } = order;
  const short = image.digest.slice(7, 39);
  const work = join(order.folder, `${workPrefix}${short}-${process.pid}`);
  try {
    await rm(work, { recursive: true, force: true });
    await mkdir(join(work, 'temporary'), { recursive: true, mode: 0o755 });
    onOutput(`Pulling ${formatReference(image.reference)} (${image.manifest})\n`);
    await copy(order, work);
    onOutput('Unpacking\n');
    await unpack(order, work);
    const rootfs = join(work, 'bundle/rootfs');
    await rm(join(work, 'layout'), { recursive: true });
    await finishRootfs(rootfs, { isRoot, signal });
    const python = await findInterpreter({ rootfs, environment: image.environment }, order);
    onOutput(`Found ${python.implementation} ${python.version} at ${python.path}\n`);
    const sizeBytes = await measure(rootfs, signal);
    await putInPlace(order, { work, rootfs, python, sizeBytes });
    return { python, sizeBytes };
  } catch (caught) {
    const error = toError(caught);
    if ('code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) {
      throw new PerigeeError('disk_full', `The disk was full: ${error.message}`, { cause: error });
    }
    throw error;
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** What an earlier run left half done; to be called before the first pull. */
export async function removeUnfinishedPulls(folder: string): Promise<void> {
  const names = await readdir(folder).catch((caught: unknown) => {
    const error = toError(caught);
    if ('code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  for (const name of names) {
    if (!name.startsWith(workPrefix) || isRunning(name)) continue;
    await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** Another coordinator may share the folder. */
function isRunning(name: string): boolean {
  const pid = Number(name.slice(name.lastIndexOf('-') + 1));
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function copy(order: PullOrder, work: string): Promise<void> {
  const { image, settings, signal, onOutput } = order;
  const exact = { ...image.reference, digest: image.manifest };
  const end = await runProgram(
    'skopeo',
    [
      // Layers pass through temporary files: they belong on the disk that the image will lie on.
      ...policyWords(),
      ...['--tmpdir', join(work, 'temporary'), 'copy'],
      ...accessWords(exact, settings, 'src-'),
      urlOf(exact),
      `oci:${join(work, 'layout')}:${tag}`,
    ],
    { signal, onOutput, msMax: copyMsMax },
  );
  if (end.exitCode !== 0) throw registryError(end, image.reference);
}

async function unpack(order: PullOrder, work: string): Promise<void> {
  const { image, signal, onOutput, isRoot } = order;
  const end = await runProgram(
    'umoci',
    [
      'unpack',
      // Owners and devices need root; without it everything is the caller's, which is enough to run.
      ...(isRoot ? [] : ['--rootless']),
      ...['--image', `${join(work, 'layout')}:${tag}`, join(work, 'bundle')],
    ],
    { signal, onOutput, msMax: unpackMsMax },
  );
  if (end.exitCode === 0) return;
  throw registryError(end, image.reference);
}

async function measure(rootfs: string, signal: AbortSignal): Promise<number> {
  const words = ['-s', '--block-size=1', rootfs];
  const end = await runProgram('du', words, { signal, msMax: unpackMsMax });
  return Number.parseInt(end.stdout, 10);
}

async function putInPlace(
  order: PullOrder,
  made: { work: string; rootfs: string; python: Interpreter; sizeBytes: number },
): Promise<void> {
  const { image, folder } = order;
  const ready = join(made.work, 'image');
  const name = formatReference({ ...image.reference, digest: image.manifest });
  await mkdir(ready);
  // Sandboxes run as another user, and the coordinator's umask lets nobody in.
  await chmod(ready, 0o755);
  await rename(made.rootfs, join(ready, 'rootfs'));
  const description = {
    name,
    names: [name],
    digest: image.digest,
    kind: 'oci',
    manifest: image.manifest,
    python: made.python,
    arch: image.arch,
    environment: image.environment,
    workFolder: image.workFolder,
    sizeBytes: made.sizeBytes,
  };
  const descriptionFile = join(ready, 'image.json');
  await writeFile(descriptionFile, `${JSON.stringify(description, undefined, 2)}\n`);
  await chmod(descriptionFile, 0o644);
  const final = join(folder, image.digest.slice(7, 39));
  // Two coordinators on one folder may have made the same one; the first is as good.
  if (!(await isImageThere(final))) await putFolderInPlace(ready, final, order.signal);
}
