/**
 * Files that sandboxes read, laid out where a slot's user can reach them: the checkout and the
 * agent's data folder are often below a folder that only their owner may walk.
 */
import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { AgentMark } from './agent-mark.ts';
import { formatAgentMark, isStaleMark } from './agent-mark.ts';
import type { SlotIdentity } from './slot-identity.ts';

/** Where the harness and the package that it offers lie in this checkout. */
export interface RunnerSources {
  harnessPath: string;
  /** The `perigee` package of sdk/python; null when there is none. */
  packageFolder: string | null;
}

/** The runner's own folder. */
export interface Staging {
  harnessPath: string;
  packagesFolder: string;
  /** For what groups carry, unpacked. */
  includesFolder: string;
  /** For results on their way to the agent; not reachable from a sandbox. */
  spoolFolder: string;
  /** For the probe. */
  scratchFolder: string;
  createWorkerFolder(name: string, identity: SlotIdentity | null): WorkerFolder;
  close(): void;
}

/** One worker's files. */
export interface WorkerFolder {
  path: string;
  inFolder: string;
  tmpFolder: string;
  rootFolder: string;
  outputPath: string;
  resultsPath: string;
  /** Makes a file of the agent's readable here; by a hard link where possible. */
  stage(from: string, name: string): string;
  remove(): Promise<void>;
}

/**
 * Lays out `folder`, emptied of what a dead agent left; a folder that slots could not reach is
 * replaced by one below the system's temporary folder.
 * @throws Error of the file system.
 */
export function createStaging(
  folder: string,
  sources: RunnerSources,
  options: { otherUsers: boolean; agent: AgentMark },
): Staging {
  sweepTemporary(options.agent);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const reachable = !options.otherUsers || findUnreachable(folder) === undefined;
  const base = reachable ? folder : makeTemporary(options.agent);
  // Names within cannot be listed by sandboxed users, only walked through.
  chmodSync(base, 0o711);
  const libraries = makeFolder(join(base, 'lib'), 0o755);
  const harnessPath = join(libraries, 'harness.py');
  copyFileSync(sources.harnessPath, harnessPath);
  chmodSync(harnessPath, 0o644);
  const packagesFolder = makeFolder(join(libraries, 'packages'), 0o755);
  if (sources.packageFolder !== null) copyPackage(sources.packageFolder, packagesFolder);
  const spoolFolder = makeFolder(join(base, 'spool'), 0o700);
  const workers = makeFolder(join(base, 'workers'), 0o711);
  return {
    harnessPath,
    packagesFolder,
    includesFolder: makeFolder(join(base, 'includes'), 0o711),
    spoolFolder,
    scratchFolder: makeFolder(join(base, 'scratch'), 0o700),
    createWorkerFolder: (name, identity) => createWorkerFolder(join(workers, name), identity),
    close() {
      rmSync(base, { recursive: true, force: true });
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The first folder on the way to `path` that another user may not walk; undefined when there is none. */
export function findUnreachable(path: string): string | undefined {
  for (let folder = path; ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Where another's agent that died kept its files. */
function sweepTemporary(agent: AgentMark): void {
  for (const name of readdirSync(tmpdir())) {
    const [, mark] = /^perigee-runner-(agent-[0-9-]+)$/.exec(name) ?? [];
    if (mark === undefined || !isStaleMark(mark, agent)) continue;
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {
      // Another user's, who will sweep it.
    }
  }
}

function makeTemporary(agent: AgentMark): string {
  const folder = join(tmpdir(), `perigee-runner-${formatAgentMark(agent)}`);
  rmSync(folder, { recursive: true, force: true });
  // Fails when somebody else made it first: their folder is not ours to use.
  mkdirSync(folder, { mode: 0o700 });
  return folder;
}

/** Puts an argument file into a worker's folder; asynchronous only when it must be copied. */
export async function copyToStage(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  chmodSync(to, 0o444);
}

/** False when the two are on different file systems. */
export function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
  } catch (caught) {
    const code = (caught as NodeJS.ErrnoException).code;
    if (code === 'EXDEV' || code === 'EPERM' || code === 'EMLINK') return false;
    throw caught;
  }
  // The folders above keep others out; the file itself must be readable by the slot's user.
  if ((statSync(to).mode & 0o444) !== 0o444) chmodSync(to, 0o444);
  return true;
}

function createWorkerFolder(path: string, identity: SlotIdentity | null): WorkerFolder {
  mkdirSync(path, { mode: 0o710 });
  chmodSync(path, 0o710);
  const inFolder = makeFolder(join(path, 'in'), 0o750);
  const tmpFolder = makeFolder(join(path, 'tmp'), 0o700);
  const rootFolder = makeFolder(join(path, 'root'), 0o710);
  if (identity !== null) {
    // Its group may walk in; no other slot's can.
    chownSync(path, 0, identity.gid);
    chownSync(inFolder, 0, identity.gid);
    chownSync(rootFolder, 0, identity.gid);
    chownSync(tmpFolder, identity.uid, identity.gid);
  }
  return {
    path,
    inFolder,
    tmpFolder,
    rootFolder,
    outputPath: join(path, 'output'),
    resultsPath: join(path, 'results'),
    stage(from, name) {
      const to = join(path, name);
      if (!tryLink(from, to)) {
        copyFileSync(from, to, constants.COPYFILE_FICLONE);
        chmodSync(to, 0o444);
      }
      return to;
    },
    async remove() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

function copyPackage(from: string, packagesFolder: string): void {
  const to = join(packagesFolder, 'perigee');
  cpSync(from, to, {
    recursive: true,
    filter: (source) => !source.endsWith('.pyc') && !source.endsWith('__pycache__'),
  });
}

function makeFolder(path: string, mode: number): string {
  mkdirSync(path);
  chmodSync(path, mode);
  return path;
}
