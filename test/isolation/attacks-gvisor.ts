/** Attacks that gVisor's own kernel lets a task carry out, on nothing but itself. */
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Attack } from './attack.ts';
import { endedWith, wasStopped } from './attack.ts';

const strongOnly = ['strong'] as const;

export const gvisorAttacks: readonly Attack[] = [
  {
    title: 'makes itself unkillable in gVisor’s own /proc, then takes memory without end',
    stoppedAs: 'killed by the machine’s kernel, which never heard of it: `oom`',
    levels: strongOnly,
    source: `
def f(_):
    write_file('/proc/self/oom_score_adj', b'-1000')
    kept = []
    while True:
        kept.append(bytearray(1 << 22))`,
    holds: endedWith({ kind: 'oom' }),
  },
  {
    title: 'makes devices in /tmp under gVisor and opens them',
    stoppedAs: 'ENXIO: there is nothing behind them',
    levels: strongOnly,
    source: `
def f(_):
    def open_device(kind, major, minor):
        node = os.path.join(os.environ['HOME'], 'device-%d-%d' % (major, minor))
        os.mknod(node, kind | 0o666, os.makedev(major, minor))
        return read_file(node)[:16]
    return [attempt(lambda: open_device(0o60000, 8, 0)), attempt(lambda: open_device(0o60000, 254, 0)),
            attempt(lambda: open_device(0o20000, 1, 1)),
            attempt(lambda: read_file('/dev/vda')), attempt(lambda: read_file('/dev/sda')),
            attempt(lambda: read_file('/dev/mem'))]`,
    holds: wasStopped,
  },
  {
    title: 'raises its limits under gVisor',
    stoppedAs: 'EPERM or ValueError; its priority is a number of its own',
    levels: strongOnly,
    source: `
def f(_):
    import resource
    attempt(lambda: os.nice(-20))
    return [attempt(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100000, 100000))),
            attempt(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))),
            attempt(lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)))]`,
    holds: wasStopped,
  },
  {
    title: 'kills everything that it may, and the first process of its gVisor sandbox',
    stoppedAs: 'only itself: `crash`, SIGKILL; the worker is replaced',
    levels: strongOnly,
    source: `
def f(_):
    for target in (-1, 1):
        attempt(lambda: os.kill(target, signal.SIGKILL))
    return 'still here'`,
    holds(end, targets) {
      endedWith({ kind: 'died', signal: 'SIGKILL' })(end);
      expect(existsSync(`/proc/${targets.decoyPid}`)).toBe(true);
      expect(readFileSync(`/proc/${targets.decoyPid}/stat`, 'utf8')).not.toContain(') Z');
    },
  },
  {
    title: 'forks without end under gVisor',
    stoppedAs: 'its sandbox ends at the limit of processes or of memory: `crash` or `oom`',
    levels: strongOnly,
    source: `
def f(_):
    while True:
        if os.fork() == 0:
            time.sleep(1000)`,
    holds(end) {
      const kind = end.kind === 'workerEnded' ? end.event.end.kind : end.kind;
      expect(['died', 'oom']).toContain(kind);
    },
  },
];
