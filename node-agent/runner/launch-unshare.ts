/**
 * Level `reduced`: for a root agent without bubblewrap or user namespaces. The same view of the file
 * system from util-linux and coreutils alone; root only sets it up, outside, and user code starts
 * after the change of user. The harness adds the system call filter.
 */
import type { LaunchContext, LaunchPlan } from './launch.ts';
import {
  baseEnvironment,
  harnessArguments,
  harnessRlimits,
  includeInside,
  mountedSetup,
  siteInside,
  withLimits,
} from './launch.ts';
import { buildSeccompProgram, findSeccompArch } from './seccomp.ts';

/** @throws Error without a slot identity: this level needs root. */
export function planUnshare(context: LaunchContext): LaunchPlan {
  const arch = findSeccompArch(context.arch);
  const program = arch === undefined ? null : buildSeccompProgram(arch, { denyInet: false });
  const command = [context.pythonPath, ...harnessArguments('/perigee/harness.py')];
  return {
    argv: unshareArguments(context, setupArguments(context), command),
    environment: baseEnvironment({
      ...context,
      siteInside: context.sitePath === null ? null : siteInside,
    }),
    seccompProgram: null,
    hasInfo: false,
    channel: 'own',
    killTarget: 'first',
    hasRoot: true,
    inPath: '/in',
    setup: {
      ...mountedSetup(context),
      rlimits: harnessRlimits(context),
      parentDeathSignal: false,
      acknowledgesAll: false,
      seccomp: program === null ? null : program.toString('base64'),
      landlock: null,
    },
  };
}

/** The namespaces and the mounts around any command: for the probe. */
export function planUnshareProbe(
  context: Pick<LaunchContext, 'identity' | 'rootfs' | 'rootFolder' | 'network' | 'tmpBytes'>,
  command: readonly string[],
): string[] {
  return unshareArguments(context, [], command);
}

/**
 * Runs as root in its own mount namespace. $1 root file system, $2 mount point, $3 uid, $4 gid,
 * $5 tmp size; then `file SOURCE DEST` or `folder SOURCE DEST` until `--`, then the command.
 * The shell stays as the namespace's first process: it reaps orphans and hands on the exit code.
 */
const setupScript = `
set -e
root=$1 at=$2 uid=$3 gid=$4 size=$5
shift 5
mount --bind "$root" "$at"
mount -o remount,bind,ro,nosuid,nodev "$at"
mount -t proc -o nosuid,nodev,noexec proc "$at/proc"
mount -t tmpfs -o nosuid,noexec,mode=755,size=64k tmpfs "$at/dev"
for name in null zero full random urandom; do
  : >"$at/dev/$name"
  mount --bind "/dev/$name" "$at/dev/$name"
done
ln -s /proc/self/fd "$at/dev/fd"
ln -s /proc/self/fd/0 "$at/dev/stdin"
ln -s /proc/self/fd/1 "$at/dev/stdout"
ln -s /proc/self/fd/2 "$at/dev/stderr"
mkdir "$at/dev/shm"
mount -t tmpfs -o "nosuid,nodev,mode=700,uid=$uid,gid=$gid,size=64m" tmpfs "$at/dev/shm"
mount -o remount,ro "$at/dev"
mount -t tmpfs -o "nosuid,nodev,mode=700,uid=$uid,gid=$gid,size=$size" tmpfs "$at/tmp"
if [ "$1" != -- ]; then
  mount -t tmpfs -o nosuid,nodev,mode=755,size=64k tmpfs "$at/perigee"
  mount -t tmpfs -o nosuid,nodev,mode=755,size=64k tmpfs "$at/data"
fi
while [ "$1" != -- ]; do
  if [ "$1" = file ]; then : >"$at$3"; elif [ ! -d "$at$3" ]; then mkdir "$at$3"; fi
  mount --bind "$2" "$at$3"
  mount -o remount,bind,ro,nosuid,nodev "$at$3"
  shift 3
done
shift
if [ -n "$(ls "$at/perigee" 2>/dev/null)" ]; then
  mount -o remount,ro "$at/perigee"
  mount -o remount,ro "$at/data"
fi
set +e
# Its own words about the command's end are not the task's output.
exec 9>&2 2>/dev/null
(
  exec 2>&9 9>&-
  exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all \
    chroot --userspec="$uid:$gid" --groups= "$at" "$@"
)
exit $?
`;

function unshareArguments(
  context: Pick<LaunchContext, 'identity' | 'rootfs' | 'rootFolder' | 'network' | 'tmpBytes'>,
  files: readonly string[],
  command: readonly string[],
): string[] {
  if (context.identity === null) throw new Error('the level reduced needs root');
  const { uid, gid } = context.identity;
  return withLimits(context, [
    // Dies with the agent; the namespace's first process dies with it.
    ...['setpriv', '--pdeathsig', 'KILL'],
    ...['unshare', '--fork', '--kill-child', '--pid', '--mount', '--ipc', '--uts', '--cgroup'],
    ...(context.network ? [] : ['--net']),
    ...['/bin/sh', '-c', setupScript, 'sh'],
    ...[context.rootfs, context.rootFolder, String(uid), String(gid), String(context.tmpBytes)],
    ...files,
    '--',
    ...command,
  ]);
}

function setupArguments(context: LaunchContext): string[] {
  return [
    ...['file', context.harnessPath, '/perigee/harness.py'],
    ...['folder', context.packagesFolder, '/perigee/packages'],
    ...(context.sitePath === null ? [] : ['folder', context.sitePath, siteInside]),
    ...(context.includeFolder == null ? [] : ['folder', context.includeFolder, includeInside]),
    ...['file', context.functionPath, '/perigee/function'],
    ...(context.cloudpicklePath === null
      ? []
      : ['file', context.cloudpicklePath, '/perigee/cloudpickle.zip']),
    ...['folder', context.inFolder, '/in'],
    ...(context.lazyFolder == null ? [] : ['folder', context.lazyFolder, '/in/lazy']),
    ...context.mounts.flatMap((mount) => ['folder', mount.path, `/data/${mount.name}`]),
  ];
}
