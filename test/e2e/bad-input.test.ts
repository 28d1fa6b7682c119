/** Whatever is wrong gets its code, its text and its fix, and another client's map loses nothing by it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorTable } from '../../protocol/base/errors.ts';
import { encodeBlock } from '../../protocol/wire/block.ts';
import { batchBytesMax, batchTasksMax, jsonBytesMax } from '../../protocol/wire/limits.ts';
import { type Mesh, startMesh, unshareMounts } from '../chaos/mesh.ts';
import { createScripts, pythons, type Scripts } from '../chaos/scripts.ts';
import { createTasks, describeGroup, type Problem, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { startWitness, type Witness } from '../chaos/witness.ts';
import { type Ended, launcher, runProgram } from '../setup/run-program.ts';

let mesh: Mesh;
let tasks: Tasks;
let scripts: Scripts;
let witness: Witness;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-bad-input-'));
  mesh = await startMesh({ PERIGEE_NODE_IDLE_MS: '120000' });
  tasks = createTasks(mesh);
  scripts = createScripts({ ...mesh.environment, PERIGEE_RETRY_SECONDS: '2' });
  witness = await startWitness(mesh);
});

afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  rmSync(folder, { recursive: true, force: true });
});

afterEach(() => witness.goesOn());

/** What a refusal must be: its code, the table's status, and a fix that is not empty. */
const refusal = (code: keyof typeof errorTable, more: Partial<Problem> = {}) => ({
  status: errorTable[code].httpStatus,
  json: {
    code,
    fix: expect.stringMatching(/\w{3}/),
    detail: expect.stringMatching(/\w{3}/),
    ...more,
  },
});

/** A command of the CLI with a token of its own. */
const command = (words: string[], env: NodeJS.ProcessEnv = {}) =>
  runProgram([launcher, ...words], {
    env: { ...mesh.environment, PERIGEE_URL: mesh.url, PERIGEE_TOKEN: mesh.token, ...env },
  });

const hello = `
from perigee import AsyncTasks
def hello(i):
    return i
print(AsyncTasks().create_function(hello, image='perigee/geospatial:py2.7')(1).result)
`;

describe('an access token', () => {
  async function makeToken(options: Record<string, unknown> = {}) {
    const body = JSON.stringify({ role: 'user', namespace: 'default', ...options });
    const { json } = await tasks.request('POST', '/v1/tokens', { body });
    return json as { id: string; token: string };
  }

  /** Refused over HTTP, by the CLI and by the SDK, alike. */
  async function expectRefused(
    token: string,
    code: 'token_wrong' | 'token_expired' | 'token_revoked',
  ) {
    const { fix, text } = errorTable[code];
    const answer = await createTasks({ ...mesh, url: mesh.url, token }).request(
      'GET',
      '/v1/groups',
    );
    expect(answer).toMatchObject(refusal(code, { detail: text, fix }));
    const env = { PERIGEE_URL: mesh.url, PERIGEE_TOKEN: token };
    const [listed, scripted] = await Promise.all([
      command(['groups'], env),
      scripts.run(hello, { env }),
    ]);
    expect(listed).toMatchObject({ status: 4, stdout: '' });
    expect(listed.stderr).toContain(`[${code}]`);
    expect(listed.stderr).toContain(`fix: ${fix}`);
    expect(scripted).toMatchObject({ status: 1, stdout: '' });
    expect(scripted.stderr).toContain(`AuthError: ${text}\n  fix: ${fix}`);
  }

  it('that is wrong is refused', () => expectRefused('pga_nobody_knows_this', 'token_wrong'));

  it('that has expired is refused', async () => {
    const { token } = await makeToken({ ttlSeconds: 1 });
    const own = createTasks({ url: mesh.url, token });
    expect((await own.request('GET', '/v1/groups')).status).toBe(200);
    await waitFor('it has expired', async () =>
      (await own.request('GET', '/v1/groups')).status === 401 ? true : undefined,
    );
    await expectRefused(token, 'token_expired');
  });

  it('that was revoked is refused, and its open stream ends', async () => {
    const { id, token } = await makeToken();
    const stream = await fetch(`${mesh.url}/v1/outcomes?after=0&follow=true`, {
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(10_000),
    });
    const ended = stream.arrayBuffer();
    await tasks.request('DELETE', `/v1/tokens/${id}`);
    await ended;
    await expectRefused(token, 'token_revoked');
  });

  it('that is missing is refused', async () => {
    const answer = await fetch(`${mesh.url}/v1/groups`);
    expect(answer.status).toBe(401);
    expect(await answer.json()).toMatchObject({
      code: 'token_missing',
      fix: errorTable.token_missing.fix,
    });
  });
});

describe('a join token', () => {
  const agent = (joinToken: string) =>
    runProgram([launcher, 'agent', '--join', mesh.join, '--name', 'stranger'], {
      env: { ...mesh.environment, PERIGEE_JOIN_TOKEN: joinToken },
    });

  it.each([
    {
      what: 'wrong',
      says: 'The join token is not known to this mesh.',
      make: async () => 'pgj_wrong',
    },
    {
      what: 'revoked',
      says: 'The join token was revoked.',
      make: async () => {
        const { json } = await tasks.request('POST', '/v1/join-tokens', { body: '{}' });
        const { id, token } = json as { id: string; token: string };
        await tasks.request('DELETE', `/v1/join-tokens/${id}`);
        return token;
      },
    },
  ])('that is $what ends the agent with its code and its fix', async ({ says, make }) => {
    const ended = await agent(await make());
    expect(ended.status).toBe(errorTable.join_token_wrong.exitCode);
    expect(ended.stderr).toContain(`perigee agent: ${says}\n`);
    expect(ended.stderr).toContain(`${errorTable.join_token_wrong.fix} (join_token_wrong)`);
    const names = (await tasks.nodes()).map((node) => node.name);
    expect(names).not.toContain('stranger');
  });
});

describe('an unknown image', () => {
  it('is refused with the names that are near', async () => {
    const group = describeGroup('def work(value): pass', { image: 'perigee/geospatail:py2.7' });
    const answer = await tasks.request('POST', '/v1/groups', { body: group });
    expect(answer).toMatchObject(refusal('image_unknown'));
    const { detail, fix } = answer.json as Problem;
    expect(`${detail} ${fix}`).toContain('perigee/geospatial:py2.7');
  });

  it('ends a script at create_function, before anything is submitted', async () => {
    const ended = await scripts.run(hello.replace('geospatial:py2.7', 'geospatial:py2.8'));
    expect(ended).toMatchObject({ status: 1, stdout: '' });
    expect(ended.stderr).toContain('in create_function');
    expect(ended.stderr).toContain('ImageUnknownError');
    expect(ended.stderr).toContain('perigee/geospatial:py2.7');
    expect(ended.stderr).toMatch(/\n {2}fix: \w/);
  });
});

describe.each(pythons)('what cannot be pickled on Python $version', ({ flag, image }) => {
  it('is named with its way through the function or the argument, and nothing is submitted', async () => {
    const script = `
from __future__ import print_function
import socket, threading
from perigee import AsyncTasks, MapError, PicklingError
at = AsyncTasks()
session = {'connection': socket.socket()}
def uses(i):
    return session['connection'].recv(i)
try:
    at.create_function(uses, name='unpicklable-function', image='${image}')
    print('taken')
except PicklingError as error:
    print(error.code, '|', error.path, '|', error.fix)

f = at.create_function(lambda i: 1, name='unpicklable-argument', image='${image}')
for call in (lambda: f({'lock': threading.Lock()}), lambda: f.map([{'lock': threading.Lock()}, 2])):
    try:
        call()
        print('taken')
    except PicklingError as error:
        print(error.code, '|', error.path, '|', error.fix)
counts = f._document()['tasks']
print(sum(counts.values()))
# In the middle of a long map, what was on disk before runs and can be had.
try:
    f.map(threading.Lock() if i == 5000 else i for i in range(6000))
    print('taken')
except MapError as error:
    print(len(error.tasks) >= 100, [task.result for task in error.tasks[:3]], type(error.cause).__name__)
`;
    const ended = await scripts.run(script, { flag });
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const [fn, call, map, count, partial] = ended.stdout.split('\n');
    expect(fn).toMatch(/^unpicklable \| .*global 'session' -> \['connection'\].* \| \w+/);
    expect(call).toMatch(/^unpicklable \| .*lock.* \| \w+/);
    expect(map).toMatch(/^unpicklable \| .*lock.* \| \w+/);
    expect(count).toBe('0');
    expect(partial).toBe('True [1, 1, 1] PicklingError');
    const { json } = await tasks.request('GET', '/v1/groups?name=unpicklable-function');
    expect(json).toMatchObject({ items: [] });
  });

  it('ends a script that does not catch it with status 1', async () => {
    const script = `
import threading
from perigee import AsyncTasks
lock = threading.Lock()
def uses(i):
    with lock:
        return i
AsyncTasks().create_function(uses, image='${image}')
`;
    const ended = await scripts.run(script, { flag });
    expect(ended).toMatchObject({ status: 1, stdout: '' });
    expect(ended.stderr).toMatch(/PicklingError: [^\n]*lock[^\n]*\n {2}fix: \w/);
  });
});

describe('too large a payload', () => {
  const submit = async (group: string, count: number, body: Uint8Array) =>
    tasks.request('PUT', `/v1/groups/${group}/batches/${randomUUID()}`, {
      headers: { 'content-type': 'application/octet-stream', 'x-perigee-count': String(count) },
      body: new Uint8Array(body),
    });

  it('is refused with its limit: a batch, a task of it, their number, a JSON body', async () => {
    const group = await tasks.create('def work(value):\n    return value\n');
    const payload = Buffer.from('J[[1], {}]');
    const large = Buffer.alloc(60_000, 'J');
    const tries = [
      { answer: submit(group, 300, encodeBlock(Array(300).fill(large))), limit: '16' },
      {
        answer: submit(
          group,
          batchTasksMax + 1,
          encodeBlock(Array(batchTasksMax + 1).fill(payload)),
        ),
        limit: '5,?000',
      },
      {
        answer: submit(group, 1, encodeBlock([Buffer.alloc(70_000, 'J')])),
        limit: '64|65,?53[67]',
      },
      {
        answer: tasks.request('POST', '/v1/groups', {
          body: describeGroup('x', { name: 'x'.repeat(jsonBytesMax) }),
        }),
        limit: '4',
      },
    ];
    expect(300 * large.length).toBeGreaterThan(batchBytesMax);
    for (const { answer, limit } of tries) {
      const found = await answer;
      expect(found).toMatchObject(refusal('too_large'));
      expect((found.json as Problem).detail).toMatch(new RegExp(limit));
    }
    const { tasks: counts } = await tasks.group(group);
    expect(counts).toEqual({ queued: 0, running: 0, succeeded: 0, failed: 0 });
    // The same connection and group take what is small enough.
    const [task = ''] = await tasks.submit(group, [7]);
    await tasks.settle(task);
    expect(await tasks.result(task)).toBe(7);
  });

  it('is refused when it is not what its head says', async () => {
    const group = await tasks.create('def work(value):\n    return value\n');
    const block = encodeBlock([Buffer.from('J[[1], {}]')]);
    for (const [count, body] of [
      [2, block],
      [1, block.subarray(0, -1)],
      [1, randomBytes(1_000)],
      [0, new Uint8Array(0)],
    ] as const) {
      expect(await submit(group, count, body)).toMatchObject(refusal('invalid_request'));
    }
    expect((await tasks.group(group)).tasks.queued).toBe(0);
  });
});

/** `up` on a directory of its own, or a bad one, where it cannot start. */
function startInVain(
  data: string,
  options: { flags?: string[]; within?: string[] } = {},
): Promise<Ended> {
  const up = [launcher, 'up', '--data', data, ...(options.flags ?? [])];
  return runProgram([...(options.within ?? []), ...up], {
    env: { ...mesh.environment, PERIGEE_CONFIG: join(folder, 'config.json') },
  });
}

/** Both ways in which `up` says why it could not start, to people and to programs. */
async function expectNoStart(
  data: string,
  expected: { code: keyof typeof errorTable; says: string | RegExp; within?: string[] },
): Promise<void> {
  const { code, says, within = [] } = expected;
  const { exitCode, fix, text } = errorTable[code];
  const [told, machine] = await Promise.all([
    startInVain(data, { within }),
    startInVain(data, { within, flags: ['--json'] }),
  ]);
  expect(told).toMatchObject({ status: exitCode, stdout: '' });
  expect(told.stderr).toContain(`error: ${text} [${code}]\n`);
  expect(told.stderr).toMatch(says);
  expect(told.stderr).toContain(`  fix: ${fix}\n`);
  expect(machine).toMatchObject({ status: exitCode, stdout: '' });
  const problem: unknown = JSON.parse(machine.stderr.trimEnd().split('\n').at(-1) ?? '');
  expect(problem).toMatchObject({ code, fix, exitCode, detail: expect.stringMatching(says) });
}

describe('a data directory', () => {
  it('that another coordinator uses is refused, and that one goes on', () =>
    expectNoStart(mesh.data, { code: 'data_locked', says: mesh.data }));

  it('that cannot be written is refused', async () => {
    const data = join(folder, 'read-only');
    mkdirSync(data);
    await expectNoStart(data, { code: 'data_unwritable', says: data, within: readOnly(data) });
    expect(readdirSync(data)).toEqual([]);
  });

  it('of a newer version is refused, and left as it is', async () => {
    const data = join(folder, 'newer');
    mkdirSync(data);
    const file = join(data, 'perigee.db');
    const database = new Database(file);
    database.pragma('journal_mode = wal');
    database.pragma('user_version = 999');
    database.exec('create table from_the_future (value text)');
    database.close();
    const before = readFileSync(file);
    await expectNoStart(data, { code: 'data_newer', says: /schema 999/ });
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  it('whose database is damaged is refused, and left as it is', async () => {
    const data = join(folder, 'damaged');
    mkdirSync(data);
    const file = join(data, 'perigee.db');
    const bytes = randomBytes(16_384);
    writeFileSync(file, bytes);
    await expectNoStart(data, { code: 'data_corrupt', says: file });
    expect(readFileSync(file).equals(bytes)).toBe(true);
  });

  it('that is a file is refused', async () => {
    const data = join(folder, 'file');
    writeFileSync(data, 'mine');
    await expectNoStart(data, { code: 'data_unwritable', says: data });
    expect(readFileSync(data, 'utf8')).toBe('mine');
  });
});

/** What makes a directory read-only for one command: a mount of its own for root, whom no mode stops. */
function readOnly(data: string): string[] {
  const script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"';
  return [...unshareMounts(), 'sh', '-c', script, data];
}

describe('a port that is taken', () => {
  it.each(['--port', '--mesh-port'])('ends up with its code and its fix (%s)', async (flag) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? String(address.port) : '';
    try {
      const ended = await startInVain(join(folder, `port${flag}`), { flags: [flag, port] });
      expect(ended).toMatchObject({ status: errorTable.port_taken.exitCode, stdout: '' });
      expect(ended.stderr).toContain('[port_taken]');
      expect(ended.stderr).toContain(port);
      expect(ended.stderr).toMatch(/\n {2}fix: \w/);
    } finally {
      server.close();
    }
  });
});

describe('garbage on the HTTP port', () => {
  it('is answered as a bad request and the connection closed', async () => {
    const { hostname, port } = new URL(mesh.url);
    const socket = connect(Number(port), hostname);
    socket.end(Buffer.concat([randomBytes(2_000), Buffer.from('\r\n\r\n')]));
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('"invalid_request"');
  });
});

it('lost nothing of what the other client was mapping all the while', async () => {
  const verdict = await witness.end();
  expect(verdict.faults).toEqual([]);
  expect(verdict.tasks).toBeGreaterThan(50);
});
