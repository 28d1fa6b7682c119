import { randomUUID } from 'node:crypto';
import type { Stream } from '@libp2p/interface';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import type { FrameStream } from '../../../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../../../protocol/net/frame-stream.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import type { BatchView, GroupView, TaskView } from '../../../../protocol/wire/api.ts';
import type {
  ClientCallName,
  ClientMessage,
  ClientReply,
} from '../../../../protocol/wire/client.ts';
import { clientCallsMax } from '../../../../protocol/wire/client.ts';
import { encodeFrame } from '../../../../protocol/wire/frames.ts';
import { clientProtocol } from '../../../../protocol/wire/messages.ts';
import { createOutcomeRecordReader } from '../../../../protocol/wire/outcome-record.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { groupRequest, sha256, startGatewayMesh, succeeded, testBlock } from './gateway-mesh.ts';

let mesh: GatewayMesh;
let dialer: MeshHost;
beforeEach(async () => {
  mesh = await startGatewayMesh({ heartbeatMs: 100 });
  dialer = await createMeshHost({ key: await generateMeshKey(), listen: [], connectionsMax: 10 });
});
afterEach(async () => {
  await dialer.stop();
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

/** A stream of a client, with its replies in order. */
class TestClient {
  readonly #replies: ClientReply[] = [];
  readonly #waiters: (() => void)[] = [];
  readonly stream: Stream;
  readonly frames: FrameStream;
  isClosed = false;
  #nextId = 1;

  constructor(stream: Stream) {
    this.stream = stream;
    this.frames = createFrameStream(stream, {
      onMessage: (message) => {
        this.#replies.push(message as ClientReply);
        this.#wake();
      },
      onClose: () => {
        this.isClosed = true;
        this.#wake();
      },
    });
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  send(message: ClientMessage): void {
    this.frames.send(message);
  }

  call(name: ClientCallName, input: Record<string, unknown> = {}): number {
    const id = this.#nextId;
    this.#nextId += 1;
    this.send({ kind: 'call', id, name, input });
    return id;
  }

  /** The next reply that fits, taken out of the queue. */
  async reply(fits: (reply: ClientReply) => boolean): Promise<ClientReply> {
    for (;;) {
      const index = this.#replies.findIndex(fits);
      const [found] = index < 0 ? [] : this.#replies.splice(index, 1);
      if (found !== undefined) return found;
      if (this.isClosed) throw new Error('the stream was closed before');
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  replyTo(id: number): Promise<ClientReply> {
    return this.reply((reply) => 'id' in reply && reply.id === id);
  }

  async result<Output>(name: ClientCallName, input: Record<string, unknown> = {}): Promise<Output> {
    const reply = await this.replyTo(this.call(name, input));
    if (reply.kind !== 'result') throw new Error(JSON.stringify(reply));
    return reply.output as Output;
  }

  /** All items of a subscription. */
  async items<Item>(name: ClientCallName, input: Record<string, unknown> = {}): Promise<Item[]> {
    const id = this.call(name, input);
    const items: Item[] = [];
    for (;;) {
      const reply = await this.replyTo(id);
      if (reply.kind === 'ended') return items;
      if (reply.kind !== 'item') throw new Error(JSON.stringify(reply));
      items.push(reply.item as Item);
    }
  }
}

const dial = async (running = mesh): Promise<Stream> => {
  const [address] = running.host.addresses();
  if (address === undefined) throw new Error('the mesh listens');
  return dialer.open(address, clientProtocol, { signal: AbortSignal.timeout(5_000) });
};
const connect = async (token = mesh.operator, running = mesh): Promise<TestClient> => {
  const client = new TestClient(await dial(running));
  client.send({ kind: 'open', protocol: 1, software: 'test', token });
  return client;
};

describe('a client stream', () => {
  it('opens with a token and runs the operations of HTTP, one behind the other without waiting', async () => {
    const client = await connect();
    const whoami = client.call('whoami');
    const status = client.call('status.get');
    expect(await client.reply((reply) => reply.kind === 'opened')).toMatchObject({
      protocol: 1,
      software: '0.0.0-test',
      who: { namespace: 'default', role: 'operator' },
    });
    const [who, state] = await Promise.all([client.replyTo(whoami), client.replyTo(status)]);
    const http = await (await mesh.call('GET', '/v1/whoami')).json();
    expect(who).toMatchObject({ kind: 'result', output: http });
    expect(state).toMatchObject({ kind: 'result', output: { namespace: 'default' } });
    await client.frames.close();
  });

  it('takes a function, arguments and results through a task’s life', async () => {
    const client = await connect();
    const { image, name, python } = groupRequest();
    const group = await client.result<GroupView>('groups.create', {
      name,
      image,
      python,
      function: { kind: 'pickle', inline: Buffer.from('a pickle') },
    });
    expect(group.function.blob).toBe(sha256('a pickle'));
    const clientBatch = randomUUID();
    const submit = { group: group.id, clientBatch, count: 3, block: testBlock(3) };
    const batch = await client.result<BatchView>('batches.submit', submit);
    expect(batch).toMatchObject({ batch: 1, count: 3, submittedAfter: 0, created: true });
    const again = await client.result<BatchView>('batches.submit', submit);
    expect(again).toEqual({ ...batch, created: false });
    const followed = (await connect()) as TestClient;
    const following = followed.call('outcomes.follow', { after: 0, groups: [group.id] });
    const node = mesh.join();
    const held = await node.held(3);
    node.report(held.map((attempt) => succeeded(attempt)));
    const reader = createOutcomeRecordReader();
    const numbers: number[] = [];
    while (numbers.length < 3) {
      const reply = await followed.replyTo(following);
      if (reply.kind !== 'item') throw new Error(JSON.stringify(reply));
      for (const record of reader.push(reply.item as Uint8Array)) {
        if (record.kind === 'outcome') numbers.push(record.outcomeNumber);
      }
    }
    expect(numbers).toEqual([1, 2, 3]);
    followed.send({ kind: 'cancel', id: following });
    await followed.reply((reply) => reply.kind === 'ended' && reply.id === following);
    const task = await client.result<TaskView>('tasks.get', { id: '1-2' });
    expect(task).toMatchObject({ state: 'done', status: 'SUCCESS' });
    const parts = await client.items<Uint8Array>('tasks.result', { id: '1-2' });
    expect(Buffer.concat(parts).toString()).toBe('Presult');
    const given = await client.items<Uint8Array>('tasks.arguments', { id: '1-2' });
    expect(Buffer.concat(given).toString()).toBe('Pargument 2');
    await Promise.all([client.frames.close(), followed.frames.close()]);
  });

  it('follows a log until the task is done', async () => {
    const client = await connect();
    const group = await client.result<GroupView>('groups.create', groupRequest());
    await client.result('batches.submit', {
      group: group.id,
      clientBatch: randomUUID(),
      count: 1,
      block: testBlock(1),
    });
    const node = mesh.join();
    const [attempt] = await node.held(1);
    if (attempt === undefined) throw new Error('an attempt is held');
    const id = client.call('tasks.log', { id: '1-0', follow: true });
    node.log(attempt, 0, 'hello\n');
    expect(await client.replyTo(id)).toMatchObject({
      kind: 'item',
      item: { attempt: 1, offset: 0, nextOffset: 6, bytes: Buffer.from('hello\n') },
    });
    node.report([succeeded(attempt)]);
    expect(await client.replyTo(id)).toEqual({ kind: 'ended', id });
    await client.frames.close();
  });

  it('uploads a blob in parts, larger than any buffer, and reads it back', async () => {
    const client = await connect();
    const bytes = Buffer.alloc(12 * 1024 * 1024);
    for (let offset = 0; offset < bytes.length; offset += 4) bytes.writeUInt32LE(offset, offset);
    const hash = sha256(bytes);
    expect(await client.result('blobs.find', { hash })).toEqual({ sizeBytes: null });
    const id = client.call('blobs.put', { hash });
    for (let start = 0; start < bytes.length; start += 256 * 1024) {
      const part = bytes.subarray(start, start + 256 * 1024);
      client.send({ kind: 'part', id, bytes: part });
      if (client.frames.queuedBytes > 1024 * 1024) await client.frames.drained();
    }
    client.send({ kind: 'partsEnd', id });
    expect(await client.replyTo(id)).toEqual({
      kind: 'result',
      id,
      output: { hash, created: true },
    });
    expect(await client.result('blobs.find', { hash })).toEqual({ sizeBytes: bytes.length });
    const parts = await client.items<Uint8Array>('blobs.get', { hash, offset: 1_000 });
    expect(Buffer.concat(parts).equals(bytes.subarray(1_000))).toBe(true);
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(256 * 1024);
    await client.frames.close();
  });

  it('gives up an upload that is cancelled, or whose client is gone, and keeps nothing', async () => {
    const client = await connect();
    const hash = sha256('never whole');
    const id = client.call('blobs.put', { hash });
    client.send({ kind: 'part', id, bytes: Buffer.from('never') });
    client.send({ kind: 'cancel', id });
    expect(await client.replyTo(id)).toEqual({ kind: 'ended', id });
    const second = client.call('blobs.put', { hash });
    client.send({ kind: 'part', id: second, bytes: Buffer.from('never') });
    await client.result('whoami');
    client.frames.abort(new Error('the client is gone'));
    const other = await connect();
    expect(await other.result('blobs.find', { hash })).toEqual({ sizeBytes: null });
    await other.frames.close();
  });
});

describe('an upload that stands still', () => {
  it('is given up, and nothing of it is kept', async () => {
    const hasty = await startGatewayMesh({ idleTimeoutMs: 100 });
    try {
      const client = await connect(hasty.operator, hasty);
      const hash = sha256('never whole');
      const id = client.call('blobs.put', { hash });
      client.send({ kind: 'part', id, bytes: Buffer.from('never') });
      expect(await client.replyTo(id)).toMatchObject({ kind: 'failed', code: 'timed_out' });
      expect(await client.result('blobs.find', { hash })).toEqual({ sizeBytes: null });
      await client.frames.close();
    } finally {
      await hasty.stop();
    }
  });
});

describe('a client that is wrong', () => {
  it('is refused with a wrong token, and the stream is closed', async () => {
    const client = await connect('pgt_nobody');
    const refused = await client.reply((reply) => reply.kind === 'refused');
    expect(refused).toMatchObject({ code: 'token_wrong', fix: expect.stringContaining('token') });
    await expect.poll(() => client.isClosed).toBe(true);
  });

  it('is refused when it speaks another protocol', async () => {
    const client = new TestClient(await dial());
    client.send({ kind: 'open', protocol: 9, software: 'test', token: mesh.operator });
    const refused = await client.reply((reply) => reply.kind === 'refused');
    expect(refused).toMatchObject({ code: 'protocol_version' });
  });

  it('is refused when it calls before it opens, or sends garbage', async () => {
    const early = new TestClient(await dial());
    early.call('whoami');
    const refused = await early.reply((reply) => reply.kind === 'refused');
    expect(refused).toMatchObject({ code: 'token_missing' });
    const odd = await connect();
    odd.frames.send({ kind: 'call', id: 'one', name: 'whoami' });
    const malformed = await odd.reply((reply) => reply.kind === 'refused');
    expect(malformed).toMatchObject({ code: 'frame_invalid' });
    const raw = await dial();
    const closed = new Promise<void>((resolve) => {
      raw.addEventListener('close', () => resolve());
    });
    raw.send(encodeFrame(Buffer.from([0xc1, 0xc1])));
    await closed;
  });

  it('is refused when it does not say who it is', async () => {
    await using other = await startGatewayMesh({ headersTimeoutMs: 100 });
    const [address] = other.host.addresses();
    if (address === undefined) throw new Error('the mesh listens');
    const signal = AbortSignal.timeout(5_000);
    const silent = new TestClient(await dialer.open(address, clientProtocol, { signal }));
    const refused = await silent.reply((reply) => reply.kind === 'refused');
    expect(refused).toMatchObject({ code: 'token_missing' });
  });

  it('hears of each failed call by its id, and the others go on', async () => {
    const client = await connect();
    const unknown = client.call('groups.get', { id: 'ffffffffffff' });
    const nonsense = client.call('groups.paint' as ClientCallName);
    const fine = client.call('whoami');
    expect(await client.replyTo(unknown)).toMatchObject({ kind: 'failed', code: 'not_found' });
    expect(await client.replyTo(nonsense)).toMatchObject({
      kind: 'failed',
      code: 'invalid_request',
    });
    expect(await client.replyTo(fine)).toMatchObject({ kind: 'result' });
    await client.frames.close();
  });

  it('has a bound on calls at once', async () => {
    const client = await connect();
    const open = Array.from({ length: clientCallsMax }, () =>
      client.call('outcomes.follow', { after: 0 }),
    );
    const one = client.call('whoami');
    expect(await client.replyTo(one)).toMatchObject({ kind: 'failed', code: 'queue_full' });
    for (const id of open) client.send({ kind: 'cancel', id });
    await client.reply((reply) => reply.kind === 'ended' && reply.id === open.at(-1));
    expect(await client.result('whoami')).toMatchObject({ role: 'operator' });
    await client.frames.close();
  });

  it('is told why its subscriptions end', async () => {
    const token = await mesh.token('bob', 'user');
    const client = await connect(token);
    const id = client.call('outcomes.follow', { after: 0 });
    await client.replyTo(id);
    await mesh.call('DELETE', `/v1/tokens/${token.split('_')[1]}`);
    const failed = await client.reply((reply) => reply.kind === 'failed' && reply.id === id);
    expect(failed).toMatchObject({ code: 'token_revoked' });
    const call = client.call('whoami');
    expect(await client.replyTo(call)).toMatchObject({ kind: 'failed', code: 'token_revoked' });
    const other = await connect();
    const following = other.call('outcomes.follow', { after: 0 });
    await other.replyTo(following);
    await mesh.gateway.stop();
    const ended = await other.reply((reply) => reply.kind === 'failed' && reply.id === following);
    expect(ended).toMatchObject({ code: 'draining' });
    await expect.poll(() => other.isClosed).toBe(true);
  });
});
