/** The images that set-up built on this machine: what nodes that run here will have. */
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { toError } from '../../../protocol/base/errors.ts';
import type { ImageDigest } from '../../../protocol/wire/ids.ts';
import type { NodeImage } from '../../../protocol/wire/task.ts';
import type { GatewayDeps } from '../ports.ts';

/** A listing is believed for so long: images come and go by hand, `status` asks often. */
const rescanMs = 2_000;

/**
 * Lists `<folder>/<digest>/image.json`, newest first. A folder that is not there is no images; an
 * image that cannot be read is left out and told to `onBroken`.
 */
export function createLocalImages(
  folder: string,
  deps: { clock: { nowMs(): number }; onBroken(path: string, error: Error): void },
): GatewayDeps['images'] {
  let listed: Promise<readonly NodeImage[]> | null = null;
  let listedAtMs = 0;
  return {
    list() {
      const nowMs = deps.clock.nowMs();
      if (listed === null || nowMs - listedAtMs >= rescanMs) {
        listed = scan(folder, deps.onBroken);
        listedAtMs = nowMs;
      }
      return listed;
    },
    async remove(digest) {
      listed = null;
      const name = digest.slice('sha256:'.length, 'sha256:'.length + 32);
      // Out of sight first: half an image must never be taken for one.
      const aside = join(folder, `.removed-${name}`);
      await rm(aside, { recursive: true, force: true });
      try {
        await rename(join(folder, name), aside);
      } catch (caught) {
        if (!isMissing(toError(caught))) throw caught;
      }
      await rm(aside, { recursive: true, force: true });
    },
  };
}

async function scan(
  folder: string,
  onBroken: (path: string, error: Error) => void,
): Promise<readonly NodeImage[]> {
  const found: { image: NodeImage; builtAtMs: number }[] = [];
  for (const entry of await readFolder(folder, onBroken)) {
    // Dotted names are images that are being made or removed.
    if (entry.startsWith('.')) continue;
    const path = join(folder, entry, 'image.json');
    try {
      const { mtimeMs } = await stat(path);
      found.push({ image: readImage(await readFile(path, 'utf8')), builtAtMs: mtimeMs });
    } catch (caught) {
      const error = toError(caught);
      // A build in progress has no image.json yet.
      if (!isMissing(error)) onBroken(path, error);
    }
  }
  return found.sort((a, b) => b.builtAtMs - a.builtAtMs).map(({ image }) => image);
}

async function readFolder(
  folder: string,
  onBroken: (path: string, error: Error) => void,
): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (caught) {
    const error = toError(caught);
    if (!isMissing(error)) onBroken(folder, error);
    return [];
  }
}

function isMissing(error: Error): boolean {
  return 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function readImage(text: string): NodeImage {
  const value: unknown = JSON.parse(text);
  const image = fieldsOf(value);
  const python = fieldsOf(image['python']);
  const { digest, arch, sizeBytes } = image;
  const { implementation, version } = python;
  const names = [image['name'], ...(Array.isArray(image['names']) ? image['names'] : [])].filter(
    (name): name is string => typeof name === 'string',
  );
  if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest)) {
    throw new Error('"digest" is not sha256: and 64 hexadecimal digits');
  }
  if (typeof implementation !== 'string' || typeof version !== 'string') {
    throw new Error('"python" has no implementation and version');
  }
  // A layer has no name of its own: the catalogue says who calls it what.
  if (names.length === 0 && typeof image['base'] !== 'string') throw new Error('it has no name');
  return {
    digest: digest as ImageDigest,
    names: [...new Set(names)],
    python: { implementation, version },
    arch: typeof arch === 'string' ? arch : '',
    sizeBytes: typeof sizeBytes === 'number' ? sizeBytes : 0,
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
