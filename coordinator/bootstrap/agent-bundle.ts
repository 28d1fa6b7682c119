/**
 * The agent with everything that it needs on a machine that has nothing: Node, our own sources, the
 * npm packages that they import, bubblewrap, and the libraries that a bare Debian or Ubuntu lacks.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { delimiter, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { digestOfFile, packFolder } from './boot-files.ts';
import type { BootFile } from './port.ts';

const run = promisify(execFile);

/** The folder's name in the archive. */
export const bundleFolder = 'perigee-agent';

/** Our own that an agent runs or hands into sandboxes. */
const sources = ['protocol', 'node-agent', 'sdk/python/src/perigee', 'package.json'];
/** Of the GNU C library: the machine's own, which fits its kernel and its other programs. */
const glibc = /^(linux-vdso|ld-linux|libc|libm|libdl|libpthread|librt|libresolv|libutil)[.-]/;
/** What no program reads. */
const useless = /\.(d\.[cm]?ts|map|md|markdown|flow|tsbuildinfo)$|\/(__pycache__|\.bin)(\/|$)/;

export interface BundleInput {
  /** The checkout. */
  root: string;
  /** Where archives are kept. */
  kept: string;
}

/**
 * The bundle, made when it is not there yet. The same sources and packages give the same bytes.
 * @throws PerigeeError internal with what is missing on this machine
 */
export async function makeAgentBundle(input: BundleInput): Promise<BootFile> {
  await mkdir(input.kept, { recursive: true, mode: 0o700 });
  const work = await mkdtemp(join(input.kept, 'bundle-'));
  try {
    const folder = join(work, bundleFolder);
    await mkdir(join(folder, 'bin'), { recursive: true });
    await mkdir(join(folder, 'lib'));
    await copySources(input.root, folder);
    await copyPackages(input.root, folder);
    await copyProgram(process.execPath, join(folder, 'bin/node'), folder);
    await copyProgram(await findProgram('bwrap'), join(folder, 'bin/bwrap'), folder);
    const key = `agent-${process.arch}-${(await digestOfFolder(folder)).slice(0, 32)}`;
    return await packFolder({
      kept: input.kept,
      key,
      parent: work,
      name: bundleFolder,
      // Sandboxes’ users run what is in it, whatever umask it was made under.
      mode: 'u+rwX,go+rX,go-w',
    });
  } catch (caught) {
    const cause = toError(caught);
    throw new PerigeeError('internal', `The agent bundle cannot be made: ${cause.message}`, {
      cause,
      fix: 'Run `npm run setup`: it installs bubblewrap and patchelf, which the bundle is made with.',
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function copySources(root: string, folder: string): Promise<void> {
  for (const source of sources) {
    await cp(join(root, source), join(folder, source), {
      recursive: true,
      filter: (path) => !useless.test(path),
    });
  }
}

/** The packages that our sources name, and all that those depend on. */
async function copyPackages(root: string, folder: string): Promise<void> {
  const wanted = new Set<string>();
  for (const name of await importedPackages(folder)) await addPackage(root, name, root, wanted);
  for (const path of [...wanted].sort()) {
    await cp(join(root, path), join(folder, path), {
      recursive: true,
      // Packages inside it are wanted, or not, by themselves.
      filter: (from) => {
        const inside = relative(join(root, path), from);
        return !/(^|\/)node_modules(\/|$)/.test(inside) && !useless.test(from);
      },
    });
  }
}

async function importedPackages(folder: string): Promise<Set<string>> {
  const names = new Set<string>();
  for (const part of ['protocol', 'node-agent']) {
    const files = await readdir(join(folder, part), { recursive: true });
    for (const file of files.filter((each) => each.endsWith('.ts'))) {
      const text = await readFile(join(folder, part, file), 'utf8');
      for (const [, specifier = ''] of text.matchAll(/(?:\bfrom |\bimport\()'([^'.][^']*)'/g)) {
        if (specifier.startsWith('node:') || builtinModules.includes(specifier)) continue;
        const words = specifier.split('/');
        names.add(words.slice(0, specifier.startsWith('@') ? 2 : 1).join('/'));
      }
    }
  }
  return names;
}

/** Adds a package as the importer's folder would find it, then its dependencies. */
async function addPackage(
  root: string,
  name: string,
  importer: string,
  wanted: Set<string>,
): Promise<void> {
  const found = await findPackage(root, name, importer);
  if (found === undefined) return;
  const path = relative(root, found.folder);
  if (wanted.has(path)) return;
  wanted.add(path);
  const needs = { ...found.manifest.dependencies, ...found.manifest.optionalDependencies };
  for (const need of Object.keys(needs).sort()) await addPackage(root, need, found.folder, wanted);
}

interface Manifest {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

async function findPackage(
  root: string,
  name: string,
  importer: string,
): Promise<{ folder: string; manifest: Manifest } | undefined> {
  for (let at = importer; at.startsWith(root); at = join(at, '..')) {
    const folder = join(at, 'node_modules', name);
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => undefined);
    if (text !== undefined) return { folder, manifest: JSON.parse(text) as Manifest };
    if (at === root) break;
  }
  return undefined;
}

/** A program that finds its libraries beside itself, whatever the machine has. */
async function copyProgram(from: string, to: string, folder: string): Promise<void> {
  await cp(await realpath(from), to);
  await chmod(to, 0o755);
  const { stdout } = await run('ldd', [from]);
  for (const [, name = '', path = ''] of stdout.matchAll(/^\s*(\S+) => (\/\S+)/gm)) {
    if (glibc.test(name)) continue;
    const copy = join(folder, 'lib', name);
    await cp(await realpath(path), copy);
    await chmod(copy, 0o755);
  }
  // RPATH rather than RUNPATH: it holds for the libraries of libraries too.
  await run('patchelf', ['--force-rpath', '--set-rpath', '$ORIGIN/../lib', to]);
}

async function findProgram(name: string): Promise<string> {
  for (const place of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = await realpath(join(place, name)).catch(() => undefined);
    if (path !== undefined) return path;
  }
  throw new Error(`there is no program "${name}" on this machine`);
}

/** Of all names and bytes below a folder. */
async function digestOfFolder(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const paths = files.map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  for (const path of paths.sort()) {
    hash.update(`${path}\0${await digestOfFile(join(folder, path))}\n`);
  }
  return hash.digest('hex');
}
