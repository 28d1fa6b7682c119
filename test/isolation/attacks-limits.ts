/** Attacks on resources, and on the harness. */
import { expect } from 'vitest';
import {
  exceptionMessageCharsMax,
  logHeadBytes,
  logTailBytes,
  tracebackCharsMax,
} from '../../protocol/wire/limits.ts';
import type { Attack } from './attack.ts';
import { endedWith, everyLevel, machineKernel, ownNamespaces, returned } from './attack.ts';

const mib = 1024 * 1024;

export const limitAttacks: readonly Attack[] = [
  {
    title: 'forks without end',
    stoppedAs: 'EAGAIN at the limit of processes; swept after the task',
    levels: machineKernel,
    source: `
def f(_):
    count = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(1000)
            count += 1
    except OSError as caught:
        return [errno.errorcode[caught.errno], count < 300]`,
    holds: returned(['EAGAIN', true]),
  },
  {
    title: 'takes memory without end, on the heap',
    stoppedAs: 'killed: `oom`',
    levels: everyLevel,
    source: `
def f(_):
    kept = []
    while True:
        kept.append(bytearray(1 << 22))`,
    holds: endedWith({ kind: 'oom' }),
  },
  {
    title: 'takes memory without end, by mmap in a child process',
    stoppedAs: 'the child is killed, or the worker: `oom`',
    levels: everyLevel,
    source: `
def f(_):
    import mmap
    child = os.fork()
    if child == 0:
        kept = mmap.mmap(-1, 1 << 30)
        for page in range(0, 1 << 30, 4096):
            kept[page] = b'x' if sys.version_info[0] == 2 else 120
        os._exit(0)
    return os.waitpid(child, 0)[1]`,
    holds(end) {
      if (end.kind === 'workerEnded') expect(end.event.end).toMatchObject({ kind: 'oom' });
      else expect(end.value).toBe(9);
    },
  },
  {
    title: 'fills /tmp and /dev/shm',
    stoppedAs: 'ENOSPC at their size',
    levels: ownNamespaces,
    memoryBytes: 512 * mib,
    source: `
def fill(folder):
    for number in range(8):
        with open('%s/%d' % (folder, number), 'wb') as opened:
            for _ in range(32):
                opened.write(b'x' * (1 << 20))
def f(_):
    return [attempt(lambda: fill('/tmp')), attempt(lambda: fill('/dev/shm'))]`,
    holds: returned(['stopped ENOSPC', 'stopped ENOSPC']),
  },
  {
    title: 'fills /tmp with empty files',
    stoppedAs: 'ENOSPC, or killed: inodes count as memory',
    levels: ownNamespaces,
    memoryBytes: 48 * mib,
    source: `
def f(_):
    def fill():
        number = 0
        while True:
            os.close(os.open('/tmp/%d' % number, os.O_CREAT)); number += 1
    return attempt(fill)`,
    holds(end) {
      if (end.kind === 'workerEnded') expect(end.event.end).toMatchObject({ kind: 'oom' });
      else returned('stopped ENOSPC')(end);
    },
  },
  {
    title: 'makes a sparse file of a terabyte; opens files without end',
    stoppedAs: 'EFBIG; EMFILE',
    levels: everyLevel,
    source: `
def f(_):
    def sparse():
        with open(os.path.join(os.environ['HOME'], 'sparse'), 'wb') as opened:
            opened.truncate(1 << 40)
    def many():
        kept = []
        while True:
            kept.append(os.open('/dev/null', os.O_RDONLY))
    found = [attempt(sparse), attempt(many)]
    os.closerange(3, 900)
    return found`,
    holds: returned(['stopped EFBIG', 'stopped EMFILE']),
  },
  {
    title: 'prints 100 MB',
    stoppedAs: 'the middle is cut; start and end are kept',
    levels: everyLevel,
    source: `
def f(_):
    line = b'x' * 65535 + b'\\n'
    for _ in range(1600):
        os.write(1, line)
    os.write(1, b'the end')
    return 'printed'`,
    holds(end) {
      returned('printed')(end);
      if (end.kind !== 'ended') return;
      expect(end.task.logBytes).toBe(1600 * 65536 + 7);
      expect(end.log.endsWith('the end')).toBe(true);
      // What is kept, and what the steady allowance lets through while it runs.
      expect(end.log.length).toBeLessThan(logHeadBytes + logTailBytes + 20 * mib);
    },
  },
  {
    title: 'ends itself: os._exit(3)',
    stoppedAs: '`crash`, status 3',
    levels: everyLevel,
    source: `def f(_): os._exit(3)`,
    holds: endedWith({ kind: 'died', exitCode: 3 }),
  },
  {
    title: 'crashes: a bad pointer',
    stoppedAs: '`crash`, SIGSEGV',
    levels: everyLevel,
    source: `def f(_): ctypes.string_at(1)`,
    holds: endedWith({ kind: 'died', signal: 'SIGSEGV' }),
  },
  {
    title: 'crashes: abort()',
    stoppedAs: '`crash`, SIGABRT',
    levels: everyLevel,
    source: `def f(_): os.abort()`,
    holds: endedWith({ kind: 'died', signal: 'SIGABRT' }),
  },
  {
    title: 'crashes: recursion in C',
    stoppedAs: '`crash`, SIGSEGV',
    levels: everyLevel,
    source: `
def f(_):
    sys.setrecursionlimit(10 ** 8)
    def deeper(value): return repr([deeper(value)]) if value else ''
    class Deep(object):
        def __repr__(self): return repr([Deep()])
    return repr(Deep())`,
    holds: endedWith({ kind: 'died', signal: 'SIGSEGV' }),
  },
  {
    title: 'closes every descriptor',
    stoppedAs: '`crash`; the worker is replaced',
    levels: everyLevel,
    source: `
def f(_):
    os.closerange(0, 1024)`,
    holds: endedWith({ kind: 'died' }),
  },
  {
    title: 'writes garbage to the harness’s result descriptor',
    stoppedAs: 'the worker is killed; no other is touched',
    levels: everyLevel,
    source: `
def f(_):
    os.write(901, b'\\xff' * 64)
    time.sleep(1000)`,
    holds: endedWith({ kind: 'broke' }),
  },
  {
    title: 'forges the result of another task',
    stoppedAs: 'refused: only the running task has one; the worker is killed',
    levels: everyLevel,
    source: `
def f(_):
    body = struct.pack('>cIBBdQ', b'D', 7, 0, 0, 0.0, 0) + b'Jtrue'
    os.write(901, struct.pack('>I', len(body)) + body)
    time.sleep(1000)`,
    holds: endedWith({ kind: 'broke' }),
  },
  {
    title: 'sends an exception as JSON of a million brackets',
    stoppedAs: 'refused; the worker is killed',
    levels: everyLevel,
    source: `
def f(_):
    body = struct.pack('>cIBBdQ', b'D', 1, 1, 0, 0.0, 0) + b'[' * 1000000
    data = struct.pack('>I', len(body)) + body
    while data:
        data = data[os.write(901, data):]
    time.sleep(1000)`,
    holds: endedWith({ kind: 'broke' }),
  },
  {
    title: 'claims a frame of 4 GB',
    stoppedAs: 'refused; the worker is killed',
    levels: everyLevel,
    source: `
def f(_):
    os.write(901, struct.pack('>I', 0xffffffff))
    time.sleep(1000)`,
    holds: endedWith({ kind: 'broke' }),
  },
  {
    title: 'raises an exception with 30 MB of text',
    stoppedAs: 'cut in the sandbox',
    levels: everyLevel,
    memoryBytes: 512 * mib,
    source: `def f(_): raise ValueError('x' * 30000000)`,
    holds(end) {
      const failure = end.kind === 'ended' ? end.task.failure : null;
      expect(failure?.name).toBe('ValueError');
      expect(failure?.message.length).toBe(exceptionMessageCharsMax);
      expect(failure?.traceback.length).toBeLessThanOrEqual(tracebackCharsMax);
      expect(failure?.message).toContain('characters cut');
    },
  },
  {
    title: 'raises an exception whose text raises',
    stoppedAs: 'told without it',
    levels: everyLevel,
    source: `
class Hostile(Exception):
    def __str__(self): raise self
    __repr__ = __str__
def f(_): raise Hostile()`,
    holds(end) {
      expect(end.kind === 'ended' ? end.task.failure?.name : end.event.end).toBe('Hostile');
    },
  },
  {
    title: 'leaves files in /tmp and /dev/shm for the next task (`isolation="task"`)',
    stoppedAs: 'wiped; a process of its own per task',
    levels: everyLevel,
    taskIsolation: 'task',
    callsBefore: 1,
    source: `
SEEN = []
def f(_):
    found = [sorted(os.listdir(folder)) for folder in (os.environ['HOME'],)], list(SEEN)
    SEEN.append(1)
    os.makedirs(os.path.join(os.environ['HOME'], 'a/b'))
    os.chmod(os.path.join(os.environ['HOME'], 'a'), 0)
    return found`,
    holds: returned([[[]], []]),
  },
];
