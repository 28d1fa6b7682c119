/**
 * The images on this machine: `<home>/images/<folder>/image.json` beside a `rootfs`. An image that
 * is unfinished, damaged or for another processor is passed over, with the reason told.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { toError } from '../../protocol/base/errors.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import type { NodeImage } from '../../protocol/wire/task.ts';
import type { ImageEnvironment } from './image-environment.ts';
import { readImageEnvironment } from './image-environment.ts';

/** An image with its place. */
export interface FoundImage extends NodeImage {
  /** Its own, or its base's. */
  rootfs: string;
  /** The packages of a layer, which lie over the base's; null for an image without a base. */
  sitePath: string | null;
  /** The interpreter's path inside the root file system. */
  pythonPath: string;
  /** What a registry's image sets for its programs; absent for others. */
  environment?: ImageEnvironment;
}

/** Where set-up puts images for a user: PERIGEE_HOME, /var/lib/perigee for root, or the data folder. */
export function perigeeHome(env: NodeJS.ProcessEnv): string {
  const chosen = env['PERIGEE_HOME'];
  if (chosen !== undefined && chosen !== '') return resolve(chosen);
  if (process.getuid?.() === 0) return '/var/lib/perigee';
  const data = env['XDG_DATA_HOME'];
  return join(
    data === undefined || data === '' ? join(homedir(), '.local', 'share') : data,
    'perigee',
  );
}

/** Finds the images below a home that this processor can run, in order of their digests. */
export async function findImages(
  home: string,
  options: { arch: string; onSkipped: (folder: string, reason: string) => void },
): Promise<FoundImage[]> {
  const folder = join(home, 'images');
  const images: FoundImage[] = [];
  const layers: { name: string; layer: Layer }[] = [];
  for (const name of await listFolder(folder)) {
    // Set-up unpacks aside under a dotted name and renames.
    if (name.startsWith('.')) continue;
    try {
      const image = await readImage(join(folder, name));
      if ('base' in image) {
        layers.push({ name, layer: image });
        continue;
      }
      if (image.arch === options.arch) images.push(image);
      else options.onSkipped(name, `it is for ${image.arch}, this machine is ${options.arch}`);
    } catch (caught) {
      options.onSkipped(name, toError(caught).message);
    }
  }
  for (const { name, layer } of layers) {
    const base = images.find((image) => image.digest === layer.base);
    // Without its base it cannot run: this machine does not have it.
    if (base === undefined) options.onSkipped(name, `its base ${layer.base} is not here`);
    else images.push({ ...base, ...layer.own });
  }
  return images.sort((left, right) => (left.digest < right.digest ? -1 : 1));
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (caught) {
    const error = toError(caught);
    if ('code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** An image that lies on another one. */
interface Layer {
  base: ImageDigest;
  own: Pick<FoundImage, 'digest' | 'names' | 'sizeBytes' | 'sitePath'>;
}

async function readImage(folder: string): Promise<FoundImage | Layer> {
  const rootfs = join(folder, 'rootfs');
  const found: unknown = JSON.parse(await readFile(join(folder, 'image.json'), 'utf8'));
  const fields = fieldsOf(found, 'image.json');
  const python = fieldsOf(fields['python'], 'python');
  const digest = textOf(fields['digest'], 'digest');
  if (!/^sha256:[0-9a-f]{64}$/.test(digest)) throw new Error('digest is not sha256:<64 digits>');
  const sizeBytes = fields['sizeBytes'];
  const isSize = typeof sizeBytes === 'number' && Number.isSafeInteger(sizeBytes) && sizeBytes >= 0;
  if (!isSize) throw new Error('sizeBytes is not a size');
  if (fields['base'] !== undefined && fields['base'] !== null) {
    const sitePath = join(folder, 'site');
    if (!(await stat(sitePath)).isDirectory()) throw new Error('site is not a folder');
    const base = textOf(fields['base'], 'base') as ImageDigest;
    // Names of layers are the coordinator's matter: another namespace must not learn them here.
    return { base, own: { digest: digest as ImageDigest, names: [], sizeBytes, sitePath } };
  }
  const names = namesOf(fields);
  if (!(await stat(rootfs)).isDirectory()) throw new Error('rootfs is not a folder');
  return {
    digest: digest as ImageDigest,
    names,
    python: {
      implementation: textOf(python['implementation'], 'python.implementation'),
      version: textOf(python['version'], 'python.version'),
    },
    arch: textOf(fields['arch'], 'arch'),
    sizeBytes,
    rootfs,
    sitePath: null,
    pythonPath: textOf(python['path'], 'python.path'),
    ...(Array.isArray(fields['environment'])
      ? { environment: readImageEnvironment(fields['environment'], fields['workFolder']) }
      : {}),
  };
}

function namesOf(fields: Readonly<Record<string, unknown>>): string[] {
  const names = Array.isArray(fields['names']) ? fields['names'] : [];
  const all = [fields['name'], ...names].map((name) => textOf(name, 'names'));
  return [...new Set(all)];
}

function fieldsOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`${what} is not an object`);
  }
  return value as Readonly<Record<string, unknown>>;
}

function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '') throw new Error(`${what} is not a text`);
  return value;
}
