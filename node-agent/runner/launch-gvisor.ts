/**
 * Level `strong`: gVisor's runsc, a kernel of its own in user space between the task and the
 * machine's. Root only. It is given an OCI bundle per worker, and hands on no descriptors but the
 * first three, so the harness's frames go by 0 and 1 and all output by 2.
 *
 * The platform is the default of the installed version (ptrace, systrap from 2023 on): kvm hung at
 * the start on a machine that is virtual itself.
 */
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LaunchContext, LaunchPlan } from './launch.ts';
import {
  baseEnvironment,
  filesOpenMax,
  harnessArguments,
  includeInside,
  lockedBytesMax,
  mountedSetup,
  siteInside,
  standardFds,
} from './launch.ts';
import { buildSeccompProgram, findSeccompArch } from './seccomp.ts';
import type { SlotIdentity } from './slot-identity.ts';

/** Threads and stub processes of gVisor's own that count in the worker's control group. */
export const gvisorProcessesExtra = 128;

/**
 * Writes the worker's bundle into its root folder.
 * @throws Error without a slot identity, or of the file system.
 */
export function planGvisor(context: LaunchContext): LaunchPlan {
  const arch = findSeccompArch(context.arch);
  const program = arch === undefined ? null : buildSeccompProgram(arch, { denyInet: false });
  const filesFolder = join(context.rootFolder, 'files');
  writeBundle(context, {
    args: [context.pythonPath, ...harnessArguments('/perigee/harness.py', standardFds)],
    binds: [
      { at: '/perigee', from: join(filesFolder, 'perigee') },
      { at: '/data', from: join(filesFolder, 'data') },
      { at: '/in', from: context.inFolder },
      ...(context.lazyFolder == null ? [] : [{ at: '/in/lazy', from: context.lazyFolder }]),
      ...namesOfNetwork(context),
    ],
  });
  mkdirSync(filesFolder);
  return {
    argv: [
      ...['setpriv', '--pdeathsig', 'KILL'],
      ...['unshare', '--mount', '--propagation', 'private'],
      ...['/bin/sh', '-c', filesScript, 'sh', filesFolder, ...filesArguments(context), '--'],
      ...runscCommand(context),
    ],
    environment: baseEnvironment(withSite(context)),
    seccompProgram: null,
    hasInfo: false,
    channel: 'standard',
    killTarget: 'every',
    hasRoot: true,
    inPath: '/in',
    setup: {
      ...mountedSetup(context),
      rlimits: {},
      parentDeathSignal: false,
      // Its times are of the machine's clock, which gVisor's own follows only roughly.
      acknowledgesAll: true,
      seccomp: program === null ? null : program.toString('base64'),
      landlock: null,
    },
  };
}

/** A sandbox of this machine's own root around any command: for the probe. */
export function planGvisorProbe(context: BundleContext, command: readonly string[]): string[] {
  writeBundle(context, { args: command, binds: [] });
  return runscCommand(context);
}

type BundleContext = Pick<
  LaunchContext,
  'identity' | 'rootfs' | 'sitePath' | 'rootFolder' | 'network' | 'tmpBytes' | 'cpus'
>;

interface BundleParts {
  args: readonly string[];
  binds: readonly { at: string; from: string }[];
}

const devShmBytes = 64 * 1024 * 1024;

/**
 * Lays out /perigee and /data in a mount namespace that only this worker has, so that runsc finds
 * folders that are whole: it would make missing mount points in the image itself. $1 the folder;
 * then `file SOURCE DEST` or `folder SOURCE DEST` until `--`, then the command.
 */
const filesScript = `
set -e
at=$1
shift
mount -t tmpfs -o nosuid,nodev,mode=755,size=64k tmpfs "$at"
mkdir "$at/perigee" "$at/data"
while [ "$1" != -- ]; do
  if [ "$1" = file ]; then : >"$at$3"; else mkdir "$at$3"; fi
  mount --bind "$2" "$at$3"
  mount -o remount,bind,ro,nosuid,nodev "$at$3"
  shift 3
done
shift
mount -o remount,ro "$at"
exec "$@"
`;

function filesArguments(context: LaunchContext): string[] {
  return [
    ...['file', context.harnessPath, '/perigee/harness.py'],
    ...['folder', context.packagesFolder, '/perigee/packages'],
    ...(context.sitePath === null ? [] : ['folder', context.sitePath, siteInside]),
    ...(context.includeFolder == null ? [] : ['folder', context.includeFolder, includeInside]),
    ...['file', context.functionPath, '/perigee/function'],
    ...(context.cloudpicklePath === null
      ? []
      : ['file', context.cloudpicklePath, '/perigee/cloudpickle.zip']),
    ...context.mounts.flatMap((mount) => ['folder', mount.path, `/data/${mount.name}`]),
  ];
}

function runscCommand(context: Pick<LaunchContext, 'rootFolder' | 'network'>): string[] {
  return [
    'runsc',
    // Its state goes with the worker's folder: nothing to delete after a kill.
    ...['--root', join(context.rootFolder, 'state'), '--log=/dev/null'],
    context.network ? '--network=host' : '--network=none',
    // For the socket in /in: nothing else of the machine that listens is bound into a sandbox.
    ...socketFlags(),
    // The worker's own control group holds it already.
    '--ignore-cgroups',
    // By name of the machine, not of the agent: its control socket is an abstract one.
    ...['run', '--bundle', context.rootFolder, `perigee-${randomUUID()}`],
  ];
}

let knownSocketFlags: string[] | undefined;

/** What lets a sandbox connect to sockets in its binds: its name changed, and old versions lack it. */
function socketFlags(): string[] {
  if (knownSocketFlags !== undefined) return knownSocketFlags;
  const asked = spawnSync('runsc', ['flags'], { encoding: 'utf8' });
  const text = `${asked.stdout ?? ''}${asked.stderr ?? ''}`;
  if (/^\s*-host-uds\b/m.test(text)) knownSocketFlags = ['--host-uds=open'];
  else if (/^\s*-fsgofer-host-uds\b/m.test(text)) knownSocketFlags = ['--fsgofer-host-uds'];
  else knownSocketFlags = [];
  return knownSocketFlags;
}

function writeBundle(context: BundleContext, parts: BundleParts): void {
  if (context.identity === null) throw new Error('the level strong needs root');
  const config = buildConfig(context, context.identity, parts);
  writeFileSync(join(context.rootFolder, 'config.json'), JSON.stringify(config));
}

function buildConfig(context: BundleContext, identity: SlotIdentity, parts: BundleParts): object {
  const { uid, gid } = identity;
  const environment = Object.entries(baseEnvironment(withSite(context)));
  const ownTmpfs = [`uid=${uid}`, `gid=${gid}`, 'mode=700', 'nosuid', 'nodev'];
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid, gid },
      args: parts.args,
      env: environment.map(([key, value]) => `${key}=${value}`),
      cwd: '/tmp',
      capabilities: {},
      noNewPrivileges: true,
      // For the processes inside alone: gVisor's own hold more files, and all memory as one.
      rlimits: [
        limit('RLIMIT_NOFILE', filesOpenMax),
        limit('RLIMIT_CORE', 0),
        limit('RLIMIT_FSIZE', context.tmpBytes),
        limit('RLIMIT_MEMLOCK', lockedBytesMax),
      ],
    },
    root: { path: context.rootfs, readonly: true },
    hostname: 'perigee',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['ro', 'nosuid'] },
      tmpfs('/dev/shm', [...ownTmpfs, `size=${devShmBytes}`]),
      tmpfs('/tmp', [...ownTmpfs, `size=${context.tmpBytes}`]),
      ...parts.binds.map(({ at, from }) => ({
        destination: at,
        type: 'bind',
        source: from,
        options: ['rbind', 'ro', 'nosuid', 'nodev'],
      })),
    ],
    linux: {
      namespaces: ['pid', 'ipc', 'uts', 'mount', ...(context.network ? [] : ['network'])].map(
        (type) => ({ type }),
      ),
    },
  };
}

function withSite(context: Pick<LaunchContext, 'cpus' | 'sitePath'>): {
  cpus: number;
  siteInside: string | null;
} {
  return { cpus: context.cpus, siteInside: context.sitePath === null ? null : siteInside };
}

function limit(type: string, value: number): object {
  return { type, soft: value, hard: value };
}

function tmpfs(destination: string, options: readonly string[]): object {
  return { destination, type: 'tmpfs', source: 'tmpfs', options };
}

/** Names resolve on the machine's network as they do on the machine. */
function namesOfNetwork(context: LaunchContext): { at: string; from: string }[] {
  if (!context.network) return [];
  return ['/etc/resolv.conf', '/etc/hosts']
    .filter((file) => existsSync(file) && existsSync(join(context.rootfs, file)))
    .map((file) => ({ at: file, from: file }));
}
