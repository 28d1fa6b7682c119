/** The TypeScript SDK on real meshes: the contract, its waits, a coordinator that is killed, the package. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  asCompleted,
  type CloudFunction,
  connect,
  type IncludeOptions,
  MapError,
  type Mesh,
  PerigeeError,
  type Task,
  TaskFailed,
  type TaskOutput,
  type Value,
} from '../../sdk/ts/index.ts';
import { type Mesh as KillableMesh, startMesh as startKillable } from '../chaos/mesh.ts';
import type { Mesh as RealMesh } from '../python/start-mesh.ts';
import { startMesh } from '../python/start-mesh.ts';
import { checkout, runProgram } from '../setup/run-program.ts';

const wait = { timeoutMs: 60_000 };

interface Case {
  name: string;
  sdks: string[];
  source: string;
  entry: string;
  group?: Record<string, never>;
  include?: { files: Record<string, string>; modules?: string[]; data?: string[] };
  call?: { args: unknown[]; kwargs: Record<string, unknown> };
  map?: unknown[][];
  assets?: string[][];
  act?: 'cancel';
  expect: {
    value?: unknown;
    values?: unknown[];
    failure?: {
      code: string;
      exception?: string;
      messageContains?: string;
      tracebackContains?: string;
      logTailContains?: string;
      attempts?: number;
    };
    log?: { equals?: string; contains?: string[] };
    outputs?: { name: string; mediaType: string; content: unknown }[];
    refused?: { code: string };
  };
}

const table: { cases: Case[] } = JSON.parse(
  readFileSync(join(checkout, 'test/contract/sdk-cases.json'), 'utf8'),
);
const cases = table.cases.filter((one) => one.sdks.includes('typescript'));

let scratch: string;
let real: RealMesh;
let mesh: Mesh;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'perigee-ts-sdk-'));
  real = await startMesh(join(scratch, 'mesh'));
  mesh = await connect({ url: real.env.PERIGEE_URL, token: real.env.PERIGEE_TOKEN });
});

afterAll(async () => {
  await mesh?.close();
  await real?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const pythonOf = (...lines: string[]): string => `${lines.join('\n')}\n`;
const identity = pythonOf('def f(value):', '    return value');
const sleeper = pythonOf(
  'import time',
  'def f(seconds, value=None):',
  '    time.sleep(seconds)',
  '    return value',
);

describe.concurrent('the contract of both SDKs', () => {
  it.each(cases)('$name', async (one) => {
    const options = { source: one.source, entry: one.entry, ...one.group, ...includeOf(one) };
    if (one.expect.refused !== undefined) {
      const refused = await caughtFrom(mesh.createFunction(options));
      expect(refused).toBeInstanceOf(PerigeeError);
      expect(refused).toMatchObject({ code: one.expect.refused.code });
      expect((refused as PerigeeError).fix).not.toBe('');
      return;
    }
    const fn = await mesh.createFunction(options);
    if (one.map !== undefined) {
      const [first = [], ...others] = one.map.map((items) => items.map(decodeCase));
      const told = one.assets?.values();
      const tasks =
        told === undefined
          ? await fn.map(first, ...others)
          : await fn.map(first, ...others, { assets: () => told.next().value ?? [] });
      const values = await Promise.all(tasks.map((task) => task.result(wait)));
      expect(values).toEqual(one.expect.values?.map(decodeCase));
      return;
    }
    const { args, kwargs } = one.call ?? { args: [], kwargs: {} };
    const named = Object.entries(kwargs).map(([key, value]) => [key, decodeCase(value)] as const);
    const task = await fn.call(args.map(decodeCase), Object.fromEntries(named));
    if (one.act === 'cancel') {
      await untilRunning(task);
      expect(await task.cancel()).toBe(true);
    }
    if (one.expect.failure === undefined) await expectValue(task, decodeCase(one.expect.value));
    else await expectFailure(task, one.expect.failure);
    if (one.expect.log !== undefined) await expectLog(task, one.expect.log);
    if (one.expect.outputs !== undefined) await expectOutputs(task, one.expect.outputs);
  });
});

function includeOf({ include }: Case): IncludeOptions {
  if (include === undefined) return {};
  const folder = mkdtempSync(join(scratch, 'include-'));
  for (const [path, text] of Object.entries(include.files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const nameOf = (module: string): string =>
    include.files[`${module}.py`] === undefined ? module : `${module}.py`;
  return {
    includeModules: include.modules?.map(nameOf),
    includeData: include.data,
    includeFrom: folder,
  };
}

async function expectValue(task: Task, value: Value): Promise<void> {
  expect(await task.error(wait)).toBeNull();
  const result = await task.result();
  expect(plain(result)).toEqual(plain(value));
  expect(await task.status()).toBe('SUCCESS');
  expect(await task.state()).toBe('done');
}

async function expectFailure(
  task: Task,
  expected: NonNullable<Case['expect']['failure']>,
): Promise<void> {
  const error = await caughtFrom(task.result(wait));
  expect(error).toBeInstanceOf(TaskFailed);
  if (!(error instanceof TaskFailed)) return;
  expect(await task.error()).toEqual(error);
  expect(await task.status()).toBe('FAILURE');
  expect(error.code).toBe(expected.code);
  if (expected.exception !== undefined) expect(error.remoteName).toBe(expected.exception);
  expect(error.remoteMessage).toContain(expected.messageContains ?? '');
  expect(error.traceback).toContain(expected.tracebackContains ?? '');
  expect(error.logTail).toContain(expected.logTailContains ?? '');
  if (expected.attempts === undefined) return;
  expect(error.attempts).toBe(expected.attempts);
  expect(await task.attempts()).toHaveLength(expected.attempts);
}

async function expectOutputs(
  task: Task,
  expected: NonNullable<Case['expect']['outputs']>,
): Promise<void> {
  const found = await task.outputs(wait);
  const read = async ({ name, mediaType }: TaskOutput, at: number) => ({
    name,
    mediaType,
    content: plain(await found[at]?.read()),
  });
  expect(await Promise.all(found.map(read))).toEqual(
    expected.map((one) => ({ ...one, content: plain(decodeCase(one.content)) })),
  );
}

async function expectLog(
  task: Task,
  expected: { equals?: string; contains?: string[] },
): Promise<void> {
  const log = await task.log();
  if (expected.equals !== undefined) expect(log).toBe(expected.equals);
  for (const part of expected.contains ?? []) expect(log).toContain(part);
}

/** The value that a table's JSON stands for; see test/contract/sdk-cases.md. */
function decodeCase(written: unknown): Value {
  if (Array.isArray(written)) return written.map(decodeCase);
  if (typeof written !== 'object' || written === null) return written as Value;
  const [entry, ...more] = Object.entries(written);
  if (entry !== undefined && more.length === 0) {
    const [key, inner] = entry;
    if (key === '$bytes') return Buffer.from(inner, 'base64');
    if (key === '$tuple') return inner.map(decodeCase);
    if (key === '$float') return { inf: Infinity, '-inf': -Infinity }[String(inner)] ?? NaN;
    if (key === '$soon') return Date.now() / 1000 + inner;
    if (key === '$repeat') return inner[0].repeat(inner[1]);
  }
  return Object.fromEntries(
    Object.entries(written).map(([key, value]) => [key, decodeCase(value)]),
  );
}

/** Bytes compare as bytes, whatever class holds them. */
function plain(value: unknown): unknown {
  return value instanceof Uint8Array ? [...value] : value;
}

async function caughtFrom(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
}

/** Returns once the mesh runs the task, asking as fast as it answers. */
async function untilRunning(task: Task<unknown>): Promise<void> {
  const deadline = AbortSignal.timeout(60_000);
  while ((await task.state()) !== 'running') deadline.throwIfAborted();
}

describe('a map', () => {
  it('takes a thousand tasks from a generator, in their order, each completed once', async () => {
    const fn = await mesh.createFunction<number>({
      source: pythonOf('def f(x):', '    return x + 1'),
    });
    function* numbers(): Generator<number> {
      for (let number = 0; number < 1000; number += 1) yield number;
    }
    const tasks = await fn.map(numbers());
    const seen = new Set<Task<number>>();
    for await (const task of asCompleted(tasks, wait)) {
      expect(seen.has(task)).toBe(false);
      seen.add(task);
    }
    expect(seen.size).toBe(1000);
    const values = await Promise.all(tasks.map((task) => task.result()));
    expect(values).toEqual(Array.from({ length: 1000 }, (_, index) => index + 1));
    await fn.waitForCompletion(wait);
    expect((await fn.describe()).tasks.succeeded).toBe(1000);
  });

  it('takes asynchronous iterables in step with others, and fills up with null', async () => {
    const fn = await mesh.createFunction({ source: pythonOf('def f(a, b):', '    return [a, b]') });
    async function* letters(): AsyncGenerator<string> {
      yield 'a';
      yield 'b';
    }
    const tasks = await fn.map([[1, 2]], letters());
    expect(await Promise.all(tasks.map((task) => task.result(wait)))).toEqual([
      [[1, 2], 'a'],
      [null, 'b'],
    ]);
  });

  it('reads an iterable no further than it has sent, and says which tasks are on disk', async () => {
    const fn = await mesh.createFunction({ source: identity });
    let reads = 0;
    let isClosed = false;
    function* breaking(): Generator<number> {
      try {
        for (;;) {
          reads += 1;
          if (reads > 150) throw new RangeError('no more scenes');
          yield reads;
        }
      } finally {
        isClosed = true;
      }
    }
    const error = await caughtFrom(fn.map(breaking()));
    expect(error).toBeInstanceOf(MapError);
    if (!(error instanceof MapError)) return;
    expect(error.cause).toBeInstanceOf(RangeError);
    // The first batch is of a hundred tasks, or of fewer when they were slow to come.
    const count = error.tasks.length;
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(100);
    expect(await error.tasks[count - 1]?.result(wait)).toBe(count);
    await fn.waitForCompletion(wait);
    expect((await fn.describe()).tasks.succeeded).toBe(count);
    expect(isClosed).toBe(true);
  });

  it('ends with its signal, and closes the iterable', async () => {
    const fn = await mesh.createFunction({ source: identity });
    const controller = new AbortController();
    let isClosed = false;
    async function* endless(): AsyncGenerator<number> {
      try {
        for (let read = 0; ; read += 1) {
          if (read === 0) controller.abort(new Error('enough'));
          yield read;
        }
      } finally {
        isClosed = true;
      }
    }
    const error = await caughtFrom(fn.within({ signal: controller.signal }).map(endless()));
    expect(error).toMatchObject({ message: 'enough' });
    expect(isClosed).toBe(true);
    expect((await fn.describe()).tasks).toEqual({ queued: 0, running: 0, succeeded: 0, failed: 0 });
  });

  it('refuses a value that msgpack cannot hold, before anything is sent', async () => {
    const fn = await mesh.createFunction({ source: identity });
    const bad = new Map([[1, 2]]) as unknown as Value;
    const error = await caughtFrom(fn.map([{ scenes: [1, bad] }]));
    expect(error).toMatchObject({ code: 'invalid_request' });
    expect(String(error)).toContain('argument 0["scenes"][1] is a Map');
  });
});

describe('large values', () => {
  it('go and come back as blobs, several megabytes of bytes', async () => {
    const fn = await mesh.createFunction<Uint8Array>({ source: identity });
    const bytes = new Uint8Array(5 * 1024 * 1024).map((_, index) => index * 31 + (index >> 8));
    const task = await fn.call([bytes]);
    const result = await task.result(wait);
    expect(Buffer.compare(result, bytes)).toBe(0);
    expect((await task.describe()).resultBytes).toBeGreaterThan(bytes.length);
  });

  it('may be the source itself', async () => {
    const fn = await mesh.createFunction({
      source: `text = '${'x'.repeat(1_200_000)}'\n\ndef f():\n    return len(text)\n`,
    });
    expect(await (await fn.call()).result(wait)).toBe(1_200_000);
  });

  it('are integers, whole, on the way there and back', async () => {
    const fn = await mesh.createFunction({
      source: pythonOf('def f(*values):', '    return [[repr(v), v] for v in values]'),
    });
    const values = [4_294_967_296, -9_007_199_254_740_991, 9_007_199_254_740_993n];
    const result = await (await fn.call(values)).result(wait);
    expect(result).toEqual(values.map((value) => [expect.stringMatching(`^${value}L?$`), value]));
  });
});

describe('waits', () => {
  it('end with timed_out after their time, or with the reason of the signal', async () => {
    const fn = await mesh.createFunction({ source: sleeper });
    const task = await fn.call([600]);
    const late = await caughtFrom(task.result({ timeoutMs: 50 }));
    expect(late).toMatchObject({ name: 'PerigeeError', code: 'timed_out' });
    const iterated = await caughtFrom(asCompleted([task], { timeoutMs: 50 }).next());
    expect(iterated).toMatchObject({ code: 'timed_out' });

    const controller = new AbortController();
    const reason = new Error('closed by the user');
    const waits = [
      task.result({ signal: controller.signal }),
      task.wait({ signal: controller.signal }),
      asCompleted([task], { signal: controller.signal }).next(),
      fn.waitForCompletion({ signal: controller.signal }),
    ].map(caughtFrom);
    controller.abort(reason);
    expect(await Promise.all(waits)).toEqual([reason, reason, reason, reason]);
    expect(await caughtFrom(fn.call([1], {}, { signal: controller.signal }))).toBe(reason);

    // Giving up the wait did not end the task; cancelling does, once.
    expect(await task.state()).not.toBe('done');
    expect(await task.cancel()).toBe(true);
    expect(await task.error(wait)).toMatchObject({ code: 'cancelled' });
    expect(await task.cancel()).toBe(false);
  });

  it('follow the order in which tasks end, whatever the order they were given in', async () => {
    const fn = await mesh.createFunction<string>({ source: sleeper });
    const slow = await fn.call([600, 'slow']);
    const quick = await fn.call([0, 'quick']);
    const other = await mesh.createFunction<string>({ source: sleeper, name: 'another' });
    const late = await other.call([0.2, 'late']);
    const order: Task<string>[] = [];
    for await (const task of asCompleted([slow, late, quick, late], wait)) {
      order.push(task);
      if (order.length === 2) await slow.cancel();
    }
    expect(order).toEqual([expect.anything(), expect.anything(), slow]);
    const outcomes = await Promise.all(order.map((task) => task.describe()));
    const numbers = outcomes.map((view) => view.outcomeNumber ?? 0);
    expect(numbers).toEqual(numbers.toSorted((one, two) => one - two));
    expect(new Set(order)).toEqual(new Set([slow, quick, late]));
  });

  it('know a rebuilt task, and say at once that another is not there', async () => {
    const fn = await mesh.createFunction<number>({ source: identity });
    const task = await fn.call([7]);
    await using other = await connect({
      url: real.env.PERIGEE_URL,
      token: real.env.PERIGEE_TOKEN,
    });
    const rebuilt = other.task<number>(task.guid, task.tuid);
    expect(await rebuilt.result(wait)).toBe(7);
    const done = asCompleted([other.task(task.guid, task.tuid)], wait);
    expect((await done.next()).value?.tuid).toBe(task.tuid);
    expect((await done.next()).done).toBe(true);
    const missing = other.task(task.guid, '999999-0');
    expect(await caughtFrom(asCompleted([missing]).next())).toMatchObject({ code: 'not_found' });
    expect(await caughtFrom(missing.result())).toMatchObject({ code: 'not_found' });
    const wrongGroup = other.task('ffffffffffff', task.tuid);
    expect(await caughtFrom(wrongGroup.result())).toMatchObject({ code: 'not_found' });
    expect(await (await (await other.findFunction(fn.guid)).call([8])).result(wait)).toBe(8);
  });

  it('see what a task prints while it runs', async () => {
    const fn = await mesh.createFunction({
      source: pythonOf('import time', 'def f():', '    print("begun")', '    time.sleep(600)'),
    });
    const task = await fn.call();
    const log = task.followLog(wait);
    const first = await log.next();
    expect(Buffer.from(first.value ?? []).toString()).toBe('begun\n');
    expect(await task.state()).toBe('running');
    await task.cancel();
    for await (const _ of log);
    expect(await task.log()).toBe('begun\n');
  });

  it('end when the mesh is closed', async () => {
    const other = await connect({ url: real.env.PERIGEE_URL, token: real.env.PERIGEE_TOKEN });
    const fn = await other.createFunction({ source: sleeper });
    const task = await fn.call([600]);
    const waiting = caughtFrom(task.result());
    const iterated = caughtFrom(asCompleted([task]).next());
    await task.state();
    await other.close();
    expect(await waiting).toMatchObject({ code: 'invalid_request' });
    expect(await iterated).toMatchObject({ code: 'invalid_request' });
    expect(await caughtFrom(task.state())).toMatchObject({ code: 'invalid_request' });
    await mesh.task(task.guid, task.tuid).cancel();
  });
});

describe('connecting', () => {
  it('says what is wrong with the token, the address or the identity', async () => {
    const { PERIGEE_URL: url, PERIGEE_TOKEN: token } = real.env;
    const environment = { PERIGEE_CONFIG: join(scratch, 'no-config.json') };
    const wrong = await caughtFrom(connect({ url, token: 'perigee_wrong', environment }));
    expect(wrong).toMatchObject({ name: 'PerigeeError', code: 'token_wrong' });
    expect(await caughtFrom(connect({ url, environment }))).toMatchObject({
      code: 'token_missing',
    });
    expect(await caughtFrom(connect({ environment }))).toMatchObject({ code: 'unreachable' });
    const nowhere = connect({ url: 'http://127.0.0.1:9', token, environment, timeoutMs: 30_000 });
    expect(await caughtFrom(nowhere)).toMatchObject({ code: 'unreachable' });
    const aborted = connect({ url, token, signal: AbortSignal.abort(new Error('not now')) });
    expect(await caughtFrom(aborted)).toMatchObject({ message: 'not now' });

    const config = join(scratch, 'config.json');
    const peerId = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp';
    writeFileSync(config, JSON.stringify({ url, token, peerId, data: '' }), { mode: 0o600 });
    const stranger = await caughtFrom(connect({ environment: { PERIGEE_CONFIG: config } }));
    expect(stranger).toMatchObject({ code: 'forbidden', details: { pinned: peerId } });
  });

  it('makes the namespace of the token, and reads a function from a file', async () => {
    expect(await mesh.createNamespace()).toMatchObject({ namespace: 'default' });
    const file = join(scratch, 'twice.py');
    writeFileSync(file, pythonOf('def other():', '    pass', 'def twice(x):', '    return 2 * x'));
    expect(await caughtFrom(mesh.createFunction({ file }))).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('other, twice'),
    });
    const fn = await mesh.createFunction<number>({
      file,
      entry: 'twice',
      cpus: 0.5,
      memory: '1Gi',
    });
    expect(await fn.describe()).toMatchObject({ name: 'twice', cpus: 0.5, memoryBytes: 2 ** 30 });
    expect(await (await fn.call([21])).result(wait)).toBe(42);
    expect(await fn.setLimits({ maximumConcurrency: 1 })).toMatchObject({ maximumConcurrency: 1 });
    await fn.terminate();
    expect(await caughtFrom(fn.call([1]))).toMatchObject({ code: 'group_terminated' });
  });
});

describe('a coordinator that is killed', () => {
  let killable: KillableMesh;
  let client: Mesh;
  let fn: CloudFunction<number>;

  beforeAll(async () => {
    killable = await startKillable();
    client = await connect({ url: killable.url, token: killable.token });
    fn = await client.createFunction<number>({
      source: pythonOf('import time', 'def f(x):', '    time.sleep(0.05)', '    return x'),
    });
  });

  afterAll(async () => {
    await client?.close();
    await killable?.close();
  });

  it('comes back: each completion is seen once, and maps are taken once', async () => {
    const tasks = await fn.map(Array.from({ length: 30 }, (_, index) => index));
    const seen: number[] = [];
    let later: Promise<Task<number>[]> | undefined;
    for await (const task of asCompleted(tasks, wait)) {
      seen.push(await task.result());
      if (seen.length !== 3) continue;
      process.kill(killable.coordinator, 'SIGKILL');
      // Submitted while nobody is there.
      later = fn.map(Array.from({ length: 120 }, (_, index) => 100 + index));
    }
    expect(seen.toSorted((one, two) => one - two)).toEqual(tasks.map((_, index) => index));
    const others = (await later) ?? [];
    const values = await Promise.all(others.map((task) => task.result(wait)));
    expect(values).toEqual(Array.from({ length: 120 }, (_, index) => 100 + index));
    await fn.waitForCompletion(wait);
    expect((await fn.describe()).tasks).toEqual({
      queued: 0,
      running: 0,
      succeeded: 150,
      failed: 0,
    });
  });

  it('that stays away is said after the time that it may', async () => {
    const patient = await connect({ url: killable.url, token: killable.token, awayMsMax: 300 });
    try {
      const task = await fn.call([1]);
      await task.result(wait);
      const waiting = caughtFrom(
        patient.createFunction({ source: sleeper }).then(async (sleeping) => {
          const long = await sleeping.call([600]);
          return long.result();
        }),
      );
      await killable.killAll();
      expect(await waiting).toMatchObject({ code: 'unreachable', cause: expect.anything() });
    } finally {
      await patient.close();
    }
  });
});

describe('the package', () => {
  it('installs from its tarball into an empty folder, with types, and runs the examples of its guide', async () => {
    const folder = mkdtempSync(join(scratch, 'consumer-'));
    const node = join(checkout, 'node_modules/.bin/node');
    const packed = await runProgram([node, 'sdk/ts/build.mjs', '--pack', folder]);
    expect(packed.status, packed.stderr + packed.stdout).toBe(0);
    const app = join(folder, 'app');
    mkdirSync(app);
    writeFileSync(join(app, 'package.json'), '{"private": true, "type": "module"}\n');
    const tarball = join(folder, 'perigee-sdk-0.1.0.tgz');
    const installed = await runProgram(
      [
        'npm',
        'install',
        '--prefer-offline',
        '--ignore-scripts',
        '--no-audit',
        '--no-fund',
        tarball,
      ],
      { cwd: app },
    );
    expect(installed.status, installed.stderr).toBe(0);

    const examples = readExamples();
    expect(examples.length).toBeGreaterThanOrEqual(4);
    for (const [index, { code }] of examples.entries()) {
      writeFileSync(join(app, `example-${index}.ts`), code);
    }
    // A value that is no `Value` must be an error: types that silently became `any` would take it.
    writeFileSync(
      join(app, 'wrong.ts'),
      [
        "import { connect, type Task } from 'perigee-sdk';",
        'await using mesh = await connect();',
        "const fn = await mesh.createFunction<number>({ source: '' });",
        '// @ts-expect-error a function is no value',
        'const task = await fn.call([() => 1]);',
        '// @ts-expect-error the result is a number',
        'const text: Task<string> = task;',
        '// @ts-expect-error a function needs its source',
        "await mesh.createFunction({ name: 'f' });",
        'export { text };',
        '',
      ].join('\n'),
    );
    const types = join(checkout, 'node_modules/@types');
    writeFileSync(
      join(app, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          exactOptionalPropertyTypes: true,
          module: 'nodenext',
          target: 'es2024',
          lib: ['es2024', 'esnext.disposable'],
          noEmit: true,
          skipLibCheck: false,
          types: ['node'],
          typeRoots: [types],
        },
      }),
    );
    const checked = await runProgram(
      [node, join(checkout, 'node_modules/typescript/bin/tsc'), '-p', app],
      { cwd: app },
    );
    expect(checked.status, checked.stdout).toBe(0);

    const environment = { PATH: process.env['PATH'], HOME: folder, ...real.env };
    for (const [index, { output }] of examples.entries()) {
      const ran = await runProgram([node, `example-${index}.ts`], { cwd: app, env: environment });
      expect(ran.stdout, ran.stderr).toBe(output);
      expect(ran.status, ran.stderr).toBe(0);
    }
  }, 180_000);

  it('has the version, and declares at the checkout’s versions all that it imports', async () => {
    const own = readManifest('sdk/ts/package.json');
    const root = readManifest('package.json');
    expect(own.version).toBe(root.version);
    for (const [name, wanted] of Object.entries(own.dependencies)) {
      expect(root.dependencies[name], name).toBe(wanted);
    }
    const { version } = await import('../../sdk/ts/version.ts');
    expect(own.version).toBe(version);
    expect(Object.keys(own.exports['.'] ?? {})).toEqual(['types', 'default']);
  });
});

interface Manifest {
  version: string;
  dependencies: Record<string, string>;
  exports: Record<string, Record<string, string>>;
}

function readManifest(path: string): Manifest {
  return JSON.parse(readFileSync(join(checkout, path), 'utf8'));
}

/** The guide's examples, each with what it prints. */
function readExamples(): { code: string; output: string }[] {
  const guide = readFileSync(join(checkout, 'docs/typescript.md'), 'utf8');
  const pattern = /```ts\n([\s\S]*?)```\n```text\n([\s\S]*?)```/g;
  return [...guide.matchAll(pattern)].map(([, code = '', output = '']) => ({ code, output }));
}
