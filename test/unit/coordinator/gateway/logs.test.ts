import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AttemptRef } from '../../../../protocol/wire/ids.ts';
import { logHeadBytes, logTailBytes } from '../../../../protocol/wire/limits.ts';
import type { GatewayMesh, TestNode } from './gateway-mesh.ts';
import {
  createTestGroup,
  problem,
  putBatch,
  raised,
  startGatewayMesh,
  succeeded,
} from './gateway-mesh.ts';

let mesh: GatewayMesh;
let node: TestNode;
beforeEach(async () => {
  mesh = await startGatewayMesh();
});
afterEach(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

const startTask = async (changes: Record<string, unknown> = {}): Promise<AttemptRef> => {
  const group = await createTestGroup(mesh, { changes });
  await putBatch(mesh, group, { count: 1 });
  node = mesh.join();
  const [attempt] = await node.held(1);
  if (attempt === undefined) throw new Error('an attempt is held');
  node.start([attempt]);
  return attempt;
};
const stored = (attempt: AttemptRef, bytes: number): Promise<unknown> =>
  expect.poll(() => mesh.store.logOffset(attempt)).toBe(bytes);

describe('a stored log', () => {
  it('is read whole and from an offset', async () => {
    const attempt = await startTask();
    node.log(attempt, 0, 'first line\n');
    node.log(attempt, 11, 'second line\n');
    await stored(attempt, 23);
    const whole = await mesh.call('GET', '/v1/tasks/1-0/log');
    expect([whole.headers.get('x-perigee-offset'), await whole.text()]).toEqual([
      '0',
      'first line\nsecond line\n',
    ]);
    const rest = await mesh.call('GET', '/v1/tasks/1-0/log?offset=17');
    expect([rest.headers.get('x-perigee-offset'), await rest.text()]).toEqual(['17', ' line\n']);
    const end = await mesh.call('GET', '/v1/tasks/1-0/log?offset=23');
    expect(await end.text()).toBe('');
  });

  it('says where it was cut, and how much', async () => {
    const attempt = await startTask();
    const piece = 'x'.repeat(256 * 1024);
    const pieces = (logHeadBytes + logTailBytes) / piece.length + 8;
    for (let index = 0; index < pieces; index += 1) {
      node.log(attempt, index * piece.length, piece);
    }
    await stored(attempt, pieces * piece.length);
    const text = await (await mesh.call('GET', '/v1/tasks/1-0/log')).text();
    const cut = /\n\[perigee: ([0-9]+) bytes cut\]\n/.exec(text);
    expect(cut?.index).toBe(logHeadBytes);
    expect(Number(cut?.[1])).toBe(8 * piece.length);
    expect(text.length - (cut?.[0].length ?? 0)).toBe(logHeadBytes + logTailBytes);
  });

  it('of a task that never ran is empty', async () => {
    const group = await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 1 });
    expect(await (await mesh.call('GET', '/v1/tasks/1-0/log')).text()).toBe('');
    const second = await mesh.call('GET', '/v1/tasks/1-0/log?attempt=2');
    expect((await problem(second)).code).toBe('not_found');
  });
});

describe('a followed log', () => {
  it('comes as it is written and ends when the task is done', async () => {
    const group = await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 1 });
    // Opened while the task is still queued.
    const response = await mesh.call('GET', '/v1/tasks/1-0/log?follow=true');
    const body = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    node = mesh.join();
    const [attempt] = await node.held(1);
    if (attempt === undefined || body === undefined) throw new Error('the task runs');
    node.log(attempt, 0, 'one\n');
    expect((await body.read()).value).toBe('one\n');
    node.log(attempt, 4, 'two\n');
    expect((await body.read()).value).toBe('two\n');
    node.report([succeeded(attempt)]);
    expect((await body.read()).done).toBe(true);
  });

  it('goes on with the next attempt', async () => {
    const attempt = await startTask({ retryCount: 1 });
    const response = await mesh.call('GET', '/v1/tasks/1-0/log?follow=true');
    node.log(attempt, 0, 'failing\n');
    await stored(attempt, 8);
    node.report([raised(attempt, 8)]);
    const [retry] = await node.held(1);
    if (retry === undefined) throw new Error('the retry is held');
    expect(retry.attempt).toBe(2);
    node.log(retry, 0, 'better\n');
    await stored(retry, 7);
    node.report([succeeded(retry)]);
    expect(await response.text()).toBe('failing\n\n[perigee: attempt 2]\nbetter\n');
    const first = await mesh.call('GET', '/v1/tasks/1-0/log?attempt=1&follow=true');
    expect(await first.text()).toBe('failing\n');
    const latest = await mesh.call('GET', '/v1/tasks/1-0/log');
    expect(await latest.text()).toBe('better\n');
  });

  it('of many readers is the same for each', async () => {
    const attempt = await startTask();
    const readers = await Promise.all(
      Array.from({ length: 5 }, () => mesh.call('GET', '/v1/tasks/1-0/log?follow=true')),
    );
    for (let line = 0; line < 50; line += 1) {
      node.log(attempt, line * 8, `line ${String(line).padStart(2, '0')}\n`);
    }
    await stored(attempt, 400);
    node.report([succeeded(attempt)]);
    const texts = await Promise.all(readers.map((reader) => reader.text()));
    expect(new Set(texts).size).toBe(1);
    expect(texts[0]).toHaveLength(400);
    expect(texts[0]?.startsWith('line 00\nline 01\n')).toBe(true);
  });
});
