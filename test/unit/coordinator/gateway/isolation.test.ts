import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GatewayMesh } from './gateway-mesh.ts';
import {
  createTestGroup,
  groupRequest,
  problem,
  putBatch,
  raised,
  sha256,
  startGatewayMesh,
  testBlock,
} from './gateway-mesh.ts';

/** Alice has a group with a failed task and a blob; everyone else tries to reach them. */
let mesh: GatewayMesh;
let group: string;
let tokens: Record<'alice' | 'reader' | 'bob' | 'operator', string>;
const secret = Buffer.from('alice’s pixels');
const blob = sha256(secret);

beforeAll(async () => {
  mesh = await startGatewayMesh();
  tokens = {
    alice: await mesh.token('alice', 'user'),
    reader: await mesh.token('alice', 'read'),
    bob: await mesh.token('bob', 'user'),
    operator: mesh.operator,
  };
  const token = tokens.alice;
  group = await createTestGroup(mesh, { token, changes: { environment: { KEY: 'secret' } } });
  await mesh.call('PUT', `/v1/blobs/${blob}`, { token, body: secret });
  await putBatch(mesh, group, { count: 1, token });
  const node = mesh.join();
  const [attempt] = await node.held(1);
  if (attempt === undefined) throw new Error('an attempt is held');
  node.log(attempt, 0, 'secret output');
  node.report([raised(attempt, 13)]);
  // Ends once the outcome is on disk.
  const log = await mesh.call('GET', '/v1/tasks/1-0/log?follow=true', { token });
  expect(await log.text()).toBe('secret output');
});
afterAll(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

interface Attempt {
  method: string;
  path: () => string;
  body?: () => { json?: unknown; body?: Uint8Array; headers?: Record<string, string> };
}

const reads: [string, Attempt][] = [
  ['a group', { method: 'GET', path: () => `/v1/groups/${group}` }],
  ['a group by prefix', { method: 'GET', path: () => `/v1/groups/${group.slice(0, 4)}` }],
  ['a task', { method: 'GET', path: () => '/v1/tasks/1-0' }],
  ['a result', { method: 'GET', path: () => '/v1/tasks/1-0/result' }],
  ['arguments', { method: 'GET', path: () => '/v1/tasks/1-0/arguments' }],
  ['a log', { method: 'GET', path: () => '/v1/tasks/1-0/log' }],
  ['an explanation', { method: 'GET', path: () => '/v1/tasks/1-0/explain' }],
  ['tasks of a group', { method: 'GET', path: () => `/v1/tasks?group=${group}` }],
  ['a blob', { method: 'GET', path: () => `/v1/blobs/${blob}` }],
  ['outcomes of a group', { method: 'GET', path: () => `/v1/outcomes?groups=${group}` }],
];
const writes: [string, Attempt][] = [
  [
    'a batch',
    {
      method: 'PUT',
      path: () => `/v1/groups/${group}/batches/${randomUUID()}`,
      body: () => ({ body: testBlock(1), headers: { 'x-perigee-count': '1' } }),
    },
  ],
  ['a cancel', { method: 'POST', path: () => '/v1/tasks/1-0/cancel' }],
  [
    'a change of limits',
    { method: 'PATCH', path: () => `/v1/groups/${group}`, body: () => ({ json: { priority: 1 } }) },
  ],
  ['a termination', { method: 'DELETE', path: () => `/v1/groups/${group}` }],
];
const operatorCalls: [string, Attempt][] = [
  ['namespaces', { method: 'GET', path: () => '/v1/namespaces' }],
  ['removing a namespace', { method: 'DELETE', path: () => '/v1/namespaces/alice' }],
  ['another namespace', { method: 'PUT', path: () => '/v1/namespaces/carol' }],
  ['tokens', { method: 'GET', path: () => '/v1/tokens' }],
  [
    'a new token',
    {
      method: 'POST',
      path: () => '/v1/tokens',
      body: () => ({ json: { role: 'user', namespace: 'alice' } }),
    },
  ],
  ['revoking', { method: 'DELETE', path: () => '/v1/tokens/x' }],
  ['join tokens', { method: 'GET', path: () => '/v1/join-tokens' }],
  ['a new join token', { method: 'POST', path: () => '/v1/join-tokens' }],
  ['revoking a join token', { method: 'DELETE', path: () => '/v1/join-tokens/x' }],
  ['draining a node', { method: 'POST', path: () => '/v1/nodes/x/drain' }],
  ['taking a node back', { method: 'POST', path: () => '/v1/nodes/x/undrain' }],
];

const send = (attempt: Attempt, token: string, query = ''): Promise<Response> => {
  const path = attempt.path();
  const full = query === '' ? path : `${path}${path.includes('?') ? '&' : '?'}${query}`;
  return mesh.call(attempt.method, full, { ...attempt.body?.(), token });
};

describe('another namespace', () => {
  it.each([...reads, ...writes])('is not found: %s', async (_what, attempt) => {
    const answer = await problem(await send(attempt, tokens.bob));
    expect([answer.code, answer.status]).toEqual(['not_found', 404]);
    expect(JSON.stringify(answer)).not.toContain('secret');
  });

  it.each([...reads, ...writes])('is not to be named by a user: %s', async (_what, attempt) => {
    const answer = await problem(await send(attempt, tokens.bob, 'namespace=alice'));
    expect(['forbidden', 'not_found']).toContain(answer.code);
  });

  it('is in no list', async () => {
    for (const path of ['/v1/groups', '/v1/tasks']) {
      const answer = await mesh.call('GET', path, { token: tokens.bob });
      expect(await answer.json()).toEqual({ items: [], next: null });
    }
    const status = await mesh.call('GET', '/v1/status', { token: tokens.bob });
    expect(await status.json()).toMatchObject({ groups: { running: 0 }, tasks: { failed: 0 } });
  });

  it('does not lend its blobs to functions', async () => {
    const response = await mesh.call('POST', '/v1/groups', {
      token: tokens.bob,
      json: groupRequest({ function: { kind: 'pickle', blob } }),
    });
    expect((await problem(response)).code).toBe('not_found');
  });
});

describe('a token that may only read', () => {
  it.each(reads)('reads %s', async (what, attempt) => {
    const response = await send(attempt, tokens.reader);
    await response.arrayBuffer();
    // The task failed: its result is a conflict for everyone.
    expect(response.status).toBe(what === 'a result' ? 409 : 200);
  });

  it.each([
    ...writes,
    [
      'a group',
      { method: 'POST', path: () => '/v1/groups', body: () => ({ json: groupRequest() }) },
    ],
    ['a blob', { method: 'PUT', path: () => `/v1/blobs/${blob}`, body: () => ({ body: secret }) }],
    ['its namespace', { method: 'PUT', path: () => '/v1/namespaces/alice' }],
  ] as [string, Attempt][])('does not write: %s', async (_what, attempt) => {
    expect((await problem(await send(attempt, tokens.reader))).code).toBe('forbidden');
  });
});

describe('what only operators may', () => {
  it.each(operatorCalls)('is refused to users: %s', async (_what, attempt) => {
    const answer = await problem(await send(attempt, tokens.alice));
    expect([answer.code, answer.status]).toEqual(['forbidden', 403]);
  });
});

describe('an operator in another namespace', () => {
  it('sees metadata and nothing that users wrote', async () => {
    const named = async (path: string): Promise<string> =>
      (await mesh.call('GET', `${path}?namespace=alice`, { token: tokens.operator })).text();
    const views = await Promise.all(
      [
        `/v1/groups/${group}`,
        '/v1/groups',
        '/v1/tasks',
        '/v1/tasks/1-0',
        '/v1/tasks/1-0/explain',
      ].map(named),
    );
    expect(views.join()).not.toContain('secret');
    expect(views.join()).not.toContain('Traceback');
    expect(JSON.parse(views[3] ?? '')).toMatchObject({
      code: 'exception',
      exception: 'KeyError',
      message: null,
      traceback: null,
      logTail: null,
    });
  });

  it.each([
    ['a result', '/v1/tasks/1-0/result'],
    ['arguments', '/v1/tasks/1-0/arguments'],
    ['a log', '/v1/tasks/1-0/log'],
    ['a blob', `/v1/blobs/${blob}`],
    ['outcomes', '/v1/outcomes'],
  ])('does not read %s', async (_what, path) => {
    const response = await mesh.call('GET', `${path}?namespace=alice`, { token: tokens.operator });
    expect((await problem(response)).code).toBe('forbidden');
  });

  it('does not run functions there', async () => {
    const make = await mesh.call('POST', '/v1/groups?namespace=alice', { json: groupRequest() });
    expect((await problem(make)).code).toBe('forbidden');
    const batch: Attempt = writes[0]?.[1] ?? { method: 'GET', path: () => '/' };
    const answer = await problem(await send(batch, tokens.operator, 'namespace=alice'));
    expect(answer.code).toBe('forbidden');
  });

  it('changes limits and terminates', async () => {
    const changed = await mesh.call('PATCH', `/v1/groups/${group}?namespace=alice`, {
      json: { priority: 5 },
    });
    expect(await changed.json()).toMatchObject({ priority: 5, environment: {} });
    const own = await mesh.call('GET', `/v1/groups/${group}`, { token: tokens.alice });
    expect(await own.json()).toMatchObject({ priority: 5, environment: { KEY: 'secret' } });
    const ended = await mesh.call('DELETE', `/v1/groups/${group}?namespace=alice`);
    expect(await ended.json()).toMatchObject({ state: 'terminated' });
  });
});
