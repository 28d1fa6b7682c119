/**
 * Finds which isolation levels work on this machine by running a program in each. What fails says
 * why, with the line that mends it.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { toError } from '../../protocol/base/errors.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import { isolationLevels } from '../../protocol/wire/task.ts';
import { planBubblewrapProbe } from './launch-bubblewrap.ts';
import { planGvisorProbe } from './launch-gvisor.ts';
import { planUnshareProbe } from './launch-unshare.ts';
import { findSeccompArch } from './seccomp.ts';
import type { SlotIdentity } from './slot-identity.ts';
import { mapsSlotUids, uidMax, uidMin } from './slot-identity.ts';

/** One level: usable, or why not. */
export interface LevelProbe {
  level: IsolationLevel;
  /** Null when it works; else what went wrong and the fix. */
  failure: string | null;
}

export interface ProbeContext {
  /** Null when the agent is not root. */
  identity: SlotIdentity | null;
  /** An empty folder of the runner's own. */
  folder: string;
  allowNone: boolean;
  /** Whether somebody asked for `strong`; its start takes too long to be anybody's default. */
  allowStrong: boolean;
}

/** Every level, strongest first. */
export async function probeIsolation(context: ProbeContext): Promise<LevelProbe[]> {
  const unmapped = context.identity === null ? null : findUnmapped();
  if (unmapped !== null) {
    return isolationLevels.map((level) => {
      const isUsable = level === 'none' && context.allowNone;
      return { level, failure: isUsable ? null : unmapped };
    });
  }
  return await Promise.all(
    isolationLevels.map(async (level) => ({ level, failure: await probeLevel(level, context) })),
  );
}

/** Root of the machine without the slots' users: every level would fail, each with words of its own. */
function findUnmapped(): string | null {
  if (mapsSlotUids(readFileSync('/proc/self/uid_map', 'utf8'))) return null;
  return (
    `root is the machine’s root here and cannot become a slot’s user: uids ${uidMin} to ${uidMax} are not mapped. ` +
    'Fix: map them into the container (`0 0 65536`, say), or run the agent as an ordinary user'
  );
}

/** What to tell somebody who asked for more than there is. */
export function describeFailures(probes: readonly LevelProbe[]): string {
  return probes
    .filter((probe) => probe.failure !== null)
    .map((probe) => `${probe.level}: ${probe.failure}`)
    .join('\n');
}

const probeMsMax = 10_000;
const probeTmpBytes = 1024 * 1024;
/** Landlock's first kernel. */
const landlockKernel = [5, 13] as const;

async function probeLevel(level: IsolationLevel, context: ProbeContext): Promise<string | null> {
  switch (level) {
    case 'strong':
      return await probeStrong(context);
    case 'standard':
      return await probeStandard(context);
    case 'reduced':
      return await probeReduced(context);
    case 'minimal':
      return await probeMinimal(context);
    case 'none':
      return context.allowNone ? null : 'only used when asked for: start the agent with --insecure';
  }
}

async function probeStrong(context: ProbeContext): Promise<string | null> {
  if (!context.allowStrong) {
    return 'only used when asked for: start the agent with --isolation strong';
  }
  if (context.identity === null) return 'needs root. Fix: run the agent as root, or see standard';
  const found = await run(['runsc', '--version']);
  if (found.failure !== null) return `${found.failure}. Fix: apt-get install runsc (gVisor)`;
  const rootFolder = join(context.folder, 'probe-strong');
  mkdirSync(rootFolder);
  const argv = planGvisorProbe(
    {
      identity: context.identity,
      rootfs: '/',
      sitePath: null,
      rootFolder,
      network: false,
      tmpBytes: probeTmpBytes,
      cpus: 1,
    },
    ['/bin/true'],
  );
  const { failure } = await run(argv);
  if (failure === null) return null;
  return `${failure}. Fix: apt-get install runsc util-linux; in Docker \`--privileged\``;
}

async function probeStandard(context: ProbeContext): Promise<string | null> {
  const argv = planBubblewrapProbe(
    { identity: context.identity, rootfs: '/', network: false, tmpBytes: probeTmpBytes },
    ['/bin/true'],
  );
  const { failure } = await run(argv);
  return failure === null ? null : `${failure}. ${fixOfBubblewrap(failure)}`;
}

/** The first that fits the message; these are bubblewrap's and the kernel's own words. */
function fixOfBubblewrap(failure: string): string {
  if (/bwrap.*(not found|ENOENT)|not found.*bwrap|execute bwrap/i.test(failure)) {
    return 'Fix: apt-get install bubblewrap (0.8 or later)';
  }
  if (/[Uu]nknown option/.test(failure)) return 'Fix: install bubblewrap 0.8 or later';
  if (/namespace|uid map|RTM_NEWADDR|Operation not permitted|Permission denied/.test(failure)) {
    return (
      'Fix: allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1` (Debian), ' +
      '`sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), `sysctl user.max_user_namespaces=10000` (RHEL); ' +
      'in Docker `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`'
    );
  }
  return 'Fix: apt-get install bubblewrap util-linux, and run the command of the message by hand';
}

async function probeReduced(context: ProbeContext): Promise<string | null> {
  if (context.identity === null) return 'needs root. Fix: run the agent as root, or see standard';
  const rootFolder = join(context.folder, 'probe-root');
  mkdirSync(rootFolder);
  const argv = planUnshareProbe(
    {
      identity: context.identity,
      rootfs: '/',
      rootFolder,
      network: false,
      tmpBytes: probeTmpBytes,
    },
    ['/bin/true'],
  );
  const { failure } = await run(argv);
  if (failure === null) return null;
  return `${failure}. Fix: apt-get install util-linux; in Docker \`--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined\``;
}

/** Landlock itself is tried by each worker, which does not start without it. */
async function probeMinimal(context: ProbeContext): Promise<string | null> {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const [needMajor, needMinor] = landlockKernel;
  if (major < needMajor || (major === needMajor && minor < needMinor)) {
    return `Linux ${major}.${minor} has no landlock. Fix: Linux ${needMajor}.${needMinor} or later`;
  }
  if (findSeccompArch(process.arch) === undefined) {
    return `there is no system call table for ${process.arch}. Fix: an x64 or arm64 machine`;
  }
  const argv =
    context.identity === null
      ? ['setpriv', '--no-new-privs', '/bin/true']
      : [
          ...['setpriv', `--reuid=${context.identity.uid}`, `--regid=${context.identity.gid}`],
          ...['--clear-groups', '--no-new-privs', '/bin/true'],
        ];
  const { failure } = await run(argv);
  return failure === null ? null : `${failure}. Fix: apt-get install util-linux`;
}

/** Runs a program to its end; `failure` is what it said when it did not exit with 0. */
async function run(argv: readonly string[]): Promise<{ failure: string | null }> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const [command = '', ...args] = argv;
  try {
    const child = spawn(command, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: probeMsMax,
      killSignal: 'SIGKILL',
      detached: true,
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    let said = '';
    child.stderr.on('data', (bytes: Buffer) => {
      if (said.length < 2_000) said += bytes.toString('utf8');
    });
    child.once('error', (caught) => resolve(toError(caught).message));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(null);
      else resolve(said.trim() || `${command} ended with ${signal ?? `status ${code}`}`);
    });
  } catch (caught) {
    resolve(toError(caught).message);
  }
  return { failure: await promise };
}
