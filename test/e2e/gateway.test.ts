/** The gateway in a real coordinator process: what was acknowledged outlives `kill -9`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exitCodes } from '../../protocol/base/errors.ts';
import { encodeBlock } from '../../protocol/wire/block.ts';
import { createOutcomeRecordReader } from '../../protocol/wire/outcome-record.ts';

const root = join(import.meta.dirname, '../..');
let folder: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'perigee-gateway-e2e-'));
  const digest = `sha256:${'2'.repeat(64)}`;
  await mkdir(join(folder, 'home/images', digest), { recursive: true });
  // An image by its description alone: nothing runs in these tests.
  const image = {
    name: 'perigee/geospatial:py2.7',
    names: ['perigee/geospatial:py2.7'],
    digest,
    python: { implementation: 'CPython', version: '2.7.18', path: '/usr/bin/python2.7' },
    arch: process.arch,
    packages: {},
    sizeBytes: 1,
  };
  await writeFile(join(folder, 'home/images', digest, 'image.json'), JSON.stringify(image));
});
afterEach(async () => {
  for (const child of children.splice(0)) await end(child, 'SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

function launch(...flags: string[]): ChildProcess {
  const child = spawn(
    process.execPath,
    [join(root, 'coordinator/main.ts'), '--data', join(folder, 'data'), '--json', ...flags],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PERIGEE_HOME: join(folder, 'home') },
    },
  );
  children.push(child);
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await once(child, 'exit');
}

interface Running {
  child: ChildProcess;
  url: string;
  token: string;
  call(method: string, path: string, init?: RequestInit): Promise<Response>;
}

async function start(...flags: string[]): Promise<Running> {
  const child = launch(...flags);
  if (child.stdout === null) throw new Error('stdout is piped');
  child.stderr?.resume();
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { url, token } = JSON.parse(line) as { url: string; token: string };
  return {
    child,
    url,
    token,
    call: (method, path, init = {}) =>
      fetch(url + path, {
        ...init,
        method,
        headers: { authorization: `Bearer ${token}`, ...init.headers },
      }),
  };
}

/** What a start that must fail leaves: its exit code, and what it said. */
async function refusedStart(...flags: string[]): Promise<{ code: number; text: string }> {
  const child = launch(...flags);
  let text = '';
  child.stderr?.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  const [code] = (await once(child, 'exit')) as [number];
  return { code, text };
}

async function createGroup(running: Running): Promise<string> {
  const response = await running.call('POST', '/v1/groups', {
    body: JSON.stringify({
      name: 'ndvi',
      function: { kind: 'pickle', inline: 'YQ==' },
      python: { implementation: 'CPython', version: '2.7.18' },
    }),
  });
  expect(response.status).toBe(201);
  return ((await response.json()) as { group: { id: string } }).group.id;
}

const block = encodeBlock(Array.from({ length: 50 }, (_, index) => Buffer.from(`P${index}`)));

function submit(running: Running, group: string, uuid: string): Promise<Response> {
  return running.call('PUT', `/v1/groups/${group}/batches/${uuid}`, {
    body: new Uint8Array(block),
    headers: { 'x-perigee-count': '50', 'content-type': 'application/octet-stream' },
  });
}

describe('a coordinator that is killed', () => {
  it('has what it acknowledged, answers a repeated batch as before, and numbers outcomes on', async () => {
    const first = await start();
    const group = await createGroup(first);
    const uuid = randomUUID();
    const taken = await submit(first, group, uuid);
    expect(taken.status).toBe(201);
    const view = await taken.json();
    await first.call('POST', '/v1/tasks/1-0/cancel');
    await end(first.child, 'SIGKILL');

    const second = await start();
    // Ports are kept with the directory: clients find it again.
    expect([second.url, second.token]).toEqual([first.url, first.token]);
    const again = await submit(second, group, uuid);
    expect([again.status, await again.json()]).toEqual([200, view]);
    await second.call('POST', '/v1/tasks/1-1/cancel');
    const stream = await second.call('GET', '/v1/outcomes?after=0');
    const records = createOutcomeRecordReader().push(new Uint8Array(await stream.arrayBuffer()));
    expect(records).toMatchObject([
      { outcomeNumber: 1, batch: 1, index: 0, status: 'cancelled' },
      { outcomeNumber: 2, batch: 1, index: 1, status: 'cancelled' },
      { kind: 'heartbeat', outcomeNumber: 2 },
    ]);
    await end(second.child, 'SIGTERM');
    expect(second.child.exitCode).toBe(exitCodes.ok);
  });

  it('ends open streams, and a client goes on where it was', async () => {
    const first = await start();
    const group = await createGroup(first);
    await submit(first, group, randomUUID());
    const stream = await first.call('GET', '/v1/outcomes?after=0&follow=true');
    const body = stream.body?.getReader();
    if (body === undefined) throw new Error('the stream has a body');
    const reader = createOutcomeRecordReader();
    await first.call('POST', '/v1/tasks/1-7/cancel');
    let last = 0;
    while (last < 1) {
      const { value } = await body.read();
      for (const record of reader.push(value ?? new Uint8Array(0))) last = record.outcomeNumber;
    }
    await end(first.child, 'SIGKILL');
    await expect(body.read()).rejects.toThrow();

    const second = await start();
    const cancelled = second.call('DELETE', `/v1/groups/${group}`);
    const rest = await second.call('GET', `/v1/outcomes?after=${last}&follow=true`);
    const seen = new Set<number>();
    const resumed = createOutcomeRecordReader();
    for await (const chunk of rest.body ?? []) {
      for (const record of resumed.push(chunk)) {
        if (record.kind === 'outcome') seen.add(record.index);
      }
      if (seen.size === 49) break;
    }
    expect(seen.has(7)).toBe(false);
    expect((await cancelled).status).toBe(200);
  });
});

describe('a coordinator that may not listen', () => {
  it('beyond loopback without TLS says so and exits', async () => {
    const { code, text } = await refusedStart('--host', '0.0.0.0');
    expect(code).toBe(exitCodes.usage);
    expect(text).toContain('--insecure-http');
  });

  it('on a port in use says so and exits', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { code, text } = await refusedStart('--port', String(port));
    taken.close();
    expect(code).toBe(exitCodes.refused);
    expect(text).toContain(`Port ${port} on 127.0.0.1 is in use`);
  });
});
