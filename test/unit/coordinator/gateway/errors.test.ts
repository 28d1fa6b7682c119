import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ErrorCode, errorTable } from '../../../../protocol/base/errors.ts';
import type { CallOptions, GatewayMesh } from './gateway-mesh.ts';
import {
  createTestGroup,
  groupRequest,
  problem,
  putBatch,
  sha256,
  startGatewayMesh,
  testBlock,
} from './gateway-mesh.ts';

let mesh: GatewayMesh;
beforeAll(async () => {
  mesh = await startGatewayMesh();
});
afterAll(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

const create = (changes: Record<string, unknown>): Promise<Response> =>
  mesh.call('POST', '/v1/groups', { json: groupRequest(changes) });

/** Each code that a client can meet over HTTP, by the shortest way to it. */
const ways: Partial<Record<ErrorCode, () => Promise<Response>>> = {
  invalid_request: () => create({ cpus: 'many' }),
  token_missing: () => mesh.call('GET', '/v1/whoami', { token: null }),
  token_wrong: () => mesh.call('GET', '/v1/whoami', { token: 'pgt_0000000000_nobody' }),
  token_expired: async () => {
    const token = await mesh.token('bob', 'user', { expiresAtMs: Date.now() - 1 });
    return mesh.call('GET', '/v1/whoami', { token });
  },
  token_revoked: async () => {
    const token = await mesh.token('bob', 'user', { revokedAtMs: Date.now() });
    return mesh.call('GET', '/v1/whoami', { token });
  },
  forbidden: async () => {
    const token = await mesh.token('bob', 'read');
    return mesh.call('POST', '/v1/groups', { token, json: groupRequest() });
  },
  not_found: () => mesh.call('GET', '/v1/groups/ffffffffffff'),
  ambiguous_id: async () => {
    const ids: string[] = [];
    // Seventeen ids cannot all begin with another hexadecimal digit.
    while (new Set(ids.map((id) => id[0])).size === ids.length)
      ids.push(await createTestGroup(mesh));
    return mesh.call('GET', `/v1/groups/${ids.at(-1)?.[0]}`);
  },
  conflict: async () => {
    const group = await createTestGroup(mesh);
    const uuid = randomUUID();
    await putBatch(mesh, group, { count: 1, uuid });
    return putBatch(mesh, group, { count: 2, uuid });
  },
  group_terminated: async () => {
    const group = await createTestGroup(mesh);
    await mesh.call('DELETE', `/v1/groups/${group}`);
    return putBatch(mesh, group, { count: 1 });
  },
  image_unknown: () => create({ image: 'perigee/geospatial:py2.8' }),
  version_mismatch: () => create({ python: { implementation: 'CPython', version: '3.11.4' } }),
  unsatisfiable: async () => {
    mesh.fleet.shapes = [
      { cpus: 8, memoryBytes: 16 * 1024 ** 3, isolation: 'standard', network: false },
    ];
    const response = await create({ cpus: 9 });
    mesh.fleet.shapes = [];
    return response;
  },
  too_large: () =>
    create({
      function: { kind: 'pickle', inline: Buffer.alloc(1024 ** 2 + 1).toString('base64') },
    }),
  disk_full: async () => {
    const group = await createTestGroup(mesh);
    mesh.disk.isFull = true;
    const response = await putBatch(mesh, group, { count: 1 });
    mesh.disk.isFull = false;
    return response;
  },
  cursor_expired: () => mesh.call('GET', '/v1/outcomes?after=1000000'),
};

describe('every code that HTTP can answer', () => {
  it.each(Object.entries(ways))(
    '%s: a problem with the table’s status and a fix',
    async (code, way) => {
      const response = await way();
      const answer = await problem(response);
      const entry = errorTable[code as ErrorCode];
      expect(answer).toMatchObject({
        type: `urn:perigee:error:${code}`,
        code,
        status: entry.httpStatus,
        title: entry.text,
      });
      expect(answer.detail.length).toBeGreaterThan(5);
      expect(answer.fix.length).toBeGreaterThan(10);
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect(response.headers.has('www-authenticate')).toBe(entry.httpStatus === 401);
      expect(response.headers.has('retry-after')).toBe(entry.retryable);
    },
  );
});

describe('a refused group', () => {
  it('with an unknown image is told the near names and all that are served', async () => {
    const answer = await problem(await create({ image: 'perigee/geospacial:py2.7' }));
    expect(answer.detail).toBe(
      'No machine of this mesh has the image "perigee/geospacial:py2.7". Did you mean perigee/geospatial:py2.7? Served: perigee/geospatial:py2.7, perigee/python:py3.11.',
    );
  });

  it('with the other Python is told both, and both ways to mend it', async () => {
    const answer = await problem(
      await create({ python: { implementation: 'CPython', version: '3.11.4' } }),
    );
    expect(answer.detail).toContain('pickled by CPython 3.11');
    expect(answer.detail).toContain('image perigee/geospatial:py2.7 runs CPython 2.7');
    expect(answer.fix).toBe(
      'To mend it, choose image="perigee/python:py3.11", or run your script with `scripts/perigee python`.',
    );
    const other = await problem(
      await create({
        image: 'perigee/python:py3.11',
        python: { implementation: 'PyPy', version: '2.7.18' },
      }),
    );
    expect(other.fix).toBe('To mend it, run your script with `scripts/perigee python --py3`.');
  });

  it('that asks for too much is told the most that there is', async () => {
    mesh.fleet.shapes = [
      { cpus: 4, memoryBytes: 8 * 1024 ** 3, isolation: 'reduced', network: false },
    ];
    const memory = await problem(await create({ memory: '9Gi' }));
    expect(memory.detail).toContain('The most that one has is 4 cpus, and 8.0 Gi of memory.');
    const isolation = await problem(await create({ isolationMin: 'strong' }));
    expect(isolation.code).toBe('unsatisfiable');
    expect((await create({ cpus: 4, memory: '8Gi' })).status).toBe(201);
    const node = mesh.join({ cpus: 32, memoryBytes: 64 * 1024 ** 3 });
    await expect.poll(async () => (await create({ cpus: 32 })).status).toBe(201);
    node.leave();
    mesh.fleet.shapes = [];
  });

  it.each([
    ['name', { name: '' }],
    ['name', { name: 'n'.repeat(64) }],
    ['cpus', { cpus: 0 }],
    ['cpus', { cpus: 1_025 }],
    ['memory', { memory: '2 gigs' }],
    ['memory', { memory: '1Mi' }],
    ['memoryBytes', { memoryBytes: 1.5 }],
    ['taskTimeoutSeconds', { taskTimeoutSeconds: 0 }],
    ['taskTimeoutSeconds', { taskTimeoutSeconds: 86_401 }],
    ['retryCount', { retryCount: 101 }],
    ['retryCount', { retryCount: 1.5 }],
    ['maximumConcurrency', { maximumConcurrency: 0 }],
    ['queueTimeoutSeconds', { queueTimeoutSeconds: -1 }],
    ['priority', { priority: 1_001 }],
    ['isolation', { isolation: 'process' }],
    ['isolationMin', { isolationMin: 'perfect' }],
    ['network', { network: 'yes' }],
    ['environment', { environment: { '1A': 'x' } }],
    ['environment.A', { environment: { A: 1 } }],
    ['environment', { environment: { A: 'x'.repeat(65_537) } }],
    ['resultFormat', { resultFormat: 'xml' }],
    ['python', { python: null }],
    ['python.version', { python: { implementation: 'CPython', version: 'three' } }],
    ['function', { function: { kind: 'pickle' } }],
    ['function.kind', { function: { inline: 'YQ==' } }],
    ['function.inline', { function: { kind: 'pickle', inline: 'not base64!' } }],
    ['function.inline', { function: { kind: 'pickle', inline: 'YWJjZ' } }],
    ['function.entry', { function: { kind: 'source', inline: 'YQ==' } }],
    ['blob', { function: { kind: 'pickle', blob: 'ABC' } }],
    ['cloudpickle.blob', { cloudpickle: { version: '1.3.0' } }],
    ['cpu', { cpu: 2 }],
  ])('names the field: %s', async (field, changes) => {
    const answer = await problem(await create(changes));
    expect(answer).toMatchObject({ code: 'invalid_request', details: { field } });
    expect(answer.detail).toContain(field.split('.').at(-1));
  });

  it('with a misspelt field is told the right one', async () => {
    const answer = await problem(await create({ memry: '2Gi' }));
    expect(answer.detail).toBe('A group has no field "memry"; did you mean "memory"?');
  });

  it('with memory said twice, or a blob that is not there, is refused', async () => {
    const twice = await problem(await create({ memory: '2Gi', memoryBytes: 1_000_000_000 }));
    expect(twice.code).toBe('invalid_request');
    const blob = 'b'.repeat(64);
    const absent = await problem(await create({ function: { kind: 'pickle', blob } }));
    expect(absent).toMatchObject({ code: 'not_found', details: { blob } });
  });

  it('in a namespace that was never made is told to make it', async () => {
    const token = await mesh.token('ghost', 'user');
    await mesh.store.removeNamespace('ghost' as never);
    const answer = await problem(
      await mesh.call('POST', '/v1/groups', { token, json: groupRequest() }),
    );
    expect(answer.code).toBe('not_found');
    expect(answer.fix).toContain('namespace create ghost');
    await mesh.call('PUT', '/v1/namespaces/ghost', { token });
    const again = await mesh.call('POST', '/v1/groups', { token, json: groupRequest() });
    expect(again.status).toBe(201);
  });
});

describe('a request that makes no sense', () => {
  it.each([
    ['no such path', 'GET', '/v2/tasks', {}, 'not_found'],
    ['no such method', 'PATCH', '/v1/tasks/1-0', {}, 'not_found'],
    ['malformed JSON', 'POST', '/v1/groups', { body: '{"name":' }, 'invalid_request'],
    ['JSON that is no object', 'POST', '/v1/groups', { body: '[1]' }, 'invalid_request'],
    ['a malformed path', 'GET', '/v1/groups/%E0%A4%A', {}, 'invalid_request'],
    ['a field twice', 'GET', '/v1/groups?limit=1&limit=2', {}, 'invalid_request'],
    ['a limit of nothing', 'GET', '/v1/groups?limit=0', {}, 'invalid_request'],
    ['a limit that is too high', 'GET', '/v1/tasks?limit=1001', {}, 'invalid_request'],
    ['a cursor of its own', 'GET', '/v1/tasks?cursor=next', {}, 'invalid_request'],
    ['a group’s cursor of its own', 'GET', '/v1/groups?cursor=next', {}, 'invalid_request'],
    ['a task id that is none', 'GET', '/v1/tasks/abc', {}, 'not_found'],
    ['a task that is not there', 'GET', '/v1/tasks/99-0', {}, 'not_found'],
    ['a blob that has no hash', 'PUT', '/v1/blobs/abc', { body: 'x' }, 'invalid_request'],
    [
      'a JSON body that is too large',
      'POST',
      '/v1/groups',
      { body: 'x'.repeat(4_194_305) },
      'too_large',
    ],
    [
      'a token that is no bearer',
      'GET',
      '/v1/whoami',
      { token: null, headers: { authorization: 'Basic eA==' } },
      'token_missing',
    ],
  ] as [string, string, string, CallOptions, ErrorCode][])(
    'is a problem: %s',
    async (_what, method, path, options, code) => {
      expect((await problem(await mesh.call(method, path, options))).code).toBe(code);
    },
  );

  it('reads JSON under any content type', async () => {
    const response = await mesh.call('POST', '/v1/groups', {
      body: JSON.stringify(groupRequest()),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    expect(response.status).toBe(201);
  });

  it('does not get past a full disk with blobs or functions either', async () => {
    mesh.disk.isFull = true;
    const hash = sha256('bytes');
    const blob = await mesh.call('PUT', `/v1/blobs/${hash}`, { body: 'bytes' });
    const group = await create({});
    mesh.disk.isFull = false;
    expect([(await problem(blob)).code, (await problem(group)).code]).toEqual([
      'disk_full',
      'disk_full',
    ]);
    expect((await mesh.call('HEAD', `/v1/blobs/${hash}`)).status).toBe(404);
  });
});

describe('a mistake of our own', () => {
  it('is answered without its insides, and logged with them', async () => {
    const broken = await startGatewayMesh();
    const group = await createTestGroup(broken);
    await broken.store.close();
    const response = await broken.call('GET', `/v1/tasks?group=${group}`);
    const answer = await problem(response);
    expect(answer).toMatchObject({
      code: 'internal',
      status: 500,
      detail: errorTable.internal.text,
    });
    expect(broken.errors).toHaveLength(1);
    broken.errors.length = 0;
    await broken.stop();
  });

  it('in the middle of others’ work concerns nobody else', async () => {
    const group = await createTestGroup(mesh);
    const [bad, good] = await Promise.all([
      putBatch(mesh, group, { count: 9, block: testBlock(1) }),
      putBatch(mesh, group, { count: 1 }),
    ]);
    expect([bad.status, good.status]).toEqual([400, 201]);
  });
});
