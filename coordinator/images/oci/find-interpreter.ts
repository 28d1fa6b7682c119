/**
 * Finds the Python of an unpacked image and asks it what it is. The image's programs are strangers'
 * code: they run in a sandbox without network, on a read-only root, never as root.
 */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import { runProgram } from './run-program.ts';

export interface Interpreter {
  implementation: string;
  version: string;
  /** Inside the root file system. */
  path: string;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** The image's own choice first. */
const names = ['python', 'python3', 'python2.7', 'python2', 'pypy3', 'pypy'];
const minors = ['14', '13', '12', '11', '10', '9', '8'];
const askMsMax = 60_000;
/** Everybody's nobody: owns nothing on any machine. */
const nobody = '65534';
const mark = 'perigee-python';
const question =
  'import platform, sys; ' +
  `print(" ".join(["${mark}", platform.python_implementation(), "%d.%d.%d" % sys.version_info[:3]]))`;

/**
 * The first interpreter on the image's PATH that runs.
 * @throws PerigeeError image_invalid when there is none
 */
export async function findInterpreter(
  image: { rootfs: string; environment: readonly string[] },
  options: { isRoot: boolean; signal: AbortSignal },
): Promise<Interpreter> {
  const path = image.environment.find((line) => line.startsWith('PATH='))?.slice(5) || defaultPath;
  const folders = path.split(':').filter((folder) => folder.startsWith('/'));
  const wanted = [...names, ...minors.map((minor) => `python3.${minor}`)];
  const complaints: string[] = [];
  for (const name of wanted) {
    for (const folder of folders) {
      const candidate = `${folder.replace(/\/$/, '')}/${name}`;
      const end = await runProgram(
        ...sandboxed(image.rootfs, [candidate, '-E', '-s', '-c', question], options.isRoot),
        { signal: options.signal, msMax: askMsMax, env: { PATH: defaultPath, LC_ALL: 'C' } },
      );
      const [, implementation, version] =
        new RegExp(`^${mark} (\\w+) (\\d+\\.\\d+\\.\\d+)$`, 'm').exec(end.stdout) ?? [];
      if (end.exitCode === 0 && implementation !== undefined && version !== undefined) {
        return { implementation, version, path: candidate };
      }
      if (!isAbsent(end.complaint)) complaints.push(`${candidate}: ${end.complaint.slice(-300)}`);
    }
  }
  const why = complaints.length === 0 ? '' : ` ${complaints.slice(0, 3).join('; ')}`;
  throw new PerigeeError(
    'image_invalid',
    `The image has no Python that runs on its PATH (${path}).${why}`,
    { fix: 'Use an image with python2.7, python3 or pypy on its PATH.' },
  );
}

function isAbsent(complaint: string): boolean {
  return /No such file or directory|not found/i.test(complaint);
}

/**
 * As root: namespaces of util-linux, root gone before the program starts; the same way works where
 * unprivileged user namespaces do not. The root file system is bound on /mnt, since nobody cannot
 * walk to a folder of root's. Else: bubblewrap.
 */
function sandboxed(
  rootfs: string,
  command: readonly string[],
  isRoot: boolean,
): [string, string[]] {
  if (isRoot) {
    return [
      'unshare',
      [
        ...['--fork', '--kill-child', '--pid', '--mount', '--ipc', '--uts', '--net'],
        ...['--propagation', 'private', '/bin/sh', '-c', rootScript, 'sh', rootfs, nobody],
        ...command,
      ],
    ];
  }
  return [
    'bwrap',
    [
      ...['--unshare-all', '--die-with-parent', '--new-session', '--cap-drop', 'ALL'],
      ...['--ro-bind', rootfs, '/', '--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
      ...['--chdir', '/', '--', ...command],
    ],
  ];
}

const rootScript = `
set -e
root=$1 nobody=$2
shift 2
mount -t tmpfs -o mode=755,size=64k tmpfs /mnt
mkdir /mnt/root
mount --bind "$root" /mnt/root
mount -o remount,bind,ro,nosuid,nodev /mnt/root
mount -t proc -o nosuid,nodev,noexec proc /mnt/root/proc
mount -t tmpfs -o nosuid,noexec,mode=755,size=64k tmpfs /mnt/root/dev
for name in null zero urandom; do
  : >/mnt/root/dev/$name
  mount --bind /dev/$name /mnt/root/dev/$name
done
mount -t tmpfs -o nosuid,nodev,mode=1777,size=16m tmpfs /mnt/root/tmp
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all \
  prlimit --nproc=64 --as=4294967296 --core=0 \
  chroot --userspec="$nobody:$nobody" --groups= /mnt/root "$@"
`;
