/** The harness under both interpreters, in real sandboxes. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack, unpack } from 'msgpackr';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CallEnd, Sandbox, Sandboxes, SandboxOptions } from '../../../isolation/sandboxes.ts';
import { openSandboxes } from '../../../isolation/sandboxes.ts';
import { checkout } from '../../../setup/run-program.ts';

const pythons = ['2.7', '3.11'] as const;

describe.each(pythons)('the harness under Python %s', (python) => {
  let sandboxes: Sandboxes;
  const isOld = python === '2.7';

  beforeAll(async () => {
    sandboxes = await openSandboxes(null);
  });
  afterAll(async () => {
    await sandboxes[Symbol.asyncDispose]();
  });

  function start(source: string, spec: SandboxOptions['spec'] = {}): Sandbox {
    return sandboxes.start({ source, python, spec });
  }

  /** One worker, one call. */
  async function call(source: string, ...values: unknown[]): Promise<CallEnd> {
    const sandbox = start(source);
    const end = await sandbox.call(...values);
    sandbox.kill();
    await sandbox.ended;
    return end;
  }

  function failureOf(end: CallEnd) {
    if (end.kind !== 'ended') throw new Error(JSON.stringify(end.event.end));
    expect(end.task.status).toBe('exception');
    return end.task.failure ?? { name: '', message: '', traceback: '' };
  }

  it('passes positional and keyword arguments in JSON', async () => {
    const sandbox = start('def f(a, b=0, **rest): return [a, b, sorted(rest.items())]');
    const end = await sandbox.feed({ payload: Buffer.from('J[[1],{"b":"ü","c":null}]') });
    expect(end).toMatchObject({ value: [1, 'ü', [['c', null]]] });
  });

  it('passes pickled arguments, inline and from a file, and returns a pickle', async () => {
    const sandbox = start('def f(a, b): return (a, b)', { resultFormat: 'pickle' });
    const pickle = Buffer.from("((I1\nS'two'\nt(dt.");
    const inline = await sandbox.feed({ payload: Buffer.concat([Buffer.from('P'), pickle]) });
    const payloadPath = join(sandboxes.folder, 'argument');
    writeFileSync(payloadPath, pickle, { mode: 0o600 });
    const fromFile = await sandbox.feed({ payloadPath, payloadTag: 0x50 });
    rmSync(payloadPath);
    if (inline.kind !== 'ended' || fromFile.kind !== 'ended') throw new Error('a worker ended');
    expect(inline.task).toMatchObject({ status: 'success', resultTag: 0x50, resultPath: null });
    expect(fromFile.task.result).toEqual(inline.task.result);
    expect(Buffer.from(inline.task.result).toString('latin1')).toContain('two');
  });

  it('speaks msgpack as the TypeScript SDK does', async () => {
    const value = {
      integers: [0, 127, 128, -1, -33, 65536, -70000, 2 ** 40, -(2 ** 40)],
      others: [null, true, false, 1.5, 'ü'.repeat(20), 'x'.repeat(70_000)],
      bytes: Buffer.from([0, 255, 128]),
      nested: { list: Array.from({ length: 20 }, (_, index) => index) },
    };
    const sandbox = start('def f(value, key=None): return [value, key]', {
      resultFormat: 'msgpack',
    });
    const payload = Buffer.concat([Buffer.from('M'), pack([[value], { key: 'word' }])]);
    const end = await sandbox.feed({ payload, payloadTag: 0x4d });
    if (end.kind !== 'ended') throw new Error('the worker ended');
    const path = end.task.resultPath;
    const bytes = path === null ? end.task.result.subarray(1) : readFileSync(path);
    const [back, key] = unpack(bytes) as [typeof value, string];
    expect(back).toEqual(value);
    expect(key).toBe('word');
  });

  it('refuses to return what is not JSON, and names it', async () => {
    expect(failureOf(await call('def f(): return {"a": [1, {2, 3}]}'))).toMatchObject({
      name: 'TypeError',
      message: "the result is not JSON: result['a'][1] is a set",
    });
    expect(failureOf(await call('def f(): return [float("nan")]')).message).toContain(
      'result[0] is nan',
    );
    expect(failureOf(await call('def f(): return {"a": {1: 2}}')).message).toContain(
      "result['a'] has a key of type int",
    );
    expect(failureOf(await call('import numpy\ndef f(): return numpy.zeros(3)')).message).toContain(
      'result is a numpy.ndarray',
    );
  });

  it('reads the .pth files of a layer, as namespace packages and develop installs need', async () => {
    const site = mkdtempSync(join(tmpdir(), 'perigee-site-'));
    chmodSync(site, 0o755);
    for (const path of ['one/near', 'two/far', 'beside', 'affine']) {
      mkdirSync(join(site, path), { recursive: true });
    }
    // What setuptools writes for namespace packages of before PEP 420.
    writeFileSync(
      join(site, 'soil-1.0-nspkg.pth'),
      ['near', 'far']
        .map(
          (name) =>
            'import sys, types, os;p = os.path.join(sys._getframe(1).f_locals["sitedir"], ' +
            `"${name === 'near' ? 'one' : 'two'}");m = sys.modules.setdefault("soil", ` +
            'types.ModuleType("soil"));mp = m.__dict__.setdefault("__path__",[]);mp.append(p)',
        )
        .join('\n'),
    );
    writeFileSync(join(site, 'beside.pth'), 'beside\n/nowhere\n');
    writeFileSync(join(site, 'one/near/__init__.py'), 'depth = 1\n');
    writeFileSync(join(site, 'two/far/__init__.py'), 'depth = 2\n');
    writeFileSync(join(site, 'beside/shallow.py'), 'depth = 3\n');
    writeFileSync(join(site, 'affine/__init__.py'), 'depth = 4\n');
    const sandbox = sandboxes.start({
      python,
      sitePath: site,
      source: `
import sys
import soil.near, soil.far, shallow, affine
def f():
    at = [path for path in sys.path if path.startswith('/perigee/site')]
    return [soil.near.depth, soil.far.depth, shallow.depth, affine.depth, at]`,
    });
    const end = await sandbox.call();
    rmSync(site, { recursive: true });
    // Before the image's own: `affine` is in it too.
    const value = [1, 2, 3, 4, ['/perigee/site', '/perigee/site/beside']];
    expect(end).toMatchObject({ value });
  });

  it('spools a large result to a file, whole', async () => {
    const sandbox = start('def f(n): return "x" * n');
    const end = await sandbox.call(3_000_000);
    if (end.kind !== 'ended') throw new Error('the worker ended');
    expect(end.task).toMatchObject({ status: 'success', resultTag: 0x4a });
    expect(end.task.result).toHaveLength(0);
    const text = readFileSync(end.task.resultPath ?? '', 'utf8');
    expect(text).toBe(`"${'x'.repeat(3_000_000)}"`);
  });

  it('says what cannot be pickled', async () => {
    const sandbox = start('import threading\ndef f(): return threading.Lock()', {
      resultFormat: 'pickle',
    });
    const failure = failureOf(await sandbox.call());
    expect(failure.name).toBe('TypeError');
    expect(failure.message).toContain('the result cannot be pickled: a ');
  });

  it('cuts its own frames from tracebacks and shows the source’s lines', async () => {
    const failure = failureOf(await call('def g(): return {}["missing"]\ndef f(): return g()'));
    expect(failure.name).toBe('KeyError');
    expect(failure.traceback).not.toContain('harness.py');
    expect(failure.traceback).toContain('line 2, in f');
    expect(failure.traceback).toContain('return {}["missing"]');
  });

  it('takes every exception as the task’s end, not the worker’s', async () => {
    const sandbox = start(`
import sys
def deep(): return deep()
RAISED = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()]
def f(number):
    if number == 4: return deep()
    if number == 5: return 1
    raise RAISED[number]`);
    const names: string[] = [];
    for (const number of [0, 1, 2, 3, 4]) names.push(failureOf(await sandbox.call(number)).name);
    expect(names).toEqual([
      ...['SystemExit', 'KeyboardInterrupt', 'GeneratorExit', 'MemoryError'],
      isOld ? 'RuntimeError' : 'RecursionError',
    ]);
    expect(await sandbox.call(5)).toMatchObject({ value: 1 });
  });

  it('tells texts that are not ASCII as UTF-8', async () => {
    const failure = failureOf(
      await call('# -*- coding: utf-8 -*-\ndef f(): raise ValueError(u"größer als 10 €")'),
    );
    expect(failure.message).toBe('größer als 10 €');
    expect(failure.traceback).toContain('ValueError');
  });

  it('logs what the function and its subprocesses print, in order, non-ASCII too', async () => {
    const end = await call(`# -*- coding: utf-8 -*-
import subprocess, sys
def f():
    print(u'grün')
    subprocess.call(['/bin/echo', 'from a child'])
    sys.stderr.write('to stderr\\n')
    with open('/dev/stdout', 'a') as opened: opened.write('by name\\n')
    print('last')`);
    expect(end.kind === 'ended' ? end.log : '').toBe(
      'grün\nfrom a child\nto stderr\nby name\nlast\n',
    );
  });

  it('tells exactly which task wrote what, however quickly they follow', async () => {
    const sandbox = start(`
import os
def f(n):
    if n % 3: os.write(1, ('%d ' % n).encode() * 50)
    return n`);
    const ends = await Promise.all(Array.from({ length: 300 }, (_, n) => sandbox.call(n)));
    for (const [n, end] of ends.entries()) {
      expect(end.kind === 'ended' ? end.log : '').toBe(n % 3 === 0 ? '' : `${n} `.repeat(50));
    }
  });

  it('gives what an import prints to the first task', async () => {
    const sandbox = start('print("loading")\ndef f(): print("running")');
    expect((await sandbox.call()).log).toBe('loading\nrunning\n');
    expect((await sandbox.call()).log).toBe('running\n');
  });

  it('restores stdout that a task replaced', async () => {
    const sandbox = start(`
import io, sys
def f(replace):
    print('before')
    if replace: sys.stdout = open('/dev/null', 'w')`);
    await sandbox.call(true);
    expect((await sandbox.call(false)).log).toBe('before\n');
  });

  it('refuses a function of another Python, with the fix', async () => {
    const wrong = { implementation: 'CPython', version: isOld ? '3.11.2' : '2.7.18' };
    const { end } = await start('def f(): pass', { python: wrong }).ended;
    expect(end).toMatchObject({ kind: 'unloadable', code: 'version_mismatch' });
    expect(JSON.stringify(end)).toContain(`the image runs CPython ${python}`);
  });

  it('tells why a function cannot be loaded', async () => {
    const absent = await start('import nothing_of_the_kind\ndef f(): pass').ended;
    expect(absent.end).toMatchObject({ kind: 'unloadable', code: 'exception' });
    expect(JSON.stringify(absent.end)).toContain('nothing_of_the_kind');
    const unnamed = await start('def g(): pass').ended;
    expect(JSON.stringify(unnamed.end)).toContain("defines no callable 'f'");
    const wrong = await start('def f(:').ended;
    expect(JSON.stringify(wrong.end)).toContain('SyntaxError');
    const pickle = Buffer.from('not a pickle');
    const garbage = sandboxes.start({ source: '', pickle, python });
    expect((await garbage.ended).end).toMatchObject({ kind: 'unloadable', code: 'exception' });
  });

  it('loads a pickled function', async () => {
    const pickle = Buffer.from(`c${isOld ? '__builtin__' : 'builtins'}\nlen\n.`);
    const sandbox = sandboxes.start({ source: '', pickle, python });
    expect(await sandbox.call([1, 2, 3])).toMatchObject({ value: 3 });
  });

  it('gives the group’s environment to the function, and to nobody else on the machine', async () => {
    const sandbox = start(
      'import os\nX = os.environ["SECRET"]\ndef f(): return [X, os.environ["LANG"], os.getcwd()]',
      { environment: { SECRET: 'hunter2-hunter2' } },
    );
    const end = await sandbox.call();
    expect(end).toMatchObject({ value: ['hunter2-hunter2', 'C.UTF-8', expect.anything()] });
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      expect(readCommand(pid)).not.toContain('hunter2-hunter2');
    }
  });

  it('shares globals between the tasks of a worker, and kills what each leaves behind', async () => {
    const sandbox = start(`
import os, time
STATE = []
def f():
    STATE.append(1)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    return [len(STATE), sorted(int(n) for n in os.listdir('/proc') if n.isdigit() and int(n) > os.getpid() + 2)]`);
    expect(await sandbox.call()).toMatchObject({ value: [1, expect.anything()] });
    expect(await sandbox.call()).toMatchObject({ value: [2, expect.anything()] });
    const last = await sandbox.call();
    // One child and grandchild of its own at most: none of the two tasks before.
    expect(last.kind === 'ended' && Array.isArray(last.value) ? last.value[0] : last).toBe(3);
    const pids = last.kind === 'ended' ? (last.value as [number, number[]])[1] : [];
    expect(pids.length).toBeLessThanOrEqual(2);
  });

  it('runs each task of `isolation="task"` in a process of its own', async () => {
    const sandbox = start(
      `
import os, random
STATE = []
def f(order):
    STATE.append(1)
    if order == 'exit': os._exit(5)
    if order == 'kill': os.kill(os.getpid(), 9)
    print(order)
    return [len(STATE), random.random()]`,
      { taskIsolation: 'task' },
    );
    const first = await sandbox.call('one');
    const second = await sandbox.call('two');
    expect(first).toMatchObject({ value: [1, expect.anything()], log: 'one\n' });
    expect(second).toMatchObject({ value: [1, expect.anything()], log: 'two\n' });
    if (first.kind !== 'ended' || second.kind !== 'ended') throw new Error('a worker ended');
    expect(first.value).not.toEqual(second.value);
    const dead = await sandbox.call('exit');
    expect(dead).toMatchObject({ event: { end: { kind: 'died', exitCode: 5 } } });
  });

  it.each(['worker', 'task'] as const)(
    'ends what a task of isolation="%s" forks as Python would, and takes its own outcome',
    async (taskIsolation) => {
      const sandbox = start(
        `
import os, sys
def f(how):
    child = os.fork()
    if child == 0:
        if how == 'code': sys.exit(3)
        if how == 'nothing': sys.exit()
        if how == 'text': sys.exit('gone for good')
        if how == 'raise': raise ValueError('not of the task')
        if how == 'set': return {how}
        sys.stdout = os.fdopen(os.dup(1), 'w')
        sys.stdout.write('from the child\\n')
        return how * 3000000
    status = os.waitpid(child, 0)[1]
    return [how, os.WIFEXITED(status) and os.WEXITSTATUS(status)]`,
        { taskIsolation },
      );
      const logs: string[] = [];
      for (const [how, status] of [
        ['code', 3],
        ['nothing', 0],
        ['text', 1],
        ['raise', 1],
        ['set', 0],
        ['print', 0],
      ] as const) {
        const end = await sandbox.call(how);
        expect(end).toMatchObject({ kind: 'ended', value: [how, status] });
        logs.push(end.log);
      }
      expect(logs.filter((log) => !log.includes('Traceback'))).toEqual([
        ...['', '', 'gone for good\n', '', 'from the child\n'],
      ]);
      expect(logs[3]).toMatch(/line 9, in f\n(.*\n)+ValueError: not of the task\n$/);
      expect(logs[3]).not.toContain('harness.py');
    },
  );

  it('ends what a function forks while it is loaded', async () => {
    const sandbox = start(`
import os, sys
ENDS = []
for code in (7, None):
    child = os.fork()
    if child == 0:
        if code: sys.exit(code)
        break
    ENDS.append(os.waitpid(child, 0)[1] >> 8)
def f(): return ENDS`);
    expect(await sandbox.call()).toMatchObject({ value: [7, 0] });
  });

  it('takes what a task’s own process wrote and ended after while it was not looked at', async () => {
    const source = `
import os
def f(text):
    space = {'__name__': 'harness'}
    exec(compile(text.encode('ascii'), 'harness', 'exec'), space)
    read_end, write_end = os.pipe()
    def is_dead(pid):
        # What happens between a look at the pipe and the look at the process.
        os.write(write_end, space['FRAME_HEAD'].pack(5) + b'Dwell')
        os.close(write_end)
        return True
    space['is_dead'] = is_dead
    return space['receive_done'](read_end, 0).decode('ascii')`;
    const harness = readFileSync(join(checkout, 'node-agent/runner/harness.py'), 'ascii');
    expect(await call(source, harness)).toMatchObject({ value: 'Dwell' });
  });

  it('tells a death by signal of a task in its own process', async () => {
    const sandbox = start('import os\ndef f(): os.kill(os.getpid(), 9)', { taskIsolation: 'task' });
    expect(await sandbox.call()).toMatchObject({
      event: { end: { kind: 'died', signal: 'SIGKILL' }, running: { index: 0 } },
    });
  });

  it('offers the perigee package', async () => {
    const end = await call(
      'def f():\n    import perigee.imagery\n    return perigee.imagery.__name__',
    );
    expect(end).toMatchObject({ value: 'perigee.imagery' });
  });
});

function readCommand(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    // It has ended meanwhile.
    return '';
  }
}
