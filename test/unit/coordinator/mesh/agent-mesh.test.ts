import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchBlob, putBlob } from '../../../../protocol/net/blob-transfer.ts';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import type { BatchNumber, BlobHash, GroupId } from '../../../../protocol/wire/ids.ts';
import { blobProtocol } from '../../../../protocol/wire/messages.ts';
import { encodeBlobReference, payloadTags } from '../../../../protocol/wire/payload.ts';
import type { HandAgent, MeshBench } from './bench.ts';
import { alice, bob, createMeshBench, groupSpec, payload } from './bench.ts';
import { decodeBlock } from './decode-block.ts';

const group = '0123456789ab';
const success = {
  status: 'success' as const,
  result: payload('1'),
  failure: null,
  runtimeMs: 1,
  peakMemoryBytes: 0,
  logBytes: 0,
};
const signal = (): AbortSignal => AbortSignal.timeout(5_000);
const hashOf = (bytes: Uint8Array): BlobHash =>
  createHash('sha256').update(bytes).digest('hex') as BlobHash;
async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

describe('agent mesh', () => {
  let bench: MeshBench;
  beforeEach(async () => {
    bench = await createMeshBench();
  });
  afterEach(async () => {
    await bench[Symbol.asyncDispose]();
  });
  /** A welcomed agent that pulls. */
  const join = async (
    options: { machine?: MeshHost; namespaces?: (typeof alice)[]; heldMax?: number } = {},
  ): Promise<HandAgent> => {
    const agent = await bench.connect(options.machine ?? (await bench.createMachine()));
    const joinToken = await bench.makeJoinToken(options.namespaces ?? null);
    agent.say(bench.hello({ joinToken }));
    await agent.next('welcome');
    agent.say({ kind: 'pull', heldMax: options.heldMax ?? 4 });
    return agent;
  };
  const createGroup = (name = group, namespace = alice) =>
    bench.driver.request({ kind: 'groupCreated', spec: groupSpec(name, namespace) });

  describe('admission', () => {
    it('welcomes a node with a join token, and later by its peer id alone', async () => {
      const machine = await bench.createMachine();
      const first = await join({ machine });
      expect(first.messages[0]).toMatchObject({
        kind: 'welcome',
        node: machine.peerId,
        settings: { heartbeatMs: 1_000, leaseMs: 15_000 },
        drop: [],
        logOffsets: [],
      });
      await first.frames.close();
      const again = await bench.connect(machine);
      again.say(bench.hello());
      await again.next('welcome');
    });

    it('refuses what is no good join token, and says why', async () => {
      const used = await bench.makeJoinToken();
      const machine = await bench.createMachine();
      const first = await bench.connect(machine);
      first.say(bench.hello({ joinToken: used }));
      await first.next('welcome');
      const cases: [string | null, RegExp][] = [
        [null, /gave no join token/],
        [used, /used up/],
        ['pgj_unknown', /not known/],
      ];
      for (const [joinToken, text] of cases) {
        const agent = await bench.connect(await bench.createMachine());
        agent.say(bench.hello({ joinToken }));
        const refused = await agent.next('refused');
        expect(refused).toMatchObject({ code: 'join_token_wrong' });
        expect(refused.message).toMatch(text);
        expect(refused.fix).toContain('join-token create');
        await agent.closed;
      }
    });

    it('refuses another version of the protocol by both versions', async () => {
      const agent = await bench.connect(await bench.createMachine());
      agent.frames.send({ kind: 'hello', protocol: 7, something: 'else' });
      const refused = await agent.next('refused');
      expect(refused.code).toBe('protocol_version');
      expect(refused.message).toMatch(/version 7 .* version 1/);
      await agent.closed;
    });

    it('refuses what is not a message, and ends the session', async () => {
      const agent = await join();
      agent.frames.send({ kind: 'pull', heldMax: 'many' });
      expect(await agent.next('refused')).toMatchObject({
        code: 'frame_invalid',
        message: expect.stringContaining('pull.heldMax'),
      });
      await agent.closed;
      const silent = await bench.connect(await bench.createMachine());
      silent.say({ kind: 'pull', heldMax: 1 });
      expect(await silent.next('refused')).toMatchObject({ code: 'frame_invalid' });
      await expect.poll(() => bench.driver.state().nodes.get(agent.node)?.session).toBe(null);
    });

    it('refuses a second hello also while the first is looked up', async () => {
      const machine = await bench.createMachine();
      await (await join({ machine })).frames.close();
      const twice = await bench.connect(machine);
      twice.say(bench.hello());
      twice.say(bench.hello());
      expect(await twice.next('refused')).toMatchObject({ code: 'frame_invalid' });
      await twice.closed;
    });

    it('waits for a hello no longer than it must', async () => {
      const hasty = await createMeshBench({ greetingMsMax: 20 });
      try {
        const agent = await hasty.connect(await hasty.createMachine());
        await agent.closed;
        expect(agent.messages).toEqual([]);
      } finally {
        await hasty[Symbol.asyncDispose]();
      }
    });

    it('ends the older of two sessions of a node', async () => {
      const machine = await bench.createMachine();
      const older = await join({ machine });
      const newer = await bench.connect(machine);
      newer.say(bench.hello());
      await newer.next('welcome');
      await older.closed;
      expect(newer.frames.isOpen).toBe(true);
    });
  });

  describe('work', () => {
    it('grants tasks with their arguments and tells a group once', async () => {
      await createGroup();
      const agent = await join();
      await bench.submit(group, [payload('[[0],{}]'), payload('[[1],{}]')]);
      const first = await agent.next('grants');
      expect(first.groups).toEqual([groupSpec(group)]);
      const [grant] = first.grants;
      expect(grant).toMatchObject({ group, batch: 1, lo: 0, attempt: 1 });
      expect(decodeBlock(grant)).toContain('J[[0],{}]');
      await bench.submit(group, [payload('[[2],{}]')]);
      const granted = (): string[] =>
        agent.messages.flatMap((message) =>
          message.kind === 'grants' ? message.grants.flatMap(decodeBlock) : [],
        );
      await expect.poll(granted).toEqual(['J[[0],{}]', 'J[[1],{}]', 'J[[2],{}]']);
      const told = agent.messages.flatMap((message) =>
        message.kind === 'grants' ? message.groups : [],
      );
      expect(told).toHaveLength(1);
    });

    it('tells a group again when its limits have changed', async () => {
      await createGroup();
      const agent = await join();
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      const limits = { maximumConcurrency: null, taskTimeoutMs: 5, retryCount: 0, priority: 0 };
      await bench.driver.request({ kind: 'groupUpdated', group: group as GroupId, limits });
      await bench.submit(group, [payload('2')]);
      const { groups } = await agent.next('grants');
      expect(groups).toEqual([{ ...groupSpec(group), taskTimeoutMs: 5 }]);
    });

    it('reads blocks from the store when they are no longer at hand, and keeps the order', async () => {
      const small = await createMeshBench({ blockCacheBytesMax: 1 });
      try {
        await small.driver.request({ kind: 'groupCreated', spec: groupSpec(group) });
        for (const text of ['a', 'b', 'c']) await small.submit(group, [payload(text)]);
        const agent = await small.connect(await small.createMachine());
        agent.say(small.hello({ joinToken: await small.makeJoinToken() }));
        agent.say({ kind: 'pull', heldMax: 4 });
        const cancel = {
          kind: 'taskCancelled' as const,
          task: { batch: 1 as BatchNumber, index: 0 },
        };
        await expect.poll(() => small.driver.state().nodes.get(agent.node)?.held.size).toBe(3);
        await small.driver.request(cancel);
        await agent.next('cancel');
        const kinds = agent.messages.map((message) => message.kind);
        expect(kinds.indexOf('grants')).toBeLessThan(kinds.indexOf('cancel'));
        const payloads = agent.messages.flatMap((message) =>
          message.kind === 'grants' ? message.grants.flatMap(decodeBlock) : [],
        );
        expect(payloads).toEqual(['Ja', 'Jb', 'Jc']);
      } finally {
        await small[Symbol.asyncDispose]();
      }
    });

    it('acknowledges a report once its outcomes are stored', async () => {
      await createGroup();
      const agent = await join();
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      const ref = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
      agent.say({ kind: 'report', report: 9, outcomes: [{ ...ref, ...success }] });
      expect(await agent.next('ack')).toEqual({ kind: 'ack', report: 9 });
      const stored = await bench.store.findOutcome(ref);
      expect(stored).toMatchObject({ node: agent.node, outcome: { status: 'success' } });
    });

    it('keeps output of attempts that the node holds, and of no others', async () => {
      await createGroup();
      const agent = await join();
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      const ref = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
      const chunk = { offset: 0, bytes: Buffer.from('out') };
      const foreign = { ...ref, attempt: 2 };
      agent.say({
        kind: 'log',
        chunks: [
          { ...foreign, ...chunk },
          { ...ref, ...chunk },
        ],
      });
      await expect.poll(() => bench.store.logOffset(ref)).toBe(3);
      expect(await bench.store.logOffset(foreign)).toBe(0);
    });

    it('tells a node that comes back what is still its own and how much of the log is here', async () => {
      await createGroup();
      const machine = await bench.createMachine();
      const agent = await join({ machine });
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      const ref = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
      agent.say({ kind: 'log', chunks: [{ ...ref, offset: 0, bytes: Buffer.from('out') }] });
      await expect.poll(() => bench.store.logOffset(ref)).toBe(3);
      await agent.frames.close();
      const again = await bench.connect(machine);
      const stranger = { ...ref, attempt: 4 };
      again.say(bench.hello({ held: [ref, stranger] }));
      expect(await again.next('welcome')).toMatchObject({
        drop: [stranger],
        logOffsets: [{ ...ref, offset: 3 }],
      });
    });

    it('knows at once that a node has left, and that one is gone without a word', async () => {
      const leaver = await join();
      const machine = await bench.createMachine();
      const breaker = await join({ machine });
      leaver.say({ kind: 'goodbye' });
      await machine.stop();
      const state = bench.driver.state();
      await expect.poll(() => state.departed.get(leaver.node)?.phase).toBe('gone');
      await expect.poll(() => state.nodes.get(breaker.node)?.session).toBe(null);
    });
  });

  describe('blobs', () => {
    const bytes = Buffer.alloc(200_000, 'x');
    const hash = hashOf(bytes);
    const get = async (machine: MeshHost, which = hash): Promise<number> => {
      const stream = await machine.open(bench.address, blobProtocol, { signal: signal() });
      const { bytes: download } = await fetchBlob(stream, { hash: which, offset: 0 });
      let read = 0;
      for await (const chunk of download) read += chunk.length;
      return read;
    };
    const put = async (machine: MeshHost, content: Buffer = bytes): Promise<void> => {
      const stream = await machine.open(bench.address, blobProtocol, { signal: signal() });
      await putBlob(stream, {
        hash: hashOf(content),
        sizeBytes: content.length,
        bytes: once(content),
      });
    };

    it('are for nodes of namespaces that may read them', async () => {
      await bench.blobs.writeBytes(bytes);
      await bench.store.grantBlob(alice, hash, 1);
      const [ofAlice, ofBob, ofAll, stranger] = [
        await bench.createMachine(),
        await bench.createMachine(),
        await bench.createMachine(),
        await bench.createMachine(),
      ];
      await join({ machine: ofAlice, namespaces: [alice] });
      await join({ machine: ofBob, namespaces: [bob] });
      await join({ machine: ofAll });
      expect(await get(ofAlice)).toBe(bytes.length);
      expect(await get(ofAll)).toBe(bytes.length);
      await expect(get(ofBob)).rejects.toMatchObject({ code: 'not_found' });
      await expect(get(stranger)).rejects.toMatchObject({ code: 'not_found' });
      await expect(put(stranger)).rejects.toMatchObject({ code: 'forbidden' });
    });

    it('that a node has put may be its result, and are then its namespace’s', async () => {
      await createGroup();
      const machine = await bench.createMachine();
      const agent = await join({ machine, namespaces: [alice] });
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      await put(machine);
      await put(machine);
      const result = encodeBlobReference({
        tag: payloadTags.pickle,
        hash,
        sizeBytes: bytes.length,
      });
      const ref = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
      agent.say({ kind: 'report', report: 1, outcomes: [{ ...ref, ...success, result }] });
      await agent.next('ack');
      expect((await bench.store.findOutcome(ref))?.outcome.status).toBe('success');
      expect(await bench.store.mayReadBlob(alice, hash)).toBe(true);
    });

    it('are no result under another size, and a malformed reference behind one ends the session', async () => {
      await createGroup();
      const machine = await bench.createMachine();
      const agent = await join({ machine, namespaces: [alice] });
      await bench.submit(group, [payload('1'), payload('2')]);
      await agent.next('grants');
      await put(machine);
      const sizeBytes = bytes.length + 1;
      const result = encodeBlobReference({ tag: payloadTags.pickle, hash, sizeBytes });
      const ref = (index: number) => ({ batch: 1 as BatchNumber, index, attempt: 1 });
      agent.say({ kind: 'report', report: 1, outcomes: [{ ...ref(0), ...success, result }] });
      const broken = Buffer.from('Bxx');
      agent.say({
        kind: 'report',
        report: 2,
        outcomes: [{ ...ref(1), ...success, result: broken }],
      });
      await agent.closed;
      expect(await bench.store.findOutcome(ref(0))).toMatchObject({
        outcome: { status: 'crash', failure: { name: 'ResultMissing' } },
      });
      await join({ machine });
    });

    it('that a node has not put are no result of it, and no way to another’s blobs', async () => {
      await bench.blobs.writeBytes(bytes);
      await bench.store.grantBlob(bob, hash, 1);
      await createGroup();
      const machine = await bench.createMachine();
      const agent = await join({ machine, namespaces: [alice] });
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      const result = encodeBlobReference({
        tag: payloadTags.pickle,
        hash,
        sizeBytes: bytes.length,
      });
      const ref = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
      agent.say({ kind: 'report', report: 1, outcomes: [{ ...ref, ...success, result }] });
      // What follows a report that is looked into keeps its place behind it.
      agent.say({ kind: 'goodbye' });
      await agent.next('ack');
      expect(await bench.store.findOutcome(ref)).toMatchObject({
        outcome: { status: 'crash', failure: { name: 'ResultMissing' } },
      });
      expect(await bench.store.mayReadBlob(alice, hash)).toBe(false);
    });
  });

  describe('outputs', () => {
    const bytes = Buffer.from('pixels');
    const hash = hashOf(bytes);
    const output = {
      name: 'ndvi',
      hash,
      sizeBytes: bytes.length,
      mediaType: 'image/tiff',
      metadata: '{}',
    };
    const put = async (machine: MeshHost): Promise<void> => {
      const stream = await machine.open(bench.address, blobProtocol, { signal: signal() });
      await putBlob(stream, { hash, sizeBytes: 6, bytes: once(bytes), isOutput: true });
    };
    const ref = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
    const begin = async () => {
      await createGroup();
      const machine = await bench.createMachine();
      const agent = await join({ machine, namespaces: [alice] });
      await bench.submit(group, [payload('1')]);
      await agent.next('grants');
      return { machine, agent };
    };
    const report = { kind: 'report', report: 1 } as const;

    it('are there with the outcome that names them, and not before', async () => {
      const { machine, agent } = await begin();
      await put(machine);
      expect(await bench.store.listTaskOutputs(ref)).toEqual([]);
      expect(await bench.store.mayReadBlob(alice, hash)).toBe(false);
      agent.say({ ...report, outcomes: [{ ...ref, ...success, outputs: [output] }] });
      await agent.next('ack');
      expect(await bench.store.listTaskOutputs(ref)).toMatchObject([{ ...output, attempt: 1 }]);
      expect(await bench.store.mayReadBlob(alice, hash)).toBe(true);
    });

    it.each([
      ['were never put', output],
      ['have another size', { ...output, sizeBytes: 7 }],
    ])('that %s are a crash of the attempt', async (what, told) => {
      const { machine, agent } = await begin();
      if (what !== 'were never put') await put(machine);
      agent.say({ ...report, outcomes: [{ ...ref, ...success, outputs: [told] }] });
      await agent.next('ack');
      expect(await bench.store.findOutcome(ref)).toMatchObject({
        outcome: { status: 'crash', failure: { name: 'OutputMissing' } },
      });
      expect(await bench.store.listTaskOutputs(ref)).toEqual([]);
    });

    it('of an attempt that is not the latest any more never count', async () => {
      const { machine, agent } = await begin();
      await put(machine);
      const stale = { ...ref, attempt: 2 };
      agent.say({ ...report, outcomes: [{ ...stale, ...success, outputs: [output] }] });
      await agent.next('ack');
      expect(await bench.store.findOutcome(ref)).toBeUndefined();
      expect(await bench.store.listTaskOutputs(ref)).toEqual([]);
      expect(await bench.store.mayReadBlob(alice, hash)).toBe(false);
    });

    it('are not taken while the disk is past its high-water mark, and results are', async () => {
      const { machine } = await begin();
      bench.disk.isFull = true;
      await expect(put(machine)).rejects.toMatchObject({ code: 'disk_full' });
      const stream = await machine.open(bench.address, blobProtocol, { signal: signal() });
      await putBlob(stream, { hash, sizeBytes: 6, bytes: once(bytes) });
      // What is there already needs no room.
      await put(machine);
    });
  });

  it('closes its sessions when it stops, and takes no new ones', async () => {
    const agent = await join();
    await bench.mesh.stop();
    await bench.mesh.stop();
    expect(await agent.closed).toBeUndefined();
    await expect(bench.connect(await bench.createMachine())).rejects.toMatchObject({
      code: 'protocol_version',
    });
  });
});
