/** Attacks on files and on other machines. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Attack } from './attack.ts';
import { everyLevel, machineKernel, resultValue, returned, wasStopped } from './attack.ts';

const corePattern = '/proc/sys/kernel/core_pattern';

export const fileAttacks: readonly Attack[] = [
  {
    title: 'reads /etc/shadow',
    stoppedAs: 'EACCES or ENOENT',
    levels: everyLevel,
    source: `def f(_): return attempt(lambda: read_file('/etc/shadow'))`,
    holds: wasStopped,
  },
  {
    title: 'reads a world-readable file of the machine',
    stoppedAs: 'ENOENT (own root); EACCES (landlock)',
    levels: everyLevel,
    source: `def f(path): return attempt(lambda: read_file(path))`,
    argument: (targets) => targets.secretPath,
    holds: wasStopped,
  },
  {
    title: 'writes to /, /usr, /etc, /dev, /data, and over the harness, the function and arguments',
    stoppedAs: 'EROFS, EACCES or ENOENT',
    levels: everyLevel,
    source: `
def f(_):
    harness = sys.modules['perigee_harness'].__file__
    folders = ['/', '/usr/', '/etc/', '/dev/', '/in/', '/data/', os.path.dirname(harness) + '/']
    paths = [folder + 'planted' for folder in folders] + [harness, '/perigee/function']
    return ['%s: %s' % (path, attempt(lambda: write_file(path, b'x'))) for path in paths]`,
    holds: wasStopped,
  },
  {
    title: 'writes the kernel’s core_pattern, sysrq-trigger and drop_caches',
    stoppedAs: 'EACCES or EROFS',
    levels: everyLevel,
    source: `
def f(_):
    return [attempt(lambda: write_file('/proc/sys/kernel/core_pattern', b'planted')),
            attempt(lambda: write_file('/proc/sysrq-trigger', b'h')),
            attempt(lambda: write_file('/proc/sys/vm/drop_caches', b'1'))]`,
    holds(end) {
      wasStopped(end);
      expect(readFileSync(corePattern, 'utf8')).not.toContain('planted');
    },
  },
  {
    title: 'makes itself unkillable for the memory killer (oom_score_adj -1000)',
    stoppedAs: 'EACCES',
    levels: machineKernel,
    source: `def f(_): return attempt(lambda: write_file('/proc/self/oom_score_adj', b'-1000'))`,
    holds: wasStopped,
  },
  {
    title: 'leaves its control group, or raises its limits there',
    stoppedAs: 'the files are not there; EACCES (landlock)',
    levels: everyLevel,
    source: `
def f(_):
    def look():
        if not os.listdir('/sys/fs/cgroup'): raise ValueError('empty')
    return [attempt(look),
            attempt(lambda: write_file('/sys/fs/cgroup/memory/cgroup.procs', b'0')),
            attempt(lambda: write_file('/sys/fs/cgroup/cgroup.procs', b'0'))]`,
    holds: wasStopped,
  },
  {
    title: 'walks out through /proc/1/root, or takes descriptors from /proc/1/fd',
    stoppedAs: 'EACCES; its own root; no such descriptor',
    levels: everyLevel,
    source: `
def f(_):
    os.symlink('/proc/1/root', os.path.join(os.environ['HOME'], 'out'))
    own = os.stat('/')
    def walk(path):
        there = os.stat(path)
        return 'stopped: its own root' if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) else os.listdir(path)
    def enter(path):
        found = walk(path)
        if isinstance(found, str): raise ValueError(found)
        return found
    found = [attempt(lambda: enter(os.path.join(os.environ['HOME'], 'out'))),
             attempt(lambda: enter('/proc/1/root')), attempt(lambda: enter('/proc/1/root/../..'))]
    for number in range(3, 400):
        try:
            os.open('/proc/1/fd/%d' % number, os.O_RDONLY)
            found.append('opened %d' % number)
        except OSError:
            pass
    return found`,
    holds: wasStopped,
  },
  {
    title: 'finds descriptors that the agent left open',
    stoppedAs: 'there are none: 0, 1, 2 and the harness’s two',
    levels: everyLevel,
    source: `
def f(_):
    fds = sorted(int(name) for name in os.listdir('/proc/self/fd'))
    return [fd for fd in fds if os.path.exists('/proc/self/fd/%d' % fd)]`,
    holds: returned([0, 1, 2, 900, 901]),
  },
  {
    title: 'reads the agent’s environment',
    stoppedAs: 'it gets one of its own',
    levels: everyLevel,
    source: `
def f(_):
    own = [key for key in os.environ if key.startswith('PERIGEE_') and key not in ('PERIGEE_MOUNTS', 'PERIGEE_SANDBOX', 'PERIGEE_MEMORY_BYTES', 'PERIGEE_IN')]
    return [attempt(lambda: read_file('/proc/%d/environ' % os.getppid())) if os.getppid() > 1 else 'stopped'] + own`,
    holds: wasStopped,
  },
  {
    title: 'reads another slot’s argument files',
    stoppedAs: 'not visible; EACCES',
    levels: everyLevel,
    source: `
def f(folder):
    return [attempt(lambda: os.listdir(folder)), attempt(lambda: os.listdir(os.path.dirname(folder)))]`,
    argument: ({ sandboxes }) => {
      const other = sandboxes.start({ source: 'def f(x): return x', slot: 1 });
      return join(sandboxes.folder, 'runner', 'workers', `w${other.number}`, 'in');
    },
    holds: wasStopped,
  },
  {
    title: 'connects to the internet, by TCP and UDP, and opens a raw socket',
    stoppedAs: 'ENETUNREACH (own network); EPERM (system call filter)',
    levels: everyLevel,
    source: `
def tcp():
    one = socket.socket(); one.settimeout(3); one.connect(('1.1.1.1', 80))
def udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))
def f(_):
    return [attempt(tcp), attempt(udp),
            attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
            attempt(lambda: socket.socket(17, socket.SOCK_RAW, 3))]`,
    holds: wasStopped,
  },
  {
    title: 'connects to a port that the machine listens on at 127.0.0.1',
    stoppedAs: 'ECONNREFUSED (own network); EPERM (system call filter)',
    levels: everyLevel,
    source: `
def f(port):
    def connect():
        one = socket.socket(); one.settimeout(3); one.connect(('127.0.0.1', port))
    return attempt(connect)`,
    argument: (targets) => targets.tcpPort,
    holds: wasStopped,
  },
  {
    title: 'connects to an abstract Unix socket of the machine',
    stoppedAs: 'ECONNREFUSED (own network); EPERM (landlock, Linux 6.12)',
    levels: everyLevel,
    source: `
def f(name):
    def connect():
        one = socket.socket(socket.AF_UNIX); one.connect('\\0' + name)
    return attempt(connect)`,
    argument: (targets) => targets.abstractName,
    holds: wasStopped,
  },
  {
    title: 'returns a pickle that runs a command where it is opened',
    stoppedAs: 'agent and coordinator never open it',
    levels: everyLevel,
    source: `
class Bomb(object):
    def __reduce__(self):
        return os.system, ('touch %s' % self.path,)
def f(folder):
    import pickle
    bomb = Bomb(); bomb.path = folder + '/exploded'
    return len(pickle.dumps(bomb))`,
    argument: (targets) => targets.sandboxes.folder,
    holds(end, targets) {
      expect(resultValue(end)).toBeGreaterThan(0);
      expect(existsSync(join(targets.sandboxes.folder, 'exploded'))).toBe(false);
    },
  },
];
