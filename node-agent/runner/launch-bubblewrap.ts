/**
 * Level `standard`: bubblewrap. Never as root: as uid 0 its sandbox could write the machine's
 * /proc/sys. A root agent changes to the slot's uid first.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LaunchContext, LaunchPlan } from './launch.ts';
import {
  baseEnvironment,
  childFds,
  harnessArguments,
  harnessRlimits,
  includeInside,
  mountedSetup,
  siteInside,
  withLimits,
} from './launch.ts';
import { buildSeccompProgram, findSeccompArch } from './seccomp.ts';
import { findUnreachable } from './staging.ts';

const devShmBytes = 64 * 1024 * 1024;
/** For mount points only. */
const folderBytes = 64 * 1024;

/**
 * Makes folders that the slot's user cannot walk to (a root agent's home, mostly) visible to it:
 * binds them below a folder that it can, in a mount namespace that only this worker has.
 * SOURCE DEST pairs until `--`, then the command.
 */
const bindScript =
  'set -e; while [ "$1" != -- ]; do mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"';

export function planBubblewrap(machine: LaunchContext): LaunchPlan {
  const { context, command: reach } = bringIntoReach(machine);
  const arch = findSeccompArch(context.arch);
  const sandboxed = [
    ...bubblewrapArguments(context),
    ...filesArguments(context),
    ...(arch === undefined ? [] : ['--seccomp', String(childFds.seccomp)]),
    ...['--', context.pythonPath, ...harnessArguments('/perigee/harness.py')],
  ];
  return {
    argv: withLimits(context, [...reach, ...changeUser(context), 'bwrap', ...sandboxed]),
    environment: baseEnvironment({
      ...context,
      siteInside: context.sitePath === null ? null : siteInside,
    }),
    seccompProgram: arch === undefined ? null : buildSeccompProgram(arch, { denyInet: false }),
    hasInfo: true,
    channel: 'own',
    killTarget: 'first',
    hasRoot: true,
    inPath: '/in',
    setup: {
      ...mountedSetup(context),
      rlimits: harnessRlimits(context),
      parentDeathSignal: false,
      acknowledgesAll: false,
      seccomp: null,
      landlock: null,
    },
  };
}

/** The mounts as the slot's user can reach them, and the command that makes them so. */
function bringIntoReach(context: LaunchContext): { context: LaunchContext; command: string[] } {
  const { identity, mounts, rootFolder } = context;
  const far = identity === null ? [] : mounts.filter((mount) => findUnreachable(mount.path));
  if (far.length === 0) return { context, command: [] };
  const near = far.map((mount) => ({ ...mount, path: join(rootFolder, mount.name) }));
  const pairs = far.flatMap((mount, at) => [mount.path, near[at]?.path ?? '']);
  const unshare = ['unshare', '--mount', '--propagation', 'private'];
  return {
    context: {
      ...context,
      mounts: mounts.map((mount) => near.find((other) => other.name === mount.name) ?? mount),
    },
    command: [...unshare, '/bin/sh', '-c', bindScript, 'sh', ...pairs, '--'],
  };
}

/** The namespaces alone, around any command: for the probe. */
export function planBubblewrapProbe(
  context: Pick<LaunchContext, 'identity' | 'rootfs' | 'network' | 'tmpBytes'>,
  command: readonly string[],
): string[] {
  return withLimits(context, [
    ...changeUser(context),
    ...['bwrap', ...bubblewrapArguments(context), '--', ...command],
  ]);
}

/** To the slot's uid, and for good: no_new_privs keeps set-uid programs from leading back. */
function changeUser(context: Pick<LaunchContext, 'identity'>): string[] {
  if (context.identity === null) return ['setpriv', '--no-new-privs'];
  return [
    'setpriv',
    `--reuid=${context.identity.uid}`,
    `--regid=${context.identity.gid}`,
    '--clear-groups',
    '--no-new-privs',
  ];
}

function bubblewrapArguments(
  context: Pick<LaunchContext, 'rootfs' | 'network' | 'tmpBytes'>,
): string[] {
  return [
    // --unshare-all only tries for user and cgroup namespaces; --unshare-user insists.
    ...['--unshare-all', '--unshare-user', '--disable-userns'],
    ...(context.network ? ['--share-net'] : []),
    ...['--die-with-parent', '--new-session', '--cap-drop', 'ALL', '--hostname', 'perigee'],
    ...['--uid', '1000', '--gid', '1000'],
    ...['--ro-bind', context.rootfs, '/', '--proc', '/proc', '--dev', '/dev'],
    ...['--size', String(devShmBytes), '--tmpfs', '/dev/shm', '--remount-ro', '/dev'],
    ...['--size', String(context.tmpBytes), '--tmpfs', '/tmp', '--chdir', '/tmp'],
  ];
}

function filesArguments(context: LaunchContext): string[] {
  const argv = [
    ...['--size', String(folderBytes), '--tmpfs', '/perigee'],
    ...['--ro-bind', context.harnessPath, '/perigee/harness.py'],
    ...['--ro-bind', context.packagesFolder, '/perigee/packages'],
    ...(context.sitePath === null ? [] : ['--ro-bind', context.sitePath, siteInside]),
    ...(context.includeFolder == null ? [] : ['--ro-bind', context.includeFolder, includeInside]),
    ...['--ro-bind', context.functionPath, '/perigee/function'],
    ...(context.cloudpicklePath === null
      ? []
      : ['--ro-bind', context.cloudpicklePath, '/perigee/cloudpickle.zip']),
    ...['--remount-ro', '/perigee', '--ro-bind', context.inFolder, '/in'],
    ...(context.lazyFolder == null ? [] : ['--ro-bind', context.lazyFolder, '/in/lazy']),
    ...['--size', String(folderBytes), '--tmpfs', '/data'],
    ...context.mounts.flatMap((mount) => ['--ro-bind', mount.path, `/data/${mount.name}`]),
    ...['--remount-ro', '/data'],
  ];
  // Names resolve on the machine's network as they do on the machine.
  for (const file of ['/etc/resolv.conf', '/etc/hosts']) {
    if (context.network && existsSync(file) && existsSync(join(context.rootfs, file))) {
      argv.push('--ro-bind', file, file);
    }
  }
  argv.push('--remount-ro', '/', '--info-fd', String(childFds.info));
  return argv;
}
