/** Which files travel with a function besides itself, and where they lie; the Python SDK's rules. */
import type { Stats } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PerigeeError } from '../../protocol/base/errors.ts';
import { matchPattern } from './include-pattern.ts';

/** What `createFunction` takes of the user's own files. */
export interface IncludeOptions {
  /** Python files and folders of packages: each can be imported by its own name. */
  includeModules?: readonly string[] | undefined;
  /** Files, folders and patterns (`*`, `?`, `[…]`, `**`): each keeps its relative path. */
  includeData?: readonly string[] | undefined;
  /** Where relative paths begin; default: the current folder. */
  includeFrom?: string | URL | undefined;
}

/** One file that is carried. */
export interface IncludedFile {
  path: string;
  sizeBytes: number;
  isProgram: boolean;
}

export interface IncludedFiles {
  /** By their paths in the folder. */
  files: ReadonlyMap<string, IncludedFile>;
  modules: readonly string[];
  /** Of the extension modules among them; null when there are none. */
  arch: string | null;
}

const filesMax = 100_000;
const machines: Readonly<Record<number, string>> = {
  62: 'x64',
  183: 'arm64',
  3: 'ia32',
  40: 'arm',
};

interface Collection {
  files: Map<string, IncludedFile>;
  modules: string[];
  arch: string | null;
}

/** A folder or file of the user's on its way into the folder. */
interface Source {
  place: string;
  path: string;
  /** What no link may leave; null for a file that the user named. */
  root: string | null;
  isModule: boolean;
}

/**
 * Finds the files; null when the options name none.
 * @throws PerigeeError invalid_request
 */
export async function collectIncludes(options: IncludeOptions): Promise<IncludedFiles | null> {
  const { includeModules = [], includeData = [] } = options;
  if (includeModules.length === 0 && includeData.length === 0) return null;
  const from = options.includeFrom ?? process.cwd();
  const base = resolve(from instanceof URL ? fileURLToPath(from) : from);
  const collection: Collection = { files: new Map(), modules: [], arch: null };
  for (const path of includeModules) await addModule(collection, resolve(base, path));
  for (const pattern of includeData) await addData(collection, { base, pattern });
  for (const place of collection.files.keys()) {
    for (let above = dirname(place); above !== '.'; above = dirname(above)) {
      if (collection.files.has(above)) throw refuse(`${above} is both a file and a folder`);
    }
  }
  return collection;
}

async function addModule(collection: Collection, path: string): Promise<void> {
  const name = basename(path).replace(/\.py$/, '');
  const found = await statOf(path);
  if (!/^[A-Za-z_]\w*$/.test(name)) {
    throw refuse(`${path} has no name that Python could import`, 'Rename it.');
  }
  if (!found.isDirectory() && !path.endsWith('.py')) {
    throw refuse(`${path} is neither a Python file nor a folder`, 'Name it in includeData.');
  }
  if (['perigee', 'cloudpickle'].includes(name)) {
    throw refuse(`${name} is in every sandbox already`, 'Leave it out.');
  }
  const root = found.isDirectory() ? await realpath(path) : null;
  await add(collection, { place: basename(path), path, root, isModule: true }, []);
  collection.modules.push(name);
}

async function addData(
  collection: Collection,
  data: { base: string; pattern: string },
): Promise<void> {
  const { base, pattern } = data;
  const { paths, root } = await matchPattern(base, pattern);
  if (paths.length === 0) throw refuse(`includeData: there is no ${pattern} in ${base}`);
  for (const path of paths) {
    const isFolder = (await statOf(path)).isDirectory();
    const ownRoot = root ?? (isFolder ? await realpath(path) : null);
    const source = { place: placeOf(base, path), path, root: ownRoot, isModule: false };
    await add(collection, source, []);
  }
}

/** The path as it was written, or its own name when it lies elsewhere. */
function placeOf(base: string, path: string): string {
  const below = relative(base, path);
  const isBelow = below.split(sep)[0] !== '..' && !isAbsolute(below);
  const place = normalize(isBelow ? below : basename(path));
  return place === '.' ? '' : place.split(sep).join('/');
}

async function add(
  collection: Collection,
  source: Source,
  within: readonly string[],
): Promise<void> {
  const { place, path, root, isModule } = source;
  const found = await statOf(path);
  const real = await realpath(path);
  if (root !== null && real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep)) {
    throw refuse(`The link ${path} leads out of ${root}, to ${real}`, 'Replace it by a copy.');
  }
  if (found.isDirectory()) {
    if (within.includes(real)) throw refuse(`The link ${path} leads to a folder above it`);
    for (const name of (await readdir(path)).sort()) {
      if (name.startsWith('.') || name === '__pycache__') continue;
      if (isModule && /\.py[co]$/.test(name)) continue;
      const inner = place === '' ? name : `${place}/${name}`;
      const next = { ...source, place: inner, path: join(path, name) };
      await add(collection, next, [...within, real]);
    }
    return;
  }
  if (!found.isFile()) throw refuse(`${path} is neither a file nor a folder`, 'Leave it out.');
  if (isModule && /\.(so|pyd|dylib)$/.test(path)) {
    collection.arch = await readMachine(path);
  }
  const known = collection.files.get(place);
  if (known !== undefined && (await realpath(known.path)) !== real) {
    throw refuse(`Two files would lie at ${place}: ${known.path} and ${path}`, 'Rename one.');
  }
  if (collection.files.size >= filesMax) throw refuse(`More than ${filesMax} files`);
  const isProgram = (found.mode & 0o111) !== 0;
  collection.files.set(place, { path, sizeBytes: found.size, isProgram });
}

async function readMachine(path: string): Promise<string> {
  await using file = await open(path);
  const head = Buffer.alloc(20);
  const { bytesRead } = await file.read(head, 0, head.length, 0);
  const isElf = bytesRead === head.length && head.readUInt32BE(0) === 0x7f454c46;
  if (!isElf) {
    throw refuse(`The extension module ${path} is not for Linux`, 'Build it there.');
  }
  const number = head[5] === 1 ? head.readUInt16LE(18) : head.readUInt16BE(18);
  return machines[number] ?? 'unknown';
}

async function statOf(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (cause) {
    throw new PerigeeError('invalid_request', `${path} cannot be read.`, {
      cause,
      fix: 'Check the path; relative ones begin at includeFrom, by default the current folder.',
    });
  }
}

function refuse(what: string, fix = 'Check the paths, or leave it out.'): PerigeeError {
  return new PerigeeError('invalid_request', `${what}.`, { fix });
}
