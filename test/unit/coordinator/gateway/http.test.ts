import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeBlock } from '../../../../protocol/wire/block.ts';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import { encodeBlobReference, payloadTags } from '../../../../protocol/wire/payload.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import {
  createTestGroup,
  digestPython2,
  groupRequest,
  problem,
  putBatch,
  raised,
  sha256,
  startGatewayMesh,
  succeeded,
  testBlock,
} from './gateway-mesh.ts';

let mesh: GatewayMesh;
beforeEach(async () => {
  mesh = await startGatewayMesh();
});
afterEach(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

const json = async (response: Response): Promise<Record<string, unknown>> =>
  (await response.json()) as Record<string, unknown>;

describe('the open routes', () => {
  it('answer without a token', async () => {
    const health = await mesh.call('GET', '/v1/health', { token: null });
    expect(await health.json()).toEqual({ status: 'ok' });
    const view = await json(await mesh.call('GET', '/v1/mesh', { token: null }));
    expect(view).toEqual({
      peerId: mesh.host.peerId,
      addresses: mesh.host.addresses(),
      protocol: 1,
      version: '0.0.0-test',
    });
    expect(mesh.host.addresses()[0]).toContain(mesh.host.peerId);
  });
});

describe('whoami and status', () => {
  it('tell the caller its token and the counts of its namespace', async () => {
    const user = await mesh.token('alice', 'user', { expiresAtMs: 4_000_000_000_000 });
    const who = await json(await mesh.call('GET', '/v1/whoami', { token: user }));
    expect(who).toMatchObject({
      role: 'user',
      namespace: 'alice',
      expiresAt: '2096-10-02T07:06:40.000Z',
    });
    expect(user).toContain(`pgt_${who['tokenId']}_`);
    const node = mesh.join({ slots: 3 });
    const group = await createTestGroup(mesh, { token: user });
    await putBatch(mesh, group, { count: 5, token: user });
    await node.held(3);
    const status = await json(await mesh.call('GET', '/v1/status', { token: user }));
    const { tasks, ...rest } = status;
    expect(rest).toEqual({
      version: '0.0.0-test',
      held: null,
      namespace: 'alice',
      groups: { running: 1 },
      nodes: { joining: 0, ready: 1, draining: 0, lost: 0 },
      slots: { total: 3, busy: 3 },
      images: ['perigee/geospatial:py2.7', 'perigee/python:py3.11'],
    });
    expect(tasks).toMatchObject({ succeeded: 0, failed: 0 });
    const other = await json(await mesh.call('GET', '/v1/status'));
    expect(other).toMatchObject({
      namespace: 'default',
      tasks: { queued: 0, running: 0, succeeded: 0, failed: 0 },
    });
  });
});

describe('namespaces', () => {
  it('are made once, listed, and removed with their tokens', async () => {
    expect((await mesh.call('PUT', '/v1/namespaces/farm')).status).toBe(201);
    const again = await mesh.call('PUT', '/v1/namespaces/farm');
    expect(again.status).toBe(200);
    expect(await again.json()).toEqual({ namespace: 'farm', created: false });
    const user = await mesh.token('farm', 'user');
    const group = await createTestGroup(mesh, { token: user });
    const refused = await mesh.call('DELETE', '/v1/namespaces/farm');
    expect(await problem(refused)).toMatchObject({ code: 'conflict', status: 409 });
    await mesh.call('DELETE', `/v1/groups/${group}`, { token: user });
    expect((await mesh.call('DELETE', '/v1/namespaces/farm')).status).toBe(200);
    const list = await json(await mesh.call('GET', '/v1/namespaces'));
    expect(list['items']).toMatchObject([{ namespace: 'default' }]);
    const gone = await problem(await mesh.call('GET', '/v1/whoami', { token: user }));
    expect(gone.code).toBe('token_revoked');
  });

  it('of others are not made by users', async () => {
    const user = await mesh.token('alice', 'user');
    const own = await mesh.call('PUT', '/v1/namespaces/alice', { token: user });
    expect(await own.json()).toEqual({ namespace: 'alice', created: false });
    const other = await mesh.call('PUT', '/v1/namespaces/bob', { token: user });
    expect((await problem(other)).code).toBe('forbidden');
    const bad = await mesh.call('PUT', '/v1/namespaces/No_Good');
    expect((await problem(bad)).code).toBe('invalid_request');
  });
});

describe('tokens', () => {
  it('are made, work, are listed without their secret, and are revoked at once', async () => {
    await mesh.call('PUT', '/v1/namespaces/farm');
    const made = await json(
      await mesh.call('POST', '/v1/tokens', {
        json: { role: 'read', namespace: 'farm', label: 'wall display', ttlSeconds: 3_600 },
      }),
    );
    const token = String(made['token']);
    expect(token).toMatch(/^pgt_[0-9A-Za-z]{10}_[0-9A-Za-z]{32}$/);
    const who = await json(await mesh.call('GET', '/v1/whoami', { token }));
    expect(who).toMatchObject({ role: 'read', namespace: 'farm', tokenId: made['id'] });
    const list = await (await mesh.call('GET', '/v1/tokens')).text();
    expect(list).toContain('wall display');
    expect(list).not.toContain(token);
    expect(list).not.toContain(sha256(token));
    expect((await mesh.call('DELETE', `/v1/tokens/${made['id']}`)).status).toBe(200);
    const after = await problem(await mesh.call('GET', '/v1/whoami', { token }));
    expect(after).toMatchObject({ code: 'token_revoked', status: 401 });
    const unknown = await mesh.call('DELETE', '/v1/tokens/nobody');
    expect((await problem(unknown)).code).toBe('not_found');
  });

  it('for agents are made with the address to join', async () => {
    const made = await json(
      await mesh.call('POST', '/v1/join-tokens', { json: { uses: 2, namespaces: ['default'] } }),
    );
    expect(made['token']).toMatch(/^pgj_/);
    expect(made['join']).toBe(mesh.host.addresses()[0]);
    const list = await json(await mesh.call('GET', '/v1/join-tokens'));
    expect(list['items']).toMatchObject([
      { id: made['id'], usesLeft: 2, namespaces: ['default'], revokedAt: null },
    ]);
    const asAccess = await mesh.call('GET', '/v1/whoami', { token: String(made['token']) });
    expect((await problem(asAccess)).code).toBe('token_wrong');
    expect((await mesh.call('DELETE', `/v1/join-tokens/${made['id']}`)).status).toBe(200);
    const after = await json(await mesh.call('GET', '/v1/join-tokens'));
    expect(after['items']).toMatchObject([{ revokedAt: expect.any(String) }]);
  });

  it.each([
    ['a role', { role: 'king', namespace: 'default' }],
    ['a namespace that is not there', { role: 'user', namespace: 'nowhere' }],
    ['a lifetime', { role: 'user', namespace: 'default', ttlSeconds: -1 }],
    ['a field', { role: 'user', namespace: 'default', expires: 'tomorrow' }],
  ])('are refused for %s that is wrong', async (_what, body) => {
    const response = await mesh.call('POST', '/v1/tokens', { json: body });
    expect(['invalid_request', 'not_found']).toContain((await problem(response)).code);
  });
});

describe('blobs', () => {
  const bytes = Buffer.alloc(300_000, 'pixels');
  const hash = sha256(bytes);

  it('are put, measured, read whole and from an offset', async () => {
    expect((await mesh.call('PUT', `/v1/blobs/${hash}`, { body: bytes })).status).toBe(201);
    expect((await mesh.call('PUT', `/v1/blobs/${hash}`, { body: bytes })).status).toBe(200);
    const head = await mesh.call('HEAD', `/v1/blobs/${hash}`);
    expect([head.status, head.headers.get('content-length')]).toEqual([200, '300000']);
    const whole = await mesh.call('GET', `/v1/blobs/${hash}`);
    expect(Buffer.from(await whole.arrayBuffer()).equals(bytes)).toBe(true);
    const rest = await mesh.call('GET', `/v1/blobs/${hash}`, {
      headers: { range: 'bytes=299990-' },
    });
    expect([rest.status, rest.headers.get('content-range')]).toEqual([
      206,
      'bytes 299990-299999/300000',
    ]);
    expect(Buffer.from(await rest.arrayBuffer()).equals(bytes.subarray(299_990))).toBe(true);
  });

  it('with other bytes than their hash says are refused and not kept', async () => {
    const response = await mesh.call('PUT', `/v1/blobs/${hash}`, { body: 'something else' });
    expect((await problem(response)).code).toBe('invalid_request');
    expect((await mesh.call('HEAD', `/v1/blobs/${hash}`)).status).toBe(404);
  });

  it('of another namespace are opened by their bytes alone, never by their hash', async () => {
    await mesh.call('PUT', `/v1/blobs/${hash}`, { body: bytes });
    const token = await mesh.token('bob', 'user');
    expect((await mesh.call('HEAD', `/v1/blobs/${hash}`, { token })).status).toBe(404);
    const read = await mesh.call('GET', `/v1/blobs/${hash}`, { token });
    expect((await problem(read)).code).toBe('not_found');
    const guess = await mesh.call('PUT', `/v1/blobs/${hash}`, { token, body: 'guess' });
    expect((await problem(guess)).code).toBe('invalid_request');
    expect((await mesh.call('HEAD', `/v1/blobs/${hash}`, { token })).status).toBe(404);
    const block = encodeBlock([
      encodeBlobReference({ tag: payloadTags.pickle, hash: hash as BlobHash, sizeBytes: 300_000 }),
    ]);
    const group = await createTestGroup(mesh, { token });
    const batch = await putBatch(mesh, group, { count: 1, block, token });
    expect((await problem(batch)).code).toBe('not_found');
    const own = await mesh.call('PUT', `/v1/blobs/${hash}`, { token, body: bytes });
    expect(own.status).toBe(200);
    expect((await mesh.call('HEAD', `/v1/blobs/${hash}`, { token })).status).toBe(200);
  });
});

describe('groups', () => {
  it('are made with the defaults of the issue', async () => {
    const response = await mesh.call('POST', '/v1/groups', { json: groupRequest() });
    expect(response.status).toBe(201);
    const { group } = (await response.json()) as { group: Record<string, unknown> };
    expect(group).toMatchObject({
      namespace: 'default',
      name: 'ndvi',
      image: 'perigee/geospatial:py2.7',
      imageDigest: digestPython2,
      imagePython: { implementation: 'CPython', version: '2.7.18' },
      cpus: 1,
      memoryBytes: 2 * 1024 ** 3,
      taskTimeoutSeconds: 1_800,
      retryCount: 0,
      maximumConcurrency: null,
      queueTimeoutSeconds: null,
      priority: 0,
      isolation: 'worker',
      network: false,
      environment: {},
      resultFormat: 'pickle',
      state: 'running',
      function: { kind: 'pickle', blob: sha256('a pickle'), entry: '' },
      tasks: { queued: 0, running: 0, succeeded: 0, failed: 0 },
    });
    expect(group['id']).toMatch(/^[0-9a-f]{12}$/);
  });

  it.each([
    ['512Mi', 512 * 1024 ** 2],
    ['2Gi', 2 * 1024 ** 3],
    ['1.5GB', 1_500_000_000],
    ['700 MB', 700_000_000],
    [1_073_741_824, 1_073_741_824],
    ['1073741824', 1_073_741_824],
  ])('take %s of memory', async (memory, bytes) => {
    const response = await mesh.call('POST', '/v1/groups', { json: groupRequest({ memory }) });
    const { group } = (await response.json()) as { group: { memoryBytes: number } };
    expect(group.memoryBytes).toBe(bytes);
  });

  it('know the image names of DLRun, and choose by the Python when none is named', async () => {
    const image = 'us.gcr.io/dl-ci-cd/images/tasks/public/geospatial/public:latest';
    const named = await mesh.call('POST', '/v1/groups', { json: groupRequest({ image }) });
    expect(await named.json()).toMatchObject({ group: { image, imageDigest: digestPython2 } });
    const unnamed = await mesh.call('POST', '/v1/groups', {
      json: groupRequest({
        image: null,
        python: { implementation: 'CPython', version: '3.11.9' },
      }),
    });
    expect(await unnamed.json()).toMatchObject({ group: { image: 'perigee/python:py3.11' } });
  });

  it('from source run with the image’s Python', async () => {
    const response = await mesh.call('POST', '/v1/groups', {
      json: groupRequest({
        python: undefined,
        image: 'perigee/python:py3.11',
        function: {
          kind: 'source',
          inline: Buffer.from('def f(): pass').toString('base64'),
          entry: 'f',
        },
      }),
    });
    expect(await response.json()).toMatchObject({
      group: { python: { version: '3.11.2' }, function: { kind: 'source', entry: 'f' } },
    });
  });

  it('are listed newest first, page by page, by name, and found by prefix', async () => {
    const ids: string[] = [];
    for (const name of ['one', 'two', 'three']) {
      ids.push(await createTestGroup(mesh, { changes: { name } }));
    }
    const first = await json(await mesh.call('GET', '/v1/groups?limit=2&cursor='));
    expect(first['items']).toMatchObject([{ name: 'three' }, { name: 'two' }]);
    const second = await json(await mesh.call('GET', `/v1/groups?limit=2&cursor=${first['next']}`));
    expect(second).toMatchObject({ items: [{ name: 'one' }], next: null });
    const named = await json(await mesh.call('GET', '/v1/groups?name=two'));
    expect(named['items']).toMatchObject([{ id: ids[1] }]);
    const prefix = String(ids[0]).slice(0, 11);
    const found = await json(await mesh.call('GET', `/v1/groups/${prefix}`));
    expect(found['id']).toBe(ids[0]);
  });

  it('change their limits and keep the others', async () => {
    const id = await createTestGroup(mesh, { changes: { retryCount: 2, maximumConcurrency: 4 } });
    const changed = await json(
      await mesh.call('PATCH', `/v1/groups/${id}`, {
        json: { maximumConcurrency: null, taskTimeoutSeconds: 2.5 },
      }),
    );
    expect(changed).toMatchObject({
      maximumConcurrency: null,
      taskTimeoutSeconds: 2.5,
      retryCount: 2,
    });
    const nothing = await mesh.call('PATCH', `/v1/groups/${id}`, { json: {} });
    expect((await problem(nothing)).code).toBe('invalid_request');
  });

  it('are terminated: queued tasks end as cancelled and new ones are refused', async () => {
    const id = await createTestGroup(mesh);
    await putBatch(mesh, id, { count: 3 });
    const ended = await json(await mesh.call('DELETE', `/v1/groups/${id}?drain=false`));
    expect(ended['state']).toBe('terminated');
    const refused = await putBatch(mesh, id, { count: 1 });
    expect(await problem(refused)).toMatchObject({ code: 'group_terminated', status: 409 });
    const tasks = await json(await mesh.call('GET', `/v1/tasks?group=${id}`));
    expect(tasks['items']).toMatchObject([
      { state: 'done', status: 'FAILURE', code: 'cancelled' },
      { code: 'cancelled' },
      { code: 'cancelled' },
    ]);
  });
});

describe('batches', () => {
  it('answer with the batch, and the same again for the same id and bytes', async () => {
    const group = await createTestGroup(mesh);
    const uuid = randomUUID();
    const first = await putBatch(mesh, group, { count: 3, uuid });
    expect(first.status).toBe(201);
    const view = await first.json();
    expect(view).toEqual({ batch: 1, count: 3, submittedAfter: 0, namespace: 'default' });
    const again = await putBatch(mesh, group, { count: 3, uuid });
    expect([again.status, await again.json()]).toEqual([200, view]);
    const other = await putBatch(mesh, group, { count: 3, uuid, block: testBlock(3, 'other') });
    expect(await problem(other)).toMatchObject({ code: 'conflict', status: 409 });
    const elsewhere = await createTestGroup(mesh);
    const moved = await putBatch(mesh, elsewhere, { count: 3, uuid });
    expect((await problem(moved)).code).toBe('conflict');
  });

  it('that arrive at the same time with one id are one batch', async () => {
    const group = await createTestGroup(mesh);
    const uuid = randomUUID();
    const block = testBlock(100);
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => putBatch(mesh, group, { count: 100, block, uuid })),
    );
    const views = await Promise.all(answers.map((response) => response.json()));
    expect(new Set(views.map((view) => JSON.stringify(view))).size).toBe(1);
    const statuses = answers.map((response) => response.status).sort();
    expect(statuses.filter((status) => status === 201)).toHaveLength(1);
    expect(statuses.filter((status) => status === 200)).toHaveLength(11);
    const { tasks } = (await json(await mesh.call('GET', `/v1/groups/${group}`))) as {
      tasks: { queued: number };
    };
    expect(tasks.queued).toBe(100);
  });

  it('that race with other bytes under one id: one is taken, the other is a conflict', async () => {
    const group = await createTestGroup(mesh);
    const uuid = randomUUID();
    const [one, other] = await Promise.all([
      putBatch(mesh, group, { count: 2, uuid, block: testBlock(2, 'left') }),
      putBatch(mesh, group, { count: 2, uuid, block: testBlock(2, 'right') }),
    ]);
    expect([one.status, other.status].sort()).toEqual([201, 409]);
  });

  it('in one id of two namespaces are two batches', async () => {
    const uuid = randomUUID();
    const token = await mesh.token('bob', 'user');
    const mine = await putBatch(mesh, await createTestGroup(mesh), { count: 1, uuid });
    const theirs = await putBatch(mesh, await createTestGroup(mesh, { token }), {
      count: 1,
      uuid,
      token,
      block: testBlock(1, 'other'),
    });
    expect([mine.status, theirs.status]).toEqual([201, 201]);
  });

  it('carries what its tasks read, and is another batch without it', async () => {
    const group = await createTestGroup(mesh);
    const uuid = randomUUID();
    const list = Buffer.from([0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    const block = Buffer.concat([testBlock(2), list]);
    const headers = { 'x-perigee-asset-bytes': String(list.length) };
    const put = (more: { block: Uint8Array; headers?: Record<string, string> }) =>
      putBatch(mesh, group, { count: 2, uuid, ...more });
    expect((await put({ block, headers })).status).toBe(201);
    const [batch] = mesh.driver.state().batches.values();
    expect([...(batch?.assets?.starts ?? [])]).toEqual([0, 0, 8]);
    expect((await put({ block, headers })).status).toBe(200);
    expect((await problem(await put({ block: testBlock(2) }))).code).toBe('conflict');
    const short = { block: testBlock(2), headers: { 'x-perigee-asset-bytes': '3' } };
    expect((await problem(await put(short))).code).toBe('invalid_request');
    const long = { block: testBlock(2), headers: { 'x-perigee-asset-bytes': '100000' } };
    expect((await problem(await put(long))).code).toBe('invalid_request');
  });

  it.each([
    ['too few payloads', { count: 3, block: testBlock(2) }, 'invalid_request'],
    ['bytes left over', { count: 1, block: testBlock(2) }, 'invalid_request'],
    ['no bytes', { count: 1, block: new Uint8Array(0) }, 'invalid_request'],
    ['an unknown tag', { count: 1, block: encodeBlock([Buffer.from('Xyz')]) }, 'invalid_request'],
    ['an empty payload', { count: 1, block: encodeBlock([new Uint8Array(0)]) }, 'invalid_request'],
    [
      'a broken reference',
      { count: 1, block: encodeBlock([Buffer.from('BP')]) },
      'invalid_request',
    ],
    [
      'a payload that should be a blob',
      { count: 1, block: encodeBlock([Buffer.alloc(65_538, 'P')]) },
      'too_large',
    ],
    ['too many tasks', { count: 5_001, block: testBlock(5_001) }, 'too_large'],
    ['no tasks', { count: 0, block: new Uint8Array(0) }, 'invalid_request'],
    ['an id that is no UUID', { count: 1, uuid: 'batch-1' }, 'invalid_request'],
  ])('with %s are refused', async (_what, batch, code) => {
    const group = await createTestGroup(mesh);
    expect((await problem(await putBatch(mesh, group, batch))).code).toBe(code);
    const tasks = await json(await mesh.call('GET', '/v1/tasks'));
    expect(tasks['items']).toEqual([]);
  });

  it('without the count are refused', async () => {
    const group = await createTestGroup(mesh);
    const response = await mesh.call('PUT', `/v1/groups/${group}/batches/${randomUUID()}`, {
      body: testBlock(1),
    });
    const refused = await problem(response);
    expect(refused).toMatchObject({ code: 'invalid_request', details: { field: 'count' } });
  });

  it('refer to blobs that were put', async () => {
    const bytes = Buffer.alloc(100_000, 'a');
    const hash = sha256(bytes) as BlobHash;
    await mesh.call('PUT', `/v1/blobs/${hash}`, { body: bytes });
    const group = await createTestGroup(mesh);
    const reference = encodeBlobReference({ tag: payloadTags.pickle, hash, sizeBytes: 100_000 });
    const response = await putBatch(mesh, group, {
      count: 2,
      block: encodeBlock([Buffer.from('Psmall'), reference]),
    });
    expect(response.status).toBe(201);
    const small = await mesh.call('GET', '/v1/tasks/1-0/arguments');
    expect(await small.text()).toBe('Psmall');
    const large = await mesh.call('GET', '/v1/tasks/1-1/arguments');
    expect(large.headers.get('content-length')).toBe('100001');
    expect(await large.text()).toBe(`P${bytes.toString()}`);
  });
});

describe('tasks', () => {
  it('show their life from the queue to the outcome', async () => {
    const group = await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 2 });
    const queued = await json(await mesh.call('GET', '/v1/tasks/1-0'));
    expect(queued).toMatchObject({
      id: '1-0',
      group,
      groupName: 'ndvi',
      state: 'queued',
      status: null,
      attempts: [],
      cancelable: true,
      startedAt: null,
    });
    const early = await problem(await mesh.call('GET', '/v1/tasks/1-0/result'));
    expect(early).toMatchObject({ code: 'conflict', status: 409 });
    const node = mesh.join();
    const held = await node.held(2);
    node.start(held);
    const [first, second] = held;
    if (first === undefined || second === undefined) throw new Error('two attempts are held');
    node.log(second, 0, 'half a log\n');
    node.report([succeeded(first, 'P42'), raised(second, 11)]);
    await expect
      .poll(async () => (await json(await mesh.call('GET', '/v1/tasks/1-1')))['state'])
      .toBe('done');
    expect(await json(await mesh.call('GET', '/v1/tasks/1-0'))).toMatchObject({
      state: 'done',
      status: 'SUCCESS',
      code: null,
      exception: null,
      runtimeSeconds: expect.any(Number),
      peakMemoryBytes: 3_000_000,
      resultBytes: 3,
      outcomeNumber: 1,
      cancelable: false,
      attempts: [{ attempt: 1, node: node.id, end: 'success', charged: false }],
    });
    expect(await json(await mesh.call('GET', '/v1/tasks/1-1'))).toMatchObject({
      state: 'done',
      status: 'FAILURE',
      code: 'exception',
      exception: 'KeyError',
      message: "'red'",
      traceback: 'Traceback: KeyError',
      logTail: 'half a log\n',
      resultBytes: null,
    });
    const result = await mesh.call('GET', '/v1/tasks/1-0/result');
    expect(await result.text()).toBe('P42');
    const none = await problem(await mesh.call('GET', '/v1/tasks/1-1/result'));
    expect(none).toMatchObject({ code: 'conflict', details: { code: 'exception' } });
  });

  it('give large results as the payload that was meant', async () => {
    const group = await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 1 });
    const node = mesh.join();
    const [attempt] = await node.held(1);
    if (attempt === undefined) throw new Error('an attempt is held');
    const bytes = Buffer.alloc(1_000_000, 'r');
    const hash = await mesh.blobs.writeBytes(bytes);
    node.report([
      succeeded(attempt, encodeBlobReference({ tag: payloadTags.pickle, hash, sizeBytes: 1e6 })),
    ]);
    await expect
      .poll(async () => (await json(await mesh.call('GET', '/v1/tasks/1-0')))['resultBytes'])
      .toBe(1_000_001);
    const result = await mesh.call('GET', '/v1/tasks/1-0/result');
    expect(await result.text()).toBe(`P${bytes.toString()}`);
    // What a task returned is its namespace's to read.
    expect((await mesh.call('HEAD', `/v1/blobs/${hash}`)).status).toBe(200);
  });

  it('are listed newest first over batches, page by page and by state', async () => {
    const group = await createTestGroup(mesh);
    await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 3 });
    await putBatch(mesh, group, { count: 2 });
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = (await json(
        await mesh.call('GET', `/v1/tasks?group=${group.slice(0, 11)}&limit=2&cursor=${cursor}`),
      )) as { items: { id: string }[]; next: string | null };
      seen.push(...page.items.map((task) => task.id));
      cursor = page.next ?? '';
    } while (cursor !== '');
    expect(seen).toEqual(['2-1', '2-0', '1-2', '1-1', '1-0']);
    await mesh.call('POST', '/v1/tasks/1-1/cancel');
    const done = await json(await mesh.call('GET', '/v1/tasks?state=done'));
    expect(done).toMatchObject({ items: [{ id: '1-1', code: 'cancelled' }], next: null });
    const queued = await json(await mesh.call('GET', '/v1/tasks?state=queued&limit=3'));
    expect(queued['items']).toMatchObject([{ id: '2-1' }, { id: '2-0' }, { id: '1-2' }]);
    const wrong = await mesh.call('GET', '/v1/tasks?state=late');
    expect((await problem(wrong)).code).toBe('invalid_request');
  });

  it('are cancelled, and say in what state they were', async () => {
    const group = await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 1 });
    const first = await mesh.call('POST', '/v1/tasks/1-0/cancel', {
      headers: { 'content-type': 'application/json' },
    });
    expect(await first.json()).toEqual({ id: '1-0', state: 'queued' });
    const second = await mesh.call('POST', '/v1/tasks/1-0/cancel');
    expect(await second.json()).toEqual({ id: '1-0', state: 'done' });
  });

  it('say why they wait', async () => {
    const group = await createTestGroup(mesh, { changes: { maximumConcurrency: 1 } });
    await putBatch(mesh, group, { count: 3 });
    const explain = async (id: string): Promise<Record<string, unknown>> =>
      json(await mesh.call('GET', `/v1/tasks/${id}/explain`));
    mesh.fleet.booting = 2;
    expect(await explain('1-0')).toMatchObject({
      state: 'queued',
      sentence: 'Task 1-0 waits for a machine to start: 2 on the way.',
      booting: 2,
    });
    const node = mesh.join();
    const [attempt] = await node.held(1);
    if (attempt === undefined) throw new Error('an attempt is held');
    node.start([attempt]);
    await expect
      .poll(async () => (await explain('1-0'))['sentence'])
      .toContain('has been running on node-');
    expect((await explain('1-1'))['sentence']).toContain('as many as maximum_concurrency allows');
    node.report([raised(attempt)]);
    await expect
      .poll(async () => (await explain('1-0'))['sentence'])
      .toMatch(/^Task 1-0 ended as exception in attempt 1 on …/);
  });
});

describe('nodes and images', () => {
  it('are shown, and nodes are drained and taken back by operators', async () => {
    const node = mesh.join({ slots: 4, cpus: 2 });
    const user = await mesh.token('alice', 'user');
    await expect
      .poll(async () => (await json(await mesh.call('GET', '/v1/nodes')))['items'])
      .toMatchObject([{ id: node.id, state: 'ready', slots: 4, cpus: 2, isolation: 'standard' }]);
    const seen = await json(await mesh.call('GET', '/v1/nodes', { token: user }));
    expect(seen['items']).toHaveLength(1);
    const refused = await mesh.call('POST', `/v1/nodes/${node.id}/drain`, { token: user });
    expect((await problem(refused)).code).toBe('forbidden');
    const drained = await json(await mesh.call('POST', `/v1/nodes/${node.id}/drain`));
    expect(drained['state']).toBe('draining');
    const back = await json(await mesh.call('POST', `/v1/nodes/${node.id}/undrain`));
    expect(back['state']).toBe('ready');
    const unknown = await mesh.call('POST', '/v1/nodes/nobody/drain');
    expect((await problem(unknown)).code).toBe('not_found');
    const listed = await json(await mesh.call('GET', '/v1/images'));
    expect(listed['items']).toMatchObject([
      { name: 'perigee/geospatial:py2.7', digest: digestPython2, nodes: 1 },
      { name: 'perigee/python:py3.11', nodes: 1 },
    ]);
  });
});
