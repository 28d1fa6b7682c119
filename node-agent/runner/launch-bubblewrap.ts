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
  withLimits,
} from './launch.ts';
import { buildSeccompProgram, findSeccompArch } from './seccomp.ts';

const devShmBytes = 64 * 1024 * 1024;
/** For mount points only. */
const folderBytes = 64 * 1024;

export function planBubblewrap(context: LaunchContext): LaunchPlan {
  const arch = findSeccompArch(context.arch);
  const sandboxed = [
    ...bubblewrapArguments(context),
    ...filesArguments(context),
    ...(arch === undefined ? [] : ['--seccomp', String(childFds.seccomp)]),
    ...['--', context.pythonPath, ...harnessArguments('/perigee/harness.py')],
  ];
  return {
    argv: withLimits(context, [...changeUser(context), 'bwrap', ...sandboxed]),
    environment: baseEnvironment(context),
    seccompProgram: arch === undefined ? null : buildSeccompProgram(arch, { denyInet: false }),
    hasInfo: true,
    inPath: '/in',
    setup: {
      functionPath: '/perigee/function',
      paths: [
        ...(context.cloudpicklePath === null ? [] : ['/perigee/cloudpickle.zip']),
        '/perigee/packages',
      ],
      workFolder: '/tmp',
      sweep: 'namespace',
      wipe: ['/tmp', '/dev/shm'],
      rlimits: harnessRlimits(context),
      parentDeathSignal: false,
      seccomp: null,
      landlock: null,
    },
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
    ...['--ro-bind', context.functionPath, '/perigee/function'],
    ...(context.cloudpicklePath === null
      ? []
      : ['--ro-bind', context.cloudpicklePath, '/perigee/cloudpickle.zip']),
    ...['--remount-ro', '/perigee', '--ro-bind', context.inFolder, '/in'],
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
