// The npm packages, among them the project's own Node (an optional dependency that carries the
// program itself, with no install script).

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { findProgram, run, SetupError } from './commands.mjs';
import { checkout, nodeProgram } from './places.mjs';

/**
 * Whether node_modules holds what package-lock.json asks for on this machine. npm's own record in
 * node_modules is compared, so that a hand-made `npm install` counts too.
 */
export function npmPackagesAreReady() {
  return existsSync(nodeProgram) && isInstalled();
}

function isInstalled() {
  const installed = readLock(join(checkout, 'node_modules', '.package-lock.json'));
  if (installed === undefined) return false;
  const wanted = readLock(join(checkout, 'package-lock.json'));
  if (wanted === undefined) return true;
  return Object.entries(wanted).every(
    ([path, entry]) =>
      path === '' ||
      entry.link ||
      isForOtherMachines(entry) ||
      installed[path]?.version === entry.version,
  );
}

export function nodeVersionWanted() {
  const manifest = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'));
  return manifest.optionalDependencies?.[`node-${process.platform}-${process.arch}`];
}

export async function installNpmPackages() {
  if (nodeVersionWanted() === undefined) {
    throw new SetupError(
      `There is no Node in package.json for ${process.platform}-${process.arch}. ` +
        'Perigee runs on linux-x64 and linux-arm64.',
    );
  }
  if (!isInstalled()) {
    await runNpm(npmCommand());
    linkNode();
    // npm leaves out optional packages that the Node which runs it is too old for, the programs of
    // the test runner among them, whatever its settings say: again, then, with the new one.
    if (nodeMajor(process.version) < optionalNodeMajorMin) await runNpm([nodeProgram, npmScript()]);
  }
  linkNode();
}

/** The oldest Node that no optional package of package-lock.json refuses. */
const optionalNodeMajorMin = 22;

function nodeMajor(version) {
  return Number.parseInt(version.replace('v', ''), 10);
}

/** The script behind the npm on PATH. */
function npmScript() {
  const path = npmCommand().at(-1);
  return realpathSync(path);
}

async function runNpm([program, ...first]) {
  await run(
    program,
    [
      ...first,
      // Not `ci`: from 11 on it refuses a lock that does not list the optional packages of other
      // systems, which a registry mirror may not carry. This takes versions and digests from the lock
      // as `ci` does, and leaves it as it is.
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
      '--no-progress',
      '--loglevel=error',
      // No package that we use needs its install script: each ships its binaries.
      '--ignore-scripts',
      // The old Node runs npm here, only the new one runs the packages.
      '--engine-strict=false',
      // A user's NODE_ENV=production or omit=optional would leave out the tests or Node itself.
      '--include=dev',
      '--include=optional',
    ],
    { cwd: checkout, problem: 'The npm packages could not be installed' },
  );
}

/** Debian's npm 9 installs the package that carries Node, but leaves its program unlinked. */
function linkNode() {
  if (existsSync(nodeProgram)) return;
  const carrier = `node-${process.platform}-${process.arch}`;
  const program = join(checkout, 'node_modules', carrier, 'bin', 'node');
  if (!existsSync(program)) {
    throw new SetupError(
      `npm did not install the package ${carrier}, which carries the ` +
        'Node that Perigee runs on. See if your npm settings leave out optional packages ' +
        '(npm config get omit), and run this again.',
    );
  }
  chmodSync(program, 0o755);
  mkdirSync(dirname(nodeProgram), { recursive: true });
  rmSync(nodeProgram, { force: true });
  symlinkSync(join('..', carrier, 'bin', 'node'), nodeProgram);
}

/** Under `npm run`, that very npm with the Node that runs us; else the npm on PATH. */
function npmCommand() {
  const path = process.env.npm_execpath;
  if (path && basename(path) === 'npm-cli.js' && existsSync(path)) return [process.execPath, path];
  const npm = findProgram('npm');
  if (npm !== undefined) return [npm];
  throw new SetupError('npm is missing. On Debian: apt-get install npm');
}

function readLock(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : undefined;
}

function isForOtherMachines(entry) {
  if (entry.peer && entry.optional) return true;
  return (
    !fits(entry.os, process.platform) ||
    !fits(entry.cpu, process.arch) ||
    !fits(entry.libc, 'glibc')
  );
}

/** npm's rule for os, cpu and libc: a name or a list of names, each of them perhaps refused by a !. */
function fits(names, own) {
  const list = [names ?? []].flat();
  if (list.includes(`!${own}`)) return false;
  const wanted = list.filter((name) => !name.startsWith('!'));
  return wanted.length === 0 || wanted.includes(own);
}
