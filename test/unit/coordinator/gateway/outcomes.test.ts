import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HeartbeatRecord, OutcomeRecord } from '../../../../protocol/wire/outcome-record.ts';
import { createOutcomeRecordReader } from '../../../../protocol/wire/outcome-record.ts';
import { encodeBlobReference, payloadTags } from '../../../../protocol/wire/payload.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import {
  createTestGroup,
  problem,
  putBatch,
  raised,
  startGatewayMesh,
  succeeded,
} from './gateway-mesh.ts';

let mesh: GatewayMesh;
afterEach(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

type StreamRecord = OutcomeRecord | HeartbeatRecord;

/** Reads a completion stream record by record. */
class StreamReading {
  readonly #reader = createOutcomeRecordReader();
  readonly #body: ReadableStreamDefaultReader<Uint8Array>;
  readonly #waiting: StreamRecord[] = [];

  constructor(response: Response) {
    expect(response.headers.get('content-type')).toBe('application/x-perigee-outcomes');
    if (response.body === null) throw new Error('no body');
    this.#body = response.body.getReader();
  }

  async next(): Promise<StreamRecord | undefined> {
    for (;;) {
      const record = this.#waiting.shift();
      if (record !== undefined) return record;
      const { value, done } = await this.#body.read();
      if (done) return undefined;
      this.#waiting.push(...this.#reader.push(value));
    }
  }

  async outcomes(count: number): Promise<OutcomeRecord[]> {
    const found: OutcomeRecord[] = [];
    while (found.length < count) {
      const record = await this.next();
      if (record === undefined) throw new Error(`the stream ended after ${found.length}`);
      if (record.kind === 'outcome') found.push(record);
    }
    return found;
  }

  async all(): Promise<StreamRecord[]> {
    const found: StreamRecord[] = [];
    for (;;) {
      const record = await this.next();
      if (record === undefined) return found;
      found.push(record);
    }
  }

  async cancel(): Promise<void> {
    await this.#body.cancel();
  }
}

const follow = async (query: string, token?: string): Promise<StreamReading> =>
  new StreamReading(
    await mesh.call('GET', `/v1/outcomes?${query}`, token === undefined ? {} : { token }),
  );

const numbers = (records: readonly StreamRecord[]): number[] =>
  records.filter((record) => record.kind === 'outcome').map((record) => record.outcomeNumber);

/** Submits and finishes tasks; answers when their outcomes are on disk. */
async function finish(group: string, count: number, token?: string): Promise<void> {
  const namespace = token === undefined ? 'default' : 'bob';
  const before = await mesh.store.latestOutcomeNumber(namespace as never);
  await putBatch(mesh, group, { count, ...(token === undefined ? {} : { token }) });
  const node = mesh.join({ slots: count, cpus: count });
  const held = await node.held(count);
  node.report(held.map((attempt) => succeeded(attempt)));
  await expect.poll(() => mesh.store.latestOutcomeNumber(namespace as never)).toBe(before + count);
  node.leave();
}

describe('the completion stream', () => {
  beforeEach(async () => {
    mesh = await startGatewayMesh({ heartbeatMs: 100 });
  });

  it('sends what is recorded, then a heartbeat, and ends when it does not follow', async () => {
    const group = await createTestGroup(mesh);
    await finish(group, 3);
    const records = await (await follow('after=0')).all();
    expect(records).toMatchObject([
      { kind: 'outcome', outcomeNumber: 1, batch: 1, status: 'success', attempt: 1 },
      { kind: 'outcome', outcomeNumber: 2 },
      { kind: 'outcome', outcomeNumber: 3 },
      { kind: 'heartbeat', outcomeNumber: 3 },
    ]);
    const [first] = records;
    if (first?.kind !== 'outcome') throw new Error('an outcome comes first');
    expect(Buffer.from(first.result ?? []).toString()).toBe('Presult');
    expect(first.peakMemoryBytes).toBe(3_000_000);
    expect(await (await follow('after=3')).all()).toEqual([
      { kind: 'heartbeat', outcomeNumber: 3 },
    ]);
  });

  it('follows: what is on disk comes at once, then each outcome as it is recorded', async () => {
    const group = await createTestGroup(mesh);
    await finish(group, 2);
    const reading = await follow('after=0&follow=true');
    expect(numbers(await reading.outcomes(2))).toEqual([1, 2]);
    await finish(group, 2);
    expect(numbers(await reading.outcomes(2))).toEqual([3, 4]);
    await reading.cancel();
  });

  it('beats while nothing happens', async () => {
    const reading = await follow('after=0&follow=true');
    for (let beat = 0; beat < 3; beat += 1) {
      expect(await reading.next()).toEqual({ kind: 'heartbeat', outcomeNumber: 0 });
    }
    await reading.cancel();
  });

  it('goes on after the number it is given, without gap or repeat, however often it breaks', async () => {
    const group = await createTestGroup(mesh);
    const count = 400;
    await putBatch(mesh, group, { count });
    const node = mesh.join({ slots: count, cpus: count });
    const held = await node.held(count);
    const seen: number[] = [];
    const reported = (async () => {
      for (let start = 0; start < count; start += 10) {
        node.report(held.slice(start, start + 10).map((attempt) => succeeded(attempt)));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    while (seen.length < count) {
      const reading = await follow(`after=${seen.at(-1) ?? 0}&follow=true`);
      const wanted = Math.min(37, count - seen.length);
      seen.push(...numbers(await reading.outcomes(wanted)).slice(0, wanted));
      await reading.cancel();
    }
    await reported;
    expect(seen).toEqual(Array.from({ length: count }, (_, index) => index + 1));
  });

  it('carries failures with the end of their log, and leaves out what is too long', async () => {
    const group = await createTestGroup(mesh);
    await putBatch(mesh, group, { count: 3 });
    const node = mesh.join();
    const [failed, large, blob] = await node.held(3);
    if (!failed || !large || !blob) throw new Error('three attempts are held');
    const log = `${'x'.repeat(5_000)}é last words`;
    node.log(failed, 0, log);
    const hash = await mesh.blobs.writeBytes(Buffer.alloc(70_000, 'b'));
    const reference = encodeBlobReference({ tag: payloadTags.pickle, hash, sizeBytes: 70_000 });
    node.report([
      raised(failed, Buffer.byteLength(log)),
      succeeded(large, Buffer.alloc(1_001, 'P')),
      succeeded(blob, reference),
    ]);
    const reading = await follow('after=0&follow=true&inline=1000');
    const records = await reading.outcomes(3);
    expect(records[0]).toMatchObject({
      status: 'exception',
      logBytes: Buffer.byteLength(log),
      failure: {
        exception: 'KeyError',
        message: "'red'",
        traceback: 'Traceback: KeyError',
        node: node.id,
      },
      result: null,
    });
    const tail = records[0]?.failure?.logTail ?? '';
    expect(tail.endsWith('xé last words')).toBe(true);
    expect(Buffer.byteLength(tail)).toBe(4_096);
    expect(records[1]?.result?.length).toBe(1_001);
    expect(records[2]).toMatchObject({ failure: null, result: null });
    await reading.cancel();
    const small = await follow('after=0&inline=999');
    expect((await small.outcomes(3))[1]?.result).toBeNull();
    await small.cancel();
  });

  it('filters by groups, live and from disk, and says how far it has looked', async () => {
    const wanted = await createTestGroup(mesh);
    const other = await createTestGroup(mesh);
    await finish(other, 2);
    await finish(wanted, 1);
    await finish(other, 1);
    const reading = await follow(`after=0&follow=true&groups=${wanted.slice(0, 11)}`);
    expect(await reading.next()).toMatchObject({ kind: 'outcome', outcomeNumber: 3 });
    expect(await reading.next()).toEqual({ kind: 'heartbeat', outcomeNumber: 4 });
    await finish(other, 2);
    await finish(wanted, 1);
    const live = await reading.outcomes(1);
    expect(numbers(live)).toEqual([7]);
    await finish(other, 1);
    let beat = await reading.next();
    while (beat?.outcomeNumber !== 8) beat = await reading.next();
    expect(beat.kind).toBe('heartbeat');
    await reading.cancel();
  });

  it('tells who asks for what cannot be', async () => {
    const group = await createTestGroup(mesh);
    const code = async (query: string): Promise<string> =>
      (await problem(await mesh.call('GET', `/v1/outcomes?${query}`))).code;
    expect(await code('after=1')).toBe('cursor_expired');
    expect(await code('after=-1')).toBe('invalid_request');
    expect(await code('after=soon')).toBe('invalid_request');
    expect(await code(`after=0&groups=${group},000000000000`)).toBe('not_found');
    expect(await code('after=0&inline=70000')).toBe('invalid_request');
    expect(await code('after=0&follow=perhaps')).toBe('invalid_request');
  });

  it('keeps namespaces apart', async () => {
    const token = await mesh.token('bob', 'user');
    await finish(await createTestGroup(mesh), 2);
    await finish(await createTestGroup(mesh, { token }), 1, token);
    const mine = await (await follow('after=0')).all();
    const theirs = await (await follow('after=0', token)).all();
    expect([numbers(mine), numbers(theirs)]).toEqual([[1, 2], [1]]);
    const peek = await mesh.call('GET', '/v1/outcomes?after=0&namespace=bob');
    expect((await problem(peek)).code).toBe('forbidden');
  });

  it('ends at once when its token is revoked, when it expires, and when the gateway stops', async () => {
    const revoked = await mesh.token('bob', 'read');
    const expiring = await mesh.token('bob', 'read', { expiresAtMs: Date.now() + 4_000 });
    const staying = await mesh.token('bob', 'read');
    const [one, two, three] = await Promise.all(
      [revoked, expiring, staying].map((token) => follow('after=0&follow=true', token)),
    );
    if (!one || !two || !three) throw new Error('three streams are open');
    const id = revoked.split('_')[1];
    expect((await mesh.call('DELETE', `/v1/tokens/${id}`)).status).toBe(200);
    expect((await one.all()).at(-1)?.kind).toBe('heartbeat');
    expect((await two.all()).at(-1)?.kind).toBe('heartbeat');
    const ended = three.all();
    await mesh.gateway.stop();
    expect((await ended).at(-1)?.kind).toBe('heartbeat');
  });
});

describe('a slow reader', () => {
  it('falls back to the store and still gets everything once, in order', async () => {
    // A ring of eight outcomes: whoever does not read at once has lost them from memory.
    mesh = await startGatewayMesh({ heartbeatMs: 200, recentOutcomesMax: 8 });
    const group = await createTestGroup(mesh);
    const count = 600;
    const result = Buffer.alloc(20_000, 'P');
    await putBatch(mesh, group, { count });
    const node = mesh.join({ slots: count, cpus: count });
    const held = await node.held(count);
    const reading = await follow('after=0&follow=true');
    for (let start = 0; start < count; start += 50) {
      node.report(held.slice(start, start + 50).map((attempt) => succeeded(attempt, result)));
      await expect.poll(() => mesh.store.latestOutcomeNumber('default' as never)).toBe(start + 50);
    }
    const seen = numbers(await reading.outcomes(count));
    expect(seen).toEqual(Array.from({ length: count }, (_, index) => index + 1));
    await reading.cancel();
  });
});

describe('the bound on streams', () => {
  it('refuses one more, and admits it when another has ended', async () => {
    mesh = await startGatewayMesh({ heartbeatMs: 100, streamsMax: 2 });
    const one = await follow('after=0&follow=true');
    const two = await follow('after=0&follow=true');
    const refused = await mesh.call('GET', '/v1/outcomes?after=0&follow=true');
    expect(await problem(refused)).toMatchObject({ code: 'queue_full', status: 429 });
    await one.cancel();
    await expect
      .poll(async () => (await mesh.call('GET', '/v1/outcomes?after=0')).status)
      .toBe(200);
    await two.cancel();
  });
});
