/** What every isolation level makes of a worker: a command line, and what is left for the harness to do. */
import type { HarnessSetup } from './frames.ts';
import type { SlotIdentity } from './slot-identity.ts';

/** Descriptors of the child, in the order that the runner opens them. */
export const childFds = { commands: 3, results: 4, info: 5, seccomp: 6 } as const;

/** Of a child whose launcher hands on no others: `LaunchPlan.channel` is `standard`. */
export const standardFds = { commands: 0, results: 1, output: 2 } as const;

/** A folder of the machine that sandboxes may read. */
export interface DataMount {
  name: string;
  path: string;
}

/** What a worker needs, as paths of the machine. */
export interface LaunchContext {
  /** Null when the agent is not root: the sandbox runs as the agent's own user. */
  identity: SlotIdentity | null;
  rootfs: string;
  /** Within the root file system. */
  pythonPath: string;
  /** Packages of a layered image; null for others. */
  sitePath: string | null;
  harnessPath: string;
  /** Holds the `perigee` package. */
  packagesFolder: string;
  functionPath: string;
  cloudpicklePath: string | null;
  /** Folder with the modules and files that the group carries; null for none. */
  includeFolder?: string | null;
  /** The worker's argument files. */
  inFolder: string;
  /** Writable; used where there is no mount namespace. */
  tmpFolder: string;
  /** Of files that are filled as they are read; null where the agent serves none. */
  lazyFolder?: string | null;
  /** Empty folder to mount the root file system on, where the level needs one. */
  rootFolder: string;
  outputPath: string;
  mounts: readonly DataMount[];
  network: boolean;
  cpus: number;
  memoryBytes: number;
  processesMax: number;
  tmpBytes: number;
  /** False when limits for memory and processes must be rlimits. */
  hasCgroup: boolean;
  arch: string;
}

/** How to start it. */
export interface LaunchPlan {
  argv: string[];
  environment: Record<string, string>;
  /** cBPF program for bubblewrap to read from its descriptor; null when the harness applies it, or nobody. */
  seccompProgram: Buffer | null;
  /** Whether the command tells the pid of the sandbox's first process on its descriptor. */
  hasInfo: boolean;
  /**
   * Where the frames go: through descriptors of their own, or, when the command hands on no others,
   * in by 0 and out by 1, and all output by 2.
   */
  channel: 'own' | 'standard';
  /** What a kill aims at: the sandbox's first process, which takes the others along, or every process. */
  killTarget: 'first' | 'every';
  /** Whether the image is the root of what the worker sees. */
  hasRoot: boolean;
  /** Where the sandbox sees the folder of argument files. */
  inPath: string;
  setup: LaunchSetup;
}

/** What the level decides of the harness's set-up. */
export type LaunchSetup = Pick<
  HarnessSetup,
  | 'functionPath'
  | 'includeFolder'
  | 'paths'
  | 'workFolder'
  | 'sweep'
  | 'wipe'
  | 'rlimits'
  | 'parentDeathSignal'
  | 'acknowledgesAll'
  | 'seccomp'
  | 'landlock'
>;

/** Descriptors of one process. */
export const filesOpenMax = 1024;
/** Memory that one process may lock. */
export const lockedBytesMax = 64 * 1024;

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Where sandboxes with mounts see what the group carries. */
export const includeInside = '/perigee/include';
/** Where sandboxes with mounts see the packages of a layered image. */
export const siteInside = '/perigee/site';

/** What sandboxes with mounts and a pid namespace of their own have in common: the image's root, `/perigee`, `/tmp`. */
export function mountedSetup(
  context: Pick<LaunchContext, 'includeFolder' | 'cloudpicklePath' | 'sitePath'>,
): Pick<LaunchSetup, 'functionPath' | 'includeFolder' | 'paths' | 'workFolder' | 'sweep' | 'wipe'> {
  return {
    functionPath: '/perigee/function',
    includeFolder: context.includeFolder == null ? null : includeInside,
    paths: [
      ...(context.cloudpicklePath === null ? [] : ['/perigee/cloudpickle.zip']),
      '/perigee/packages',
      ...(context.includeFolder == null ? [] : [includeInside]),
      ...(context.sitePath === null ? [] : [siteInside]),
    ],
    workFolder: '/tmp',
    sweep: 'namespace',
    wipe: ['/tmp', '/dev/shm'],
  };
}

/** Environment of every worker; the group's own comes in the set-up, since launchers run as root. */
export function baseEnvironment(context: {
  cpus: number;
  /** As the worker sees it. */
  siteInside?: string | null;
  memoryBytes?: number;
}): Record<string, string> {
  const threads = String(Math.max(1, Math.ceil(context.cpus)));
  return {
    PATH: `${context.siteInside ? `${context.siteInside}/bin:` : ''}${systemPath}`,
    HOME: '/tmp',
    TMPDIR: '/tmp',
    USER: 'perigee',
    // How the `perigee` package in there knows that it runs inside a task.
    PERIGEE_SANDBOX: '1',
    ...(context.memoryBytes === undefined
      ? {}
      : { PERIGEE_MEMORY_BYTES: String(context.memoryBytes) }),
    ...gdalEnvironment,
    LANG: 'C.UTF-8',
    PYTHONIOENCODING: 'utf-8',
    PYTHONUNBUFFERED: '1',
    PYTHONDONTWRITEBYTECODE: '1',
    // Numeric libraries start a thread per core of the machine otherwise.
    OMP_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
  };
}

/** GDAL over granted files: each stands alone in its folder, and its blocks are worth keeping. */
const gdalEnvironment = {
  // Neither side-car files nor a listing are looked for: there are none.
  GDAL_DISABLE_READDIR_ON_OPEN: 'EMPTY_DIR',
  VSI_CACHE: 'FALSE',
  // Headers of a file with many overviews in one read.
  GDAL_INGESTED_BYTES_AT_OPEN: '32768',
  // Megabytes; a share of the machine's memory otherwise, which a worker does not have.
  GDAL_CACHEMAX: '64',
  // Never the metadata of a file's neighbours, nor a socket.
  GDAL_HTTP_MAX_RETRY: '0',
};

/** Puts a command under the limits that need no namespace. */
export function withLimits(
  context: Pick<LaunchContext, 'tmpBytes'>,
  argv: readonly string[],
): string[] {
  return [
    'prlimit',
    `--nofile=${filesOpenMax}:${filesOpenMax}`,
    '--core=0:0',
    // Sparse files do not fill a tmpfs.
    `--fsize=${context.tmpBytes}:${context.tmpBytes}`,
    `--memlock=${lockedBytesMax}:${lockedBytesMax}`,
    ...argv,
  ];
}

/** Puts a command into control groups, before anything of the sandbox exists. */
export function withCgroup(joinPaths: readonly string[], argv: readonly string[]): string[] {
  const script = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 97; shift; done; shift; exec "$@"';
  return ['/bin/sh', '-c', script, 'sh', ...joinPaths, '--', ...argv];
}

/** The interpreter's arguments, the same at each level. */
export function harnessArguments(
  harnessPath: string,
  fds: { commands: number; results: number } = childFds,
): string[] {
  return ['-u', '-s', harnessPath, String(fds.commands), String(fds.results)];
}

/** Limits that the harness sets for itself. */
export function harnessRlimits(context: LaunchContext): Record<string, number> {
  if (context.hasCgroup) return {};
  return {
    nproc: context.processesMax,
    // For what grows too quickly for the watch over resident memory; mapped files do not count.
    data: 2 * context.memoryBytes,
  };
}
