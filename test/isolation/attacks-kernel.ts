/** Attacks on the kernel and on other processes. */
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Attack } from './attack.ts';
import {
  everyLevel,
  machineKernel,
  ownNamespaces,
  resultValue,
  returned,
  wasStopped,
} from './attack.ts';

/** Numbers on x64 and arm64, and arguments that do no harm where the call is let through. */
const calls: readonly [name: string, x64: number, arm64: number, args: string][] = [
  ['unshare(NEWUSER)', 272, 97, '0x10000000'],
  ['unshare(NEWNS)', 272, 97, '0x20000'],
  ['setns', 308, 268, '-1, 0'],
  ['mount', 165, 40, '0, 0, 0, 0, 0'],
  ['umount2', 166, 39, '0, 0'],
  ['pivot_root', 155, 41, '0, 0'],
  ['chroot', 161, 51, '0'],
  ['ptrace(ATTACH)', 101, 117, '16, os.getppid() or 1, 0, 0'],
  ['process_vm_readv', 310, 270, '1, 0, 0, 0, 0, 0'],
  ['bpf', 321, 280, '0, 0, 0'],
  ['perf_event_open', 298, 241, '0, 0, -1, -1, 0'],
  ['userfaultfd', 323, 282, '1'],
  ['keyctl', 250, 219, '0, -3, 0'],
  ['io_uring_setup', 425, 425, '1, 0'],
  ['kexec_load', 246, 104, '0, 0, 0, 0'],
  ['finit_module', 313, 273, '-1, 0, 0'],
  ['delete_module', 176, 106, '0, 0'],
  ['reboot', 169, 142, '0, 0, 0, 0'],
  ['swapoff', 168, 225, '0'],
  ['open_by_handle_at', 304, 265, '-1, 0, 0'],
  ['syslog (dmesg)', 103, 116, '3, 0, 0'],
  ['personality', 135, 92, '0x0040000'],
  ['clock_settime', 227, 112, '0, 0'],
  ['sethostname', 170, 161, '0, 0'],
  ['setdomainname', 171, 162, '0, 0'],
  ['quotactl', 179, 60, '0, 0, 0, 0'],
  ['acct', 163, 89, '0'],
  ['fsopen', 430, 430, '0, 0'],
  ['move_mount', 429, 429, '-1, 0, -1, 0, 0'],
  ['fanotify_init', 300, 262, '0, 0'],
];

const isArm = process.arch === 'arm64';
const callList = calls
  .map(
    ([name, x64, arm64, args]) => `('${name}', lambda: syscall(${isArm ? arm64 : x64}, ${args}))`,
  )
  .join(',\n    ');

export const kernelAttacks: readonly Attack[] = [
  {
    title: `calls ${calls.map(([name]) => name).join(', ')}`,
    stoppedAs: 'EPERM (system call filter)',
    levels: everyLevel,
    source: `
CALLS = [
    ${callList}]
def f(_):
    return ['%s: %s' % (name, attempt(call)) for name, call in CALLS]`,
    holds(end) {
      const values = resultValue(end);
      expect(values).toEqual(calls.map(([name]) => `${name}: stopped EPERM`));
    },
  },
  {
    title: 'makes a user namespace by clone and clone3',
    stoppedAs: 'EPERM; ENOSYS (its flags cannot be filtered)',
    levels: everyLevel,
    source: `
def f(_):
    return [attempt(lambda: syscall(${isArm ? 220 : 56}, 0x10000000 | 17, 0, 0, 0, 0)),
            attempt(lambda: syscall(435, 0, 0))]`,
    holds: returned(['stopped EPERM', 'stopped ENOSYS']),
  },
  {
    title: 'calls the kernel by its 32-bit (x32) numbers, past the filter’s table',
    stoppedAs: 'killed',
    levels: process.arch === 'x64' ? everyLevel : [],
    source: `def f(_): return attempt(lambda: syscall(0x40000000 + 39))`,
    holds(end) {
      expect(end.kind === 'workerEnded' ? end.event.end : resultValue(end)).toMatchObject({
        kind: 'died',
        signal: 'SIGSYS',
      });
    },
  },
  {
    title: 'makes a block device and reads the disk',
    stoppedAs: 'EPERM; ENOENT',
    levels: machineKernel,
    source: `
def f(_):
    node = os.path.join(os.environ['HOME'], 'disk')
    return [attempt(lambda: os.mknod(node, 0o60666, os.makedev(8, 0))),
            attempt(lambda: read_file('/dev/vda')), attempt(lambda: read_file('/dev/sda')),
            attempt(lambda: read_file('/dev/mem'))]`,
    holds: wasStopped,
  },
  {
    title: 'becomes root: setuid(0), set-user-id programs, capabilities',
    stoppedAs: 'EPERM; no_new_privs; none held',
    levels: everyLevel,
    source: `
def f(_):
    status = dict(line.split(':\\t', 1) for line in read_file('/proc/self/status').decode().splitlines() if ':\\t' in line)
    return [attempt(lambda: os.setuid(0)), attempt(lambda: os.setgid(0)), attempt(lambda: os.setgroups([0])),
            'stopped' if libc.prctl(39, 0, 0, 0, 0) == 1 else 'may gain privileges',
            'stopped' if int(status['CapEff'], 16) == 0 else 'CapEff ' + status['CapEff'],
            'stopped' if int(status['CapPrm'], 16) == 0 else 'CapPrm ' + status['CapPrm'],
            'stopped' if os.getuid() != 0 else 'is root']`,
    holds: wasStopped,
  },
  {
    title: 'raises its limits and its priority',
    stoppedAs: 'EPERM, EACCES or ValueError',
    levels: machineKernel,
    source: `
def f(_):
    import resource
    return [attempt(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100000, 100000))),
            attempt(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))),
            attempt(lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))),
            attempt(lambda: os.nice(-20))]`,
    holds: wasStopped,
  },
  {
    title: 'types into the terminal of whoever started the agent (TIOCSTI)',
    stoppedAs: 'no terminal; EPERM (system call filter)',
    levels: everyLevel,
    source: `
def f(_):
    import fcntl
    return [attempt(lambda: os.open('/dev/tty', os.O_RDWR)),
            attempt(lambda: fcntl.ioctl(1, 0x5412, b'x')), attempt(lambda: fcntl.ioctl(0, 0x5412, b'x'))]`,
    holds: wasStopped,
  },
  {
    title: 'sees the machine’s processes',
    stoppedAs: 'only its own are there',
    levels: ownNamespaces,
    source: `def f(_): return len([name for name in os.listdir('/proc') if name.isdigit()])`,
    holds: (end) => expect(resultValue(end)).toBeLessThanOrEqual(2),
  },
  {
    title: 'kills a process of the machine',
    stoppedAs: 'ESRCH (own processes only); EPERM (other user, landlock)',
    levels: everyLevel,
    source: `def f(pid): return attempt(lambda: os.kill(pid, signal.SIGKILL))`,
    argument: (targets) => targets.decoyPid,
    holds(end, targets) {
      wasStopped(end);
      expect(existsSync(`/proc/${targets.decoyPid}`)).toBe(true);
    },
  },
  {
    title: 'kills everything that it may, and the first process of its sandbox',
    stoppedAs: 'reaches nothing outside; the sandbox goes on',
    levels: machineKernel,
    source: `
def f(_):
    for target in (-1, 1) if os.getpid() < 100 else (-1,):
        attempt(lambda: os.kill(target, signal.SIGKILL))
    return 'still here'`,
    holds(end, targets) {
      returned('still here')(end);
      expect(readFileSync(`/proc/${targets.decoyPid}/stat`, 'utf8')).not.toContain(') Z');
    },
  },
  {
    title: 'learns the machine’s name',
    stoppedAs: 'it has a name of its own',
    levels: ['strong', 'standard'],
    source: `def f(_): return os.uname()[1]`,
    holds: returned('perigee'),
  },
];
