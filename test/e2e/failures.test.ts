/** Tasks that fail in every way there is, on one mesh of two real nodes and real sandboxes. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { listAgents, listProcesses, signal } from '../chaos/processes.ts';
import { quickestOf } from '../chaos/quickest-of.ts';
import { createScripts, pythons, type Scripts } from '../chaos/scripts.ts';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';

const mib = 1024 ** 2;
const leaseMs = 3_000;

let mesh: Mesh;
let tasks: Tasks;
let scripts: Scripts;

beforeAll(async () => {
  mesh = await startMesh({
    PERIGEE_LEASE_MS: String(leaseMs),
    PERIGEE_SUSPECT_MS: '1500',
    PERIGEE_HEARTBEAT_MS: '300',
    PERIGEE_NODE_IDLE_MS: '120000',
    PERIGEE_RETRY_DELAY_BASE_MS: '100',
  });
  tasks = createTasks(mesh);
  scripts = createScripts({
    ...mesh.environment,
    PERIGEE_URL: mesh.url,
    PERIGEE_TOKEN: mesh.token,
  });
  await bothNodesReady();
});

afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
});

/** Gives work until two nodes are there; some tests need one that the task was not on. */
async function bothNodesReady(): Promise<void> {
  const group = await tasks.create('import time\ndef work(value):\n    time.sleep(0.5)\n');
  await waitFor('two nodes are ready', async () => {
    const nodes = await tasks.nodes();
    if (nodes.filter((node) => node.state === 'ready' && !node.suspect).length >= 2) return true;
    const { queued } = (await tasks.group(group)).tasks;
    if (queued < 4) await tasks.submit(group, [1, 2, 3, 4]);
    return undefined;
  });
  await tasks.terminate(group, false);
}

/** Processes of the mesh whose command line has `mark`. */
const marked = (mark: string): string[] =>
  listProcesses(mesh.data)
    .map((process) => process.command)
    .filter((command) => command.includes(mark));

/** A function that starts programs of its own, one of them in a session of its own, and never ends. */
const spreading = (seconds: string): string => `
import os, signal, subprocess, sys, time

def work(value):
    print("begin")
    subprocess.Popen(["sleep", "${seconds}"])
    subprocess.Popen(["/bin/sh", "-c", "trap '' TERM INT HUP; sleep ${seconds}; sleep ${seconds}"], preexec_fn=os.setsid)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", "${seconds}"])
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("all started")
    sys.stdout.flush()
    while True:
        time.sleep(1)
`;

describe('a task that takes longer than its task_timeout', () => {
  it.each([
    { image: 'perigee/geospatial:py2.7', isolation: 'worker', seconds: '86001' },
    { image: 'perigee/python:py3.11', isolation: 'worker', seconds: '86002' },
    { image: 'perigee/python:py3.11', isolation: 'task', seconds: '86003' },
  ])('ends with its whole process tree ($image, $isolation)', async ({ seconds, ...options }) => {
    const task = await tasks.run(spreading(seconds), { ...options, taskTimeoutSeconds: 1.5 });
    await waitFor(
      'its programs are gone',
      () => (marked(seconds).length === 0 ? true : undefined),
      5_000,
    );
    expect(task).toMatchObject({ status: 'FAILURE', code: 'timeout', exception: 'Timeout' });
    expect(task.message).toContain('task_timeout=3');
    expect(task.runtimeSeconds).toBeGreaterThan(1.4);
    expect(task.runtimeSeconds).toBeLessThan(10);
    expect((await tasks.log(task.id)).toString()).toBe('begin\nall started\n');
    expect(task.attempts).toHaveLength(1);
  });
});

describe('retry_count', () => {
  it('tries an exception again so often, and the ledger shows each attempt', async () => {
    const source =
      'def work(value):\n    print("tried")\n    raise ValueError("always %d" % value)\n';
    const task = await tasks.run(source, { retryCount: 2 });
    expect(task).toMatchObject({ code: 'exception', exception: 'ValueError', message: 'always 0' });
    expect(task.attempts.map(({ attempt, end, charged }) => ({ attempt, end, charged }))).toEqual([
      { attempt: 1, end: 'exception', charged: true },
      { attempt: 2, end: 'exception', charged: true },
      { attempt: 3, end: 'exception', charged: expect.any(Boolean) },
    ]);
    expect(task.attempts.every((attempt) => attempt.message === 'always 0')).toBe(true);
  });

  it('ends in the success that comes before the last attempt', async () => {
    // Time is the only thing that two sandboxes share.
    const until = Date.now() / 1000 + 2;
    const source = `import time\ndef work(value):\n    if time.time() < ${until}: raise IOError("not yet")\n    return "at last"\n`;
    const task = await tasks.run(source, { retryCount: 20 });
    expect(task).toMatchObject({ status: 'SUCCESS', code: null });
    expect(await tasks.result(task.id)).toBe('at last');
    expect(task.attempts.length).toBeGreaterThan(1);
    const ends = task.attempts.map((attempt) => attempt.end);
    expect(ends.slice(0, -1).every((end) => end === 'exception')).toBe(true);
    expect(ends.at(-1)).toBe('success');
  });

  it('tries a timeout again, and never an oom', async () => {
    const slow = 'import time\ndef work(value):\n    time.sleep(60)\n';
    const hungry = 'def work(value):\n    return len(bytearray(600 * 1024 * 1024))\n';
    const [late, large] = await Promise.all([
      tasks.run(slow, { retryCount: 1, taskTimeoutSeconds: 0.3 }),
      tasks.run(hungry, { retryCount: 3, memory: '256Mi' }),
    ]);
    expect(late.code).toBe('timeout');
    expect(late.attempts.map((attempt) => attempt.end)).toEqual(['timeout', 'timeout']);
    expect(large.code).toBe('oom');
    expect(large.attempts).toHaveLength(1);
  });
});

describe('a task that needs more than its memory', () => {
  it.each(pythons)(
    'ends as oom and is told what to change, on Python $version',
    async ({ image }) => {
      const source = `
import sys
def work(value):
    print("begin")
    sys.stdout.flush()
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
`;
      const task = await tasks.run(source, { image, memory: '256Mi' });
      expect(task).toMatchObject({ status: 'FAILURE', code: 'oom', exception: 'MemoryLimit' });
      expect(task.message).toContain("memory='512Mi'");
      expect(task.peakMemoryBytes).toBeGreaterThan(200 * mib);
      expect((await tasks.log(task.id)).toString()).toBe('begin\n');
    },
  );

  it('goes on when only programs that it started took the memory, and sees them killed', async () => {
    const source = `
import subprocess, sys
hungry = "kept = []\\nwhile True: kept.append(bytearray(4 * 1024 * 1024))"
def work(value):
    children = [subprocess.Popen([sys.executable, "-c", hungry]) for _ in range(3)]
    return [child.wait() for child in children]
`;
    const task = await tasks.run(source, { memory: '256Mi' });
    expect(task).toMatchObject({ status: 'SUCCESS' });
    expect(await tasks.result(task.id)).toEqual([-9, -9, -9]);
    // All of them counted together: none had the whole limit for itself.
    expect(task.peakMemoryBytes).toBeLessThanOrEqual(257 * mib);
  });
});

describe('cancel', () => {
  const source = `
import sys, time
def work(value):
    print("begin %s" % value)
    sys.stdout.flush()
    time.sleep(600)
`;

  it('ends a queued task at once and a running one within a second, and keeps its log', async () => {
    const group = await tasks.create(source, { maximumConcurrency: 1 });
    const tookMs = await quickestOf(1_000, async () => {
      const [running = '', queued = ''] = await tasks.submit(group, ['first', 'second']);
      await tasks.running(running, 'begin first');
      expect((await tasks.look(queued)).state).toBe('queued');

      await tasks.cancel(queued);
      expect(await tasks.settle(queued)).toMatchObject({ code: 'cancelled', attempts: [] });

      const beganAtMs = performance.now();
      await tasks.cancel(running);
      const ended = await tasks.settle(running);
      const endedAtMs = performance.now();
      expect(ended).toMatchObject({ code: 'cancelled', exception: 'Cancelled' });
      expect((await tasks.log(running)).toString()).toBe('begin first\n');
      expect((await tasks.log(queued)).length).toBe(0);
      return endedAtMs - beganAtMs;
    });
    expect(tookMs).toBeLessThan(1_000);
  });

  it('leaves the tasks of the same group alone', async () => {
    const quick = 'import time\ndef work(value):\n    time.sleep(value)\n    return value\n';
    const group = await tasks.create(quick);
    const ids = await tasks.submit(group, [600, 0.01, 0.02, 0.03]);
    await tasks.running(ids[0] ?? '');
    await tasks.cancel(ids[0] ?? '');
    const ended = await Promise.all(ids.map((id) => tasks.settle(id)));
    expect(ended.map((task) => task.code)).toEqual(['cancelled', null, null, null]);
  });
});

it('bounds the log of a task that floods it, says the cut, and lets other tasks go on', async () => {
  const lines = 3_000_000;
  const source = `
import sys
def work(value):
    line = "%012d " + "x" * 50 + "\\n"
    for start in range(0, ${lines}, 1000):
        sys.stdout.write("".join(line % number for number in range(start, start + 1000)))
    return "flooded"
`;
  const quick = 'def work(value):\n    print("quick")\n    return value\n';
  const group = await tasks.create(source);
  const [flood = ''] = await tasks.submit(group, [0]);
  await tasks.running(flood);
  const beside = await tasks.run(quick);
  expect(beside).toMatchObject({ status: 'SUCCESS' });
  expect((await tasks.look(flood)).state).toBe('running');

  const ended = await tasks.settle(flood, 60_000);
  expect(ended).toMatchObject({ status: 'SUCCESS', logBytes: lines * 64 });
  const log = await tasks.log(flood);
  expect(log.length).toBeLessThan(8 * mib + 200);
  expect(log.length).toBeGreaterThan(8 * mib - 1024);
  expect(log.subarray(0, 13).toString()).toBe('000000000000 ');
  expect(log.subarray(-64, -51).toString()).toBe(`${String(lines - 1).padStart(12, '0')} `);
  const cut = /\n?\[perigee: (\d+) bytes cut\]\n/.exec(log.toString('latin1'));
  expect(cut?.index).toBeGreaterThanOrEqual(mib - 64);
  expect(cut?.index).toBeLessThanOrEqual(mib + 64);
  expect(Number(cut?.[1])).toBe(lines * 64 - (log.length - (cut?.[0].length ?? 0)));
  for (const pid of listAgents(mesh.data)) {
    const [, peakKib] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    expect(Number(peakKib) * 1024).toBeLessThan(700 * mib);
  }
}, 90_000);

describe('a worker that dies', () => {
  it.each([
    { how: 'os._exit', call: 'os._exit(7)', says: 'exited with code 7' },
    { how: 'a segmentation fault', call: 'ctypes.string_at(0)', says: 'SIGSEGV' },
    { how: 'abort', call: 'os.abort()', says: 'SIGABRT' },
  ])('by $how is a crash that says so, and its log is kept', async ({ call, says }) => {
    const source = `import ctypes, os\ndef work(value):\n    print("before")\n    ${call}\n`;
    const task = await tasks.run(source);
    expect(task).toMatchObject({ status: 'FAILURE', code: 'crash', exception: 'WorkerDied' });
    expect(task.message).toContain(says);
    expect((await tasks.log(task.id)).toString()).toBe('before\n');
  });

  it('is an exception, not a crash, when the function calls sys.exit', async () => {
    const task = await tasks.run('import sys\ndef work(value):\n    sys.exit(3)\n');
    expect(task).toMatchObject({ code: 'exception', exception: 'SystemExit', message: '3' });
  });

  it('takes no other task of its group with it', async () => {
    const source =
      'import os\ndef work(value):\n    if value == 3: os._exit(1)\n    return value\n';
    const group = await tasks.create(source);
    const ids = await tasks.submit(group, [0, 1, 2, 3, 4, 5, 6, 7]);
    const ended = await Promise.all(ids.map((id) => tasks.settle(id)));
    expect(ended.map((task) => task.code)).toEqual([
      ...[null, null, null],
      'crash',
      ...[null, null, null, null],
    ]);
  });
});

it.each(pythons)(
  'prints non-ASCII text, whatever it is, on Python $version',
  async ({ flag, image }) => {
    const script = `
from __future__ import print_function
from perigee import AsyncTasks
def work(i):
    print(u'\\xe9\\u20ac\\U0001f6f0')
    import os
    os.write(1, b'\\xff\\xfe raw\\n')
    return u'\\xe9\\U0001f6f0'
task = AsyncTasks().create_function(work, image='${image}')(1)
assert task.result == u'\\xe9\\U0001f6f0', repr(task.result)
assert task.log_bytes == u'\\xe9\\u20ac\\U0001f6f0\\n'.encode('utf-8') + b'\\xff\\xfe raw\\n', repr(task.log_bytes)
assert isinstance(task.log, str)
print(task.log, end='')
`;
    const ended = await scripts.run(script, { flag });
    expect(ended).toMatchObject({ status: 0, stderr: '', stdout: 'é€🛰\n\ufffd\ufffd raw\n' });
  },
);

it('cuts the text of a huge exception, and both ends of it are kept', async () => {
  const source = `
class Huge(Exception):
    pass
def work(value):
    raise Huge("start" + "x" * 20000000 + "end")
`;
  const task = await tasks.run(source);
  expect(task).toMatchObject({ code: 'exception', exception: 'Huge' });
  expect(task.message?.length).toBeLessThanOrEqual(16_000);
  expect(task.message?.startsWith('start')).toBe(true);
  expect(task.message?.endsWith('end')).toBe(true);
  expect(task.traceback?.length).toBeLessThanOrEqual(64_000);
  expect(task.traceback).toContain('in work');
});

it('goes on elsewhere when a node stops answering, and refuses what that node says late', async () => {
  await bothNodesReady();
  const source = `
import os, sys, time, uuid
def work(value):
    print("begin")
    sys.stdout.flush()
    time.sleep(value)
    return uuid.uuid4().hex
`;
  const group = await tasks.create(source);
  const [task = ''] = await tasks.submit(group, [2]);
  const { node } = await tasks.running(task, 'begin');
  const pid = (await tasks.nodes()).find((found) => found.id === node)?.pid ?? 0;
  expect(listAgents(mesh.data)).toContain(pid);
  signal(pid, 'SIGSTOP');
  try {
    const ended = await tasks.settle(task, leaseMs + 20_000);
    expect(ended).toMatchObject({ status: 'SUCCESS' });
    expect(ended.node).not.toBe(node);
    expect(ended.attempts).toMatchObject([
      { attempt: 1, node, end: 'lost', charged: false },
      { attempt: 2, node: ended.node, end: 'success', charged: false },
    ]);
    const result = await tasks.result(task);

    signal(pid, 'SIGCONT');
    await waitFor('the node is back', async () => {
      const found = (await tasks.nodes()).find((known) => known.id === node);
      return found?.state === 'ready' && found.held === 0 ? true : undefined;
    });
    // It has reported its attempt by now, or been told to drop it.
    expect(await tasks.look(task)).toEqual(ended);
    expect(await tasks.result(task)).toBe(result);
    // And it works.
    const quick = await tasks.create('def work(value):\n    return value\n');
    const ids = await tasks.submit(quick, [...Array(20).keys()]);
    const after = await Promise.all(ids.map((id) => tasks.settle(id)));
    expect(after.every((found) => found.status === 'SUCCESS')).toBe(true);
  } finally {
    signal(pid, 'SIGCONT');
  }
}, 60_000);

describe.each(pythons)('arguments and results on Python $version', ({ flag, image }) => {
  it.each([
    { title: '2 MB', bytes: 2_000_000 },
    { title: '100 MB', bytes: 100_000_000 },
  ])('of $title come through as they are', async ({ bytes }) => {
    const script = `
import hashlib, os
from perigee import AsyncTasks
def work(data, about=None):
    import hashlib
    print(about['name'])
    return {'digest': hashlib.sha256(data).hexdigest(), 'back': data[::-1]}
data = os.urandom(${bytes})
task = AsyncTasks().create_function(work, image='${image}')(data, about={'name': 'named'})
value = task.result
assert value['digest'] == hashlib.sha256(data).hexdigest()
assert value['back'] == data[::-1]
assert task.log == 'named\\n', task.log
assert task.args[0] == data
print(len(value['back']))
`;
    const ended = await scripts.run(script, { flag });
    expect(ended).toMatchObject({ status: 0, stderr: '', stdout: `${bytes}\n` });
  });
});

it('ends a task that killed its worker on two nodes as a crash that says quarantined', async () => {
  await bothNodesReady();
  const source = 'import os\ndef work(value):\n    os.kill(os.getpid(), 9)\n';
  const task = await tasks.run(source, { retryCount: 10 });
  expect(task).toMatchObject({ status: 'FAILURE', code: 'crash' });
  expect(task.message).toMatch(/quarantined/i);
  expect(new Set(task.attempts.map((attempt) => attempt.node)).size).toBe(2);
  expect(task.attempts.length).toBeLessThan(10);
});

describe('terminate', () => {
  const source = `
import sys, time
def work(value):
    print("begin %s" % value)
    sys.stdout.flush()
    time.sleep(value)
    return value
`;

  it('kills what runs, ends what waits as cancelled, and takes no more', async () => {
    const group = await tasks.create(source, { maximumConcurrency: 1 });
    const [running = '', queued = ''] = await tasks.submit(group, [600, 601]);
    await tasks.running(running, 'begin 600');
    await tasks.terminate(group, false);
    const ended = await Promise.all([tasks.settle(running), tasks.settle(queued)]);
    expect(ended.map((task) => task.code)).toEqual(['cancelled', 'cancelled']);
    expect((await tasks.log(running)).toString()).toBe('begin 600\n');
    await expect(tasks.submit(group, [1])).rejects.toThrow('group_terminated');
    expect(await tasks.group(group)).toMatchObject({ state: 'terminated' });
  });

  it('with drain lets what runs finish, and its result stays readable', async () => {
    const group = await tasks.create(source, { maximumConcurrency: 1 });
    const [running = '', queued = ''] = await tasks.submit(group, [1, 601]);
    await tasks.running(running, 'begin 1');
    await tasks.terminate(group, true);
    await expect(tasks.submit(group, [1])).rejects.toThrow('group_terminated');
    expect(await tasks.settle(queued)).toMatchObject({ code: 'cancelled' });
    expect(await tasks.settle(running)).toMatchObject({ status: 'SUCCESS' });
    expect(await tasks.result(running)).toBe(1);
    await waitFor('the group is over', async () =>
      (await tasks.group(group)).state === 'terminated' ? true : undefined,
    );
  });
});

it('honours maximum_concurrency on the whole mesh', async () => {
  await bothNodesReady();
  const source = `
import time
def work(value):
    began = time.time()
    time.sleep(0.15)
    return [began, time.time()]
`;
  const highest = async (options: Record<string, unknown>): Promise<number> => {
    const ids = await tasks.submit(await tasks.create(source, options), [...Array(10).keys()]);
    await Promise.all(ids.map((id) => tasks.settle(id)));
    const spans = (await Promise.all(ids.map((id) => tasks.result(id)))) as [number, number][];
    return Math.max(
      ...spans.map(([at]) => spans.filter(([from, to]) => from <= at && at < to).length),
    );
  };
  expect(await highest({ maximumConcurrency: 1 })).toBe(1);
  expect(await highest({})).toBe(2);
});

describe('two namespaces', () => {
  /** A namespace with a token of its own. */
  async function found(namespace: string): Promise<Tasks> {
    await tasks.request('PUT', `/v1/namespaces/${namespace}`);
    const { json } = await tasks.request('POST', '/v1/tokens', {
      body: JSON.stringify({ role: 'user', namespace }),
    });
    return createTasks({ url: mesh.url, token: (json as { token: string }).token });
  }

  it('share the nodes: the small one need not wait for the large one', async () => {
    const [large, small] = await Promise.all([found('large'), found('small')]);
    const source = 'import time\ndef work(value):\n    time.sleep(0.05)\n    return value\n';
    const [groupLarge, groupSmall] = await Promise.all([
      large.create(source),
      small.create(source),
    ]);
    await large.submit(groupLarge, [...Array(200).keys()]);
    const ids = await small.submit(groupSmall, [...Array(20).keys()]);
    await Promise.all(ids.map((id) => small.settle(id)));
    const { tasks: counts } = await large.group(groupLarge);
    // Fair is one for one; first come, first served would leave nothing.
    expect(counts.queued + counts.running).toBeGreaterThan(100);
    expect(counts.succeeded).toBeGreaterThan(0);
    await large.terminate(groupLarge, false);
  });

  it('see nothing of each other', async () => {
    const [owner, stranger] = await Promise.all([found('owner'), found('stranger')]);
    const group = await owner.create('def work(value):\n    print("mine")\n    return value\n');
    const [task = ''] = await owner.submit(group, [1]);
    await owner.settle(task);
    const paths = ['', '/result', '/log', '/arguments', '/explain'].map(
      (rest) => `/v1/tasks/${task}${rest}`,
    );
    for (const path of [...paths, `/v1/groups/${group}`]) {
      expect((await owner.request('GET', path)).status, path).toBe(200);
      expect(await stranger.request('GET', path), path).toMatchObject({
        status: 404,
        json: { code: 'not_found' },
      });
    }
    for (const [method, path] of [
      ['POST', `/v1/tasks/${task}/cancel`],
      ['DELETE', `/v1/groups/${group}`],
    ] as const) {
      expect((await stranger.request(method, path)).status).toBe(404);
    }
    const { json } = await stranger.request('GET', '/v1/groups');
    expect(json).toMatchObject({ items: [] });
    const outcomes = await stranger.request('GET', '/v1/outcomes?after=0');
    expect(outcomes.body.includes('mine')).toBe(false);
    expect((await owner.group(group)).state).toBe('running');
  });
});
