import { afterEach, describe, expect, it } from 'vitest';
import type { Retention } from '../../../../coordinator/retention/create-retention.ts';
import { createRetention } from '../../../../coordinator/retention/create-retention.ts';
import { encodeBlock } from '../../../../protocol/wire/block.ts';
import type { AttemptRef, GroupId, NamespaceName } from '../../../../protocol/wire/ids.ts';
import { encodeBlobReference } from '../../../../protocol/wire/payload.ts';
import type { GatewayMesh } from '../gateway/gateway-mesh.ts';
import {
  createTestGroup,
  problem,
  putBatch,
  raised,
  sha256,
  startGatewayMesh,
  succeeded,
} from '../gateway/gateway-mesh.ts';

const day = 86_400_000;
const namespace = 'default' as NamespaceName;

let mesh: GatewayMesh;
let retention: Retention | undefined;
afterEach(async () => {
  await retention?.stop();
  await mesh?.stop();
  expect(mesh.errors).toEqual([]);
});

/** A mesh whose sweeps follow each other at once. */
async function startSwept(changes: Partial<Parameters<typeof createRetention>[1]> = {}) {
  mesh = await startGatewayMesh();
  const clock = { nowMs: () => Date.now() + mesh.nowMs.value };
  retention = createRetention(
    { store: mesh.store, blobs: mesh.blobs, driver: mesh.driver, clock, log: { warn: fail } },
    {
      ...{ keepLogsDays: 14, keepResultsDays: 30, keepRecordsDays: 90 },
      ...{ sweepMs: 5, sweepPauseMs: 1, blobGraceMs: 3_600_000 },
      ...changes,
    },
  );
  retention.start();
}

function fail(fields: object): void {
  throw new Error('a sweep broke off', { cause: fields });
}

/** Lets days pass, and two whole passes. */
async function passDays(days: number): Promise<void> {
  mesh.nowMs.value += days * day;
  for (let pass = 0; pass < 2; pass += 1) {
    const before = retention?.held(namespace);
    await expect.poll(() => retention?.held(namespace) !== before).toBe(true);
  }
}

const get = (path: string) => mesh.call('GET', path);
async function expectExpired(path: string): Promise<void> {
  const response = await get(path);
  expect(response.status).toBe(410);
  expect((await problem(response)).code).toBe('result_expired');
}

/** One batch of three: a short result with output, a long one as a blob, and a failure. */
async function runThree(group: string): Promise<{ batch: number; blob: string }> {
  const node = mesh.join();
  const { batch } = (await (await putBatch(mesh, group, { count: 3 })).json()) as { batch: number };
  const [one, two, three] = await node.held(3);
  if (one === undefined || two === undefined || three === undefined) throw new Error('not granted');
  const blob = await mesh.blobs.writeBytes(Buffer.alloc(100_000, batch));
  const long = encodeBlobReference({ tag: 0x50, hash: blob, sizeBytes: 100_000 });
  node.log(one, 0, 'said something');
  node.report([{ ...succeeded(one), logBytes: 14 }, succeeded(two, long), raised(three)]);
  await expect.poll(async () => (await get(`/v1/tasks/${batch}-1/result`)).status).toBe(200);
  node.leave();
  return { batch, blob };
}

/** A task that gave out a file. */
async function runOneWithOutput(group: string): Promise<{ batch: number }> {
  const node = mesh.join();
  const { batch } = (await (await putBatch(mesh, group, { count: 1 })).json()) as { batch: number };
  const [one] = await node.held(1);
  if (one === undefined) throw new Error('not granted');
  const hash = await mesh.blobs.writeBytes(Buffer.from('pixels'));
  const output = { name: 'ndvi', hash, sizeBytes: 6, mediaType: 'image/tiff', metadata: '{}' };
  node.report([{ ...succeeded(one), outputs: [output] }]);
  await expect.poll(async () => (await get(`/v1/tasks/${batch}-0/result`)).status).toBe(200);
  node.leave();
  return { batch };
}

const page = { limit: 10, cursor: null };

describe('retention', () => {
  it('removes output, then results and arguments, then all that is known of done tasks', async () => {
    await startSwept();
    const group = await createTestGroup(mesh);
    const { batch, blob } = await runThree(group);
    await passDays(1);
    const status = (await (await get('/v1/status')).json()) as Record<string, unknown>;
    expect(status['held']).toBeNull();
    expect(retention?.held(namespace)).toMatchObject({ logs: 14, blobs: 100_000 + 8 });
    expect((await get(`/v1/tasks/${batch}-0/log`)).status).toBe(200);

    await passDays(14);
    await expectExpired(`/v1/tasks/${batch}-0/log`);
    expect(await (await get(`/v1/tasks/${batch}-0/result`)).text()).toBe('Presult');

    await passDays(16);
    await expectExpired(`/v1/tasks/${batch}-0/result`);
    await expectExpired(`/v1/tasks/${batch}-1/result`);
    await expectExpired(`/v1/tasks/${batch}-0/arguments`);
    expect(await mesh.blobs.has(blob as never)).toBe(false);
    const view = (await (await get(`/v1/tasks/${batch}-0`)).json()) as Record<string, unknown>;
    expect(view).toMatchObject({ state: 'done', status: 'SUCCESS', resultBytes: null });
    // The failure is what there was to know of it, and stays.
    expect(await (await get(`/v1/tasks/${batch}-2`)).json()).toMatchObject({
      exception: 'KeyError',
      traceback: 'Traceback: KeyError',
    });
    expect(retention?.held(namespace)).toMatchObject({ results: 0, arguments: 0, logs: 0 });

    const latest = await mesh.store.latestOutcomeNumber(namespace);
    await passDays(60);
    await expectExpired(`/v1/tasks/${batch}-0`);
    await expectExpired(`/v1/tasks/${batch}-2/explain`);
    expect((await get(`/v1/tasks/${batch + 100}-0`)).status).toBe(404);
    // Neither numbers of batches nor of outcomes are given twice.
    expect(await mesh.store.latestOutcomeNumber(namespace)).toBe(latest);
    const restored = await mesh.store.restore();
    expect(restored.nextBatch).toBe(batch + 1);
    expect(new Map(restored.outcomeNumbers).get(namespace)).toBe(latest);
    const next = await runThree(group);
    expect(next.batch).toBe(batch + 1);
  });

  it('never takes what a task that is not done needs, however long it waits', async () => {
    await startSwept();
    const bytes = Buffer.alloc(70_000, 'x');
    const hash = sha256(bytes);
    await mesh.call('PUT', `/v1/blobs/${hash}`, { body: bytes });
    const group = await createTestGroup(mesh);
    const reference = encodeBlobReference({ tag: 0x50, hash: hash as never, sizeBytes: 70_000 });
    const block = encodeBlock([Buffer.from('Psmall'), reference]);
    const { batch } = (await (await putBatch(mesh, group, { count: 2, block })).json()) as {
      batch: number;
    };
    const node = mesh.join({ slots: 1, cpus: 1 });
    const [first] = await node.held(1);
    if (first === undefined) throw new Error('not granted');
    node.log(first, 0, 'still here');
    await passDays(400);
    for (const index of [0, 1]) {
      expect((await get(`/v1/tasks/${batch}-${index}/arguments`)).status).toBe(200);
    }
    expect(await (await get(`/v1/tasks/${batch}-0/log`)).text()).toContain('still here');
    const again = mesh.join({ slots: 2 });
    const held = await again.held(2);
    again.report(held.map((attempt: AttemptRef) => succeeded(attempt)));
    await expect.poll(async () => (await get(`/v1/tasks/${batch}-1/result`)).status).toBe(200);
    await passDays(1);
    expect((await get(`/v1/tasks/${batch}-0/result`)).status).toBe(200);
  });

  it('takes outputs as old as results, and never what a group carries', async () => {
    await startSwept();
    const carried = Buffer.alloc(10_000, 'modules');
    const include = { blob: sha256(carried), modules: ['mine'] };
    await mesh.call('PUT', `/v1/blobs/${include.blob}`, { body: carried });
    const group = await createTestGroup(mesh, { changes: { include } });
    const { batch } = await runOneWithOutput(group);
    await passDays(29);
    const output = `/v1/tasks/${batch}-0/outputs/ndvi`;
    expect(await (await get(output)).text()).toBe('pixels');
    await passDays(3);
    await expectExpired(output);
    expect(await mesh.blobs.has(include.blob as never)).toBe(true);
    await mesh.call('DELETE', `/v1/groups/${group}`);
    await passDays(91);
    expect((await mesh.store.listGroupOutputs(group as GroupId, page)).items).toEqual([]);
    expect(await mesh.blobs.has(include.blob as never)).toBe(false);
  });

  it('keeps everything when it is told to keep things for ever', async () => {
    await startSwept({ keepLogsDays: 0, keepResultsDays: 0, keepRecordsDays: 0 });
    const { batch } = await runThree(await createTestGroup(mesh));
    await passDays(3_000);
    for (const what of ['result', 'arguments', 'log']) {
      expect((await get(`/v1/tasks/${batch}-0/${what}`)).status).toBe(200);
    }
    expect((await get(`/v1/tasks/${batch}-1/result`)).status).toBe(200);
  });

  it('removes groups that were terminated long ago, and no other', async () => {
    await startSwept();
    const over = await createTestGroup(mesh);
    const lives = await createTestGroup(mesh);
    await runThree(over);
    await mesh.call('DELETE', `/v1/groups/${over}`);
    await passDays(91);
    expect((await get(`/v1/groups/${over}`)).status).toBe(404);
    expect((await get(`/v1/groups/${lives}`)).status).toBe(200);
    expect(mesh.driver.state().groups.has(over as GroupId)).toBe(false);
  });
});

describe('group rm', () => {
  it('is refused while the group is not over, and takes all of it then', async () => {
    await startSwept();
    const group = await createTestGroup(mesh);
    const other = await createTestGroup(mesh);
    const { batch } = await runThree(group);
    const kept = await runThree(other);
    await runOneWithOutput(group);
    expect((await mesh.store.listGroupOutputs(group as GroupId, page)).items).toHaveLength(1);
    const remove = () => mesh.call('POST', `/v1/groups/${group}/remove`);
    const refused = await problem(await remove());
    expect(refused.code).toBe('conflict');
    expect(refused.fix).toContain(`group terminate ${group}`);
    await mesh.call('DELETE', `/v1/groups/${group}`);
    const reader = await mesh.token('default', 'read');
    const forbidden = await mesh.call('POST', `/v1/groups/${group}/remove`, { token: reader });
    expect(forbidden.status).toBe(403);
    expect(await (await remove()).json()).toEqual({ id: group });
    expect((await get(`/v1/groups/${group}`)).status).toBe(404);
    expect((await mesh.store.listGroupOutputs(group as GroupId, page)).items).toEqual([]);
    await expectExpired(`/v1/tasks/${batch}-0`);
    expect((await get(`/v1/tasks/${kept.batch}-0/result`)).status).toBe(200);
    expect((await remove()).status).toBe(404);
  });

  it('goes a few rows at a time, however many there are', async () => {
    await startSwept();
    const group = await createTestGroup(mesh);
    const node = mesh.join();
    const count = 1_000;
    await putBatch(mesh, group, { count });
    const held: AttemptRef[] = [];
    while (held.length < count) {
      const granted = await node.held(1);
      held.push(...granted);
      node.report(granted.map((attempt) => succeeded(attempt)));
    }
    await mesh.call('DELETE', `/v1/groups/${group}`);
    let steps = 0;
    for (;;) {
      const step = await mesh.store.removeGroup(group as GroupId);
      if (step === 'removed') break;
      expect(step).toBe('more');
      steps += 1;
    }
    // Two hundred outcomes a step.
    expect(steps).toBeGreaterThanOrEqual(5);
  });
});
