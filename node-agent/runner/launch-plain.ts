/**
 * Levels `minimal` and `none`: no namespaces. `minimal` is what is left in a container that refuses
 * them: another uid when the agent is root, limits, landlock (files, TCP, signals) and the system
 * call filter, the last two applied by the harness to itself. `none` runs the code as the agent runs.
 *
 * Without mounts there is no new root either, so the image's interpreter runs by the image's own
 * dynamic loader, where it lies.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { LaunchContext, LaunchPlan } from './launch.ts';
import { baseEnvironment, harnessArguments, harnessRlimits, withLimits } from './launch.ts';
import { buildSeccompProgram, findSeccompArch } from './seccomp.ts';

export function planMinimal(context: LaunchContext): LaunchPlan {
  const arch = findSeccompArch(context.arch);
  const program =
    arch === undefined ? null : buildSeccompProgram(arch, { denyInet: !context.network });
  const plain = planNone(context);
  return {
    ...plain,
    argv: withLimits(context, [...changeUser(context), ...interpreterCommand(context)]),
    setup: {
      ...plain.setup,
      sweep: context.identity === null ? 'children' : 'uid',
      rlimits: harnessRlimits(context),
      seccomp: program === null ? null : program.toString('base64'),
      landlock: {
        read: [
          context.rootfs,
          context.harnessPath,
          ...(context.sitePath === null ? [] : [context.sitePath]),
          ...(context.includeFolder == null ? [] : [context.includeFolder]),
          context.packagesFolder,
          context.functionPath,
          ...(context.cloudpicklePath === null ? [] : [context.cloudpicklePath]),
          context.inFolder,
          ...(context.lazyFolder == null ? [] : [context.lazyFolder]),
          ...context.mounts.map((mount) => mount.path),
          ...machineReadable,
        ],
        write: [context.tmpFolder, context.outputPath, '/dev/null', '/dev/zero', '/dev/full'],
        network: context.network,
      },
    },
  };
}

export function planNone(context: LaunchContext): LaunchPlan {
  const home = dirname(dirname(join(context.rootfs, context.pythonPath)));
  return {
    argv: withLimits(context, interpreterCommand(context)),
    environment: {
      ...baseEnvironment({ ...context, siteInside: context.sitePath }),
      HOME: context.tmpFolder,
      TMPDIR: context.tmpFolder,
      ...(context.rootfs === '/' ? {} : { PYTHONHOME: home }),
      // Where the socket to the agent is: there is no /in here.
      PERIGEE_IN: context.inFolder,
      // Where `data:NAME/…` is, as a path list of NAME=FOLDER: there is no /data here.
      PERIGEE_MOUNTS: context.mounts.map((mount) => `${mount.name}=${mount.path}`).join(':'),
    },
    seccompProgram: null,
    hasInfo: false,
    channel: 'own',
    killTarget: 'every',
    hasRoot: false,
    inPath: context.inFolder,
    setup: {
      functionPath: context.functionPath,
      includeFolder: context.includeFolder ?? null,
      paths: [
        ...(context.cloudpicklePath === null ? [] : [context.cloudpicklePath]),
        context.packagesFolder,
        ...(context.includeFolder == null ? [] : [context.includeFolder]),
        ...(context.sitePath === null ? [] : [context.sitePath]),
      ],
      workFolder: context.tmpFolder,
      sweep: 'children',
      wipe: [context.tmpFolder],
      rlimits: harnessRlimits({ ...context, hasCgroup: true }),
      parentDeathSignal: true,
      acknowledgesAll: false,
      seccomp: null,
      landlock: null,
    },
  };
}

/** Programs and libraries of the machine, for subprocesses; none of its data and secrets. */
const machineReadable = [
  ...['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/proc', '/sys/devices/system/cpu'],
  ...['/etc/ld.so.cache', '/etc/localtime', '/etc/ssl/certs', '/etc/passwd', '/etc/group'],
  ...['/etc/nsswitch.conf', '/etc/resolv.conf', '/etc/hosts', '/etc/alternatives'],
  ...['/dev/urandom', '/dev/random', '/dev/fd', '/dev/stdout', '/dev/stderr', '/dev/stdin'],
];

function changeUser(context: LaunchContext): string[] {
  if (context.identity === null) return ['setpriv', '--no-new-privs'];
  return [
    ...['setpriv', `--reuid=${context.identity.uid}`, `--regid=${context.identity.gid}`],
    ...['--clear-groups', '--no-new-privs', '--bounding-set=-all', '--inh-caps=-all'],
  ];
}

function interpreterCommand(context: LaunchContext): string[] {
  const rest = harnessArguments(context.harnessPath);
  if (context.rootfs === '/') return [context.pythonPath, ...rest];
  const python = join(context.rootfs, context.pythonPath);
  const loader = loaders.map((path) => join(context.rootfs, path)).find((path) => existsSync(path));
  if (loader === undefined) return [python, ...rest];
  const libraries = libraryFolders.map((folder) => join(context.rootfs, folder)).join(':');
  return [loader, '--library-path', libraries, python, ...rest];
}

const loaders = [
  'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
  'usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1',
  'lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
  'lib/ld-linux-aarch64.so.1',
];
const libraryFolders = [
  ...['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu'],
  ...['lib/aarch64-linux-gnu', 'usr/lib/aarch64-linux-gnu'],
  ...['usr/local/lib', 'lib64', 'usr/lib64', 'lib', 'usr/lib'],
];
