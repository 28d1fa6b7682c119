import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SaveEffect } from '../../coordinator/core/effects.ts';
import type { CatalogueImage } from '../../coordinator/images/image.ts';
import { createMemoryStore } from '../../coordinator/store/memory.ts';
import { createMemoryRecords } from '../../coordinator/store/memory-records.ts';
import { openSqliteStore } from '../../coordinator/store/open-sqlite.ts';
import type { Store, StoredToken } from '../../coordinator/store/port.ts';
import { fleetEventsMax } from '../../coordinator/store/port.ts';
import { encodeBlock } from '../../protocol/wire/block.ts';
import type {
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
  NamespaceName,
  NodeId,
} from '../../protocol/wire/ids.ts';
import { logHeadBytes, logTailBytes } from '../../protocol/wire/limits.ts';
import { encodeBlobReference, payloadTags } from '../../protocol/wire/payload.ts';
import type { AttemptOutcome, GroupSpec } from '../../protocol/wire/task.ts';

const alice = 'alice' as NamespaceName;
const bob = 'bob' as NamespaceName;
const groupA = 'aaaaaaaaaaaa' as GroupId;
const groupB = 'aaabbbbbbbbb' as GroupId;
const nodeOne = '12D3KooWnodeOneeeeeeeeeeeeeeeeeee' as NodeId;
const nodeTwo = '12D3KooWnodeTwoooooooooooooooooooo' as NodeId;
const hash = (digit: string): BlobHash => digit.repeat(64) as BlobHash;
const batchNumber = (number: number): BatchNumber => number as BatchNumber;

const spec = (group: GroupId, changes: Partial<GroupSpec> = {}): GroupSpec => ({
  group,
  namespace: alice,
  name: 'ndvi',
  imageName: 'perigee/geospatial:py2.7',
  imageDigest: `sha256:${'0'.repeat(64)}` as ImageDigest,
  functionKind: 'pickle',
  functionBlob: hash('1'),
  functionEntry: '',
  cloudpickleBlob: hash('2'),
  cloudpickleVersion: '1.6.0',
  python: { implementation: 'CPython', version: '2.7.18' },
  cpus: 1,
  memoryBytes: 2 ** 31,
  taskTimeoutMs: 1_800_000,
  retryCount: 0,
  maximumConcurrency: null,
  queueTimeoutMs: null,
  priority: 0,
  taskIsolation: 'worker',
  isolationMin: 'minimal',
  network: false,
  environment: {},
  resultFormat: 'pickle',
  ...changes,
});
const saveGroup = (group: GroupId, changes: Partial<GroupSpec> = {}): SaveEffect => ({
  kind: 'saveGroup',
  spec: spec(group, changes),
  atMs: 1_000,
});
const payload = (text: string): Uint8Array => Buffer.from(`P${text}`);
const blockOf = (count: number): Uint8Array =>
  encodeBlock(Array.from({ length: count }, (_, index) => payload(`argument ${index}`)));
const saveBatch = (
  number: number,
  changes: Partial<Extract<SaveEffect, { kind: 'saveBatch' }>> = {},
): SaveEffect => ({
  kind: 'saveBatch',
  batch: batchNumber(number),
  namespace: alice,
  group: groupA,
  clientBatch: `client-${number}`,
  blockHash: 'f'.repeat(64),
  count: 4,
  block: blockOf(4),
  assets: null,
  atMs: 2_000 + number,
  submittedAfter: 0,
  ...changes,
});
const saveGrant = (
  batch: number,
  changes: { lo?: number; count?: number; attempt?: number; node?: NodeId } = {},
): SaveEffect => ({
  kind: 'saveGrant',
  batch: batchNumber(batch),
  lo: 0,
  count: 4,
  attempt: 1,
  node: nodeOne,
  atMs: 3_000,
  ...changes,
});
const success: AttemptOutcome = {
  status: 'success',
  result: payload('result'),
  failure: null,
  runtimeMs: 12.5,
  peakMemoryBytes: 1_024,
  logBytes: 7,
};
const failed: AttemptOutcome = {
  ...success,
  status: 'exception',
  result: Buffer.alloc(0),
  failure: { name: 'KeyError', message: "'ü'", traceback: 'Traceback …' },
};
const saveOutcome = (
  batch: number,
  index: number,
  changes: Partial<Extract<SaveEffect, { kind: 'saveOutcome' }>> = {},
): SaveEffect => ({
  kind: 'saveOutcome',
  batch: batchNumber(batch),
  index,
  namespace: alice,
  outcomeNumber: index + 1,
  group: groupA,
  attempt: 1,
  node: nodeOne,
  outcome: success,
  submittedAtMs: 2_001,
  startedAtMs: 3_001,
  atMs: 4_000 + index,
  ...changes,
});
const saveEnd = (
  batch: number,
  index: number,
  changes: Partial<Extract<SaveEffect, { kind: 'saveAttemptEnd' }>> = {},
): SaveEffect => ({
  kind: 'saveAttemptEnd',
  batch: batchNumber(batch),
  index,
  attempt: 1,
  node: nodeOne,
  end: 'crash',
  charged: true,
  message: 'signal 11',
  atMs: 3_500,
  ...changes,
});

interface Bench {
  open(): Store;
  remove(): void;
}

const benches: Record<string, () => Bench> = {
  sqlite() {
    const folder = mkdtempSync(join(tmpdir(), 'perigee-store-'));
    return {
      open: () => openSqliteStore(join(folder, 'perigee.db')),
      remove: () => rmSync(folder, { recursive: true }),
    };
  },
  memory() {
    const records = createMemoryRecords();
    return { open: () => createMemoryStore(records), remove: () => {} };
  },
};

for (const [name, createBench] of Object.entries(benches)) {
  describe(`store on ${name}`, () => {
    let bench: Bench;
    let store: Store;
    const save = (...saves: SaveEffect[]): Promise<void> => store.commit({ saves, logs: [] });
    const reopen = async (): Promise<void> => {
      await store.close();
      store = bench.open();
    };
    beforeEach(() => {
      bench = createBench();
      store = bench.open();
    });
    afterEach(async () => {
      await store.close();
      bench.remove();
    });

    it('is empty at first and never gives a session number twice', async () => {
      const first = await store.restore();
      expect(first).toMatchObject({ groups: [], batches: [], nextBatch: 1, outcomeNumbers: [] });
      await reopen();
      const second = await store.restore();
      expect(second.nextSession).toBeGreaterThan(first.nextSession + 1_000_000);
    });

    it('restores what tasks read, and what was granted out of turn', async () => {
      const assets = {
        bytes: Uint8Array.from({ length: 24 }, (_, at) => at),
        starts: Uint32Array.from([0, 8, 8, 24, 24]),
      };
      await save(
        saveGroup(groupA),
        saveBatch(1, { assets }),
        saveGrant(1, { lo: 3, count: 1 }),
        saveGrant(1, { lo: 0, count: 1 }),
        saveGrant(1, { lo: 2, count: 1 }),
        saveOutcome(1, 2),
      );
      await reopen();
      const { batches } = await store.restore();
      expect(batches).toMatchObject([
        { next: 1, doneCount: 1, doneAhead: [2], open: [{ index: 0 }, { index: 3 }] },
      ]);
      expect(batches[0]?.assets?.starts).toEqual(assets.starts);
      expect(Buffer.from(batches[0]?.assets?.bytes ?? [])).toEqual(Buffer.from(assets.bytes));
    });

    it('restores open batches with their attempts, charges, losses and what is done ahead', async () => {
      await save(saveGroup(groupA), saveBatch(1), saveBatch(2), saveBatch(3));
      await save(
        saveGrant(1, { lo: 0, count: 3 }),
        saveOutcome(1, 0),
        saveOutcome(1, 3, { outcomeNumber: 2, attempt: 0, node: null }),
        saveEnd(1, 1),
        saveGrant(1, { lo: 1, count: 1, attempt: 2, node: nodeTwo }),
        saveEnd(1, 1, { attempt: 2, node: nodeTwo, end: 'lost', charged: false }),
        saveGrant(1, { lo: 1, count: 1, attempt: 3, node: nodeTwo }),
        saveEnd(1, 2, { end: 'returned', charged: false, message: '' }),
        { kind: 'saveCancelAsked', batch: 1 as BatchNumber, index: 1, atMs: 4_000 },
        saveGrant(3),
        ...[0, 1, 2, 3].map((index) => saveOutcome(3, index, { outcomeNumber: index + 3 })),
      );
      await reopen();
      const { batches, groups, nextBatch, outcomeNumbers } = await store.restore();
      expect(nextBatch).toBe(4);
      expect(outcomeNumbers).toEqual([[alice, 6]]);
      expect(groups).toEqual([
        {
          spec: spec(groupA),
          createdAtMs: 1_000,
          state: 'running',
          counts: { queued: 6, succeeded: 6, failed: 0 },
          runtimeMs: 12.5,
        },
      ]);
      expect(batches).toEqual([
        {
          batch: 1,
          group: groupA,
          count: 4,
          submittedAtMs: 2_001,
          assets: null,
          next: 3,
          doneCount: 2,
          doneAhead: [3],
          open: [
            {
              index: 1,
              attempt: 3,
              node: nodeTwo,
              grantedAtMs: 3_000,
              ended: false,
              adoptable: false,
              cancelAsked: true,
              charges: 1,
              losses: 1,
              killedOn: [nodeOne],
            },
            {
              index: 2,
              attempt: 1,
              node: nodeOne,
              grantedAtMs: 3_000,
              ended: true,
              adoptable: false,
              cancelAsked: false,
              charges: 0,
              losses: 0,
              killedOn: [],
            },
          ],
        },
        {
          batch: 2,
          group: groupA,
          count: 4,
          submittedAtMs: 2_002,
          assets: null,
          next: 0,
          doneCount: 0,
          doneAhead: [],
          open: [],
        },
      ]);
    });

    it('keeps blocks and finds batches by number and by the client’s own id', async () => {
      await save(saveGroup(groupA), saveBatch(1));
      await reopen();
      expect(Buffer.from(await store.getBlock(batchNumber(1)))).toEqual(Buffer.from(blockOf(4)));
      const found = await store.findBatchByClient(alice, 'client-1');
      expect(found).toEqual({
        batch: 1,
        namespace: alice,
        group: groupA,
        clientBatch: 'client-1',
        blockHash: 'f'.repeat(64),
        count: 4,
        atMs: 2_001,
        submittedAfter: 0,
      });
      expect(await store.findBatch(batchNumber(1))).toEqual(found);
      expect(await store.findBatchByClient(bob, 'client-1')).toBeUndefined();
      expect(await store.findBatch(batchNumber(2))).toBeUndefined();
    });

    it('records an outcome once and nothing of a commit that holds a second one', async () => {
      await save(saveGroup(groupA), saveBatch(1), saveGrant(1), saveOutcome(1, 0));
      await expect(
        save(saveBatch(2), saveOutcome(1, 0, { outcomeNumber: 2, outcome: failed })),
      ).rejects.toThrow(/second outcome/);
      expect(await store.findBatch(batchNumber(2))).toBeUndefined();
      const outcome = await store.findOutcome({ batch: batchNumber(1), index: 0 });
      expect(outcome?.outcome.status).toBe('success');
      expect((await store.findGroup(groupA))?.counts).toEqual({
        submitted: 4,
        succeeded: 1,
        failed: 0,
      });
      await save(saveBatch(2));
      expect((await store.findBatch(batchNumber(2)))?.batch).toBe(2);
    });

    it('gives back outcomes as they were, in order of their number', async () => {
      const count = 100;
      await save(saveGroup(groupA), saveBatch(1, { count, block: blockOf(count) }));
      await save(saveGrant(1, { count }));
      const order = Array.from({ length: count }, (_, index) => (index * 37) % count);
      await save(
        ...order.map((index, place) =>
          saveOutcome(1, index, {
            outcomeNumber: place + 1,
            outcome: index % 2 === 0 ? success : failed,
          }),
        ),
      );
      await reopen();
      const all = await store.listOutcomes(alice, { after: 0, limit: 1_000, groups: null });
      expect(all.map((outcome) => outcome.index)).toEqual(order);
      const middle = await store.listOutcomes(alice, { after: 40, limit: 3, groups: [groupA] });
      expect(middle.map((outcome) => outcome.outcomeNumber)).toEqual([41, 42, 43]);
      const byIndex = await store.listBatchOutcomes(batchNumber(1), { afterIndex: -1, limit: 3 });
      expect(byIndex.map((outcome) => outcome.index)).toEqual([0, 1, 2]);
      const [, second] = byIndex;
      expect(second?.outcome.failure).toEqual(failed.failure);
      expect(second?.outcome.result.length).toBe(0);
      expect(Buffer.from(byIndex[0]?.outcome.result ?? [])).toEqual(payload('result'));
      expect(await store.latestOutcomeNumber(alice)).toBe(count);
      expect(await store.latestOutcomeNumber(bob)).toBe(0);
    });

    it('streams the outcomes of chosen groups only, and of the asking namespace only', async () => {
      await save(
        saveGroup(groupA),
        saveGroup(groupB, { namespace: bob }),
        saveBatch(1),
        saveBatch(2, { namespace: bob, group: groupB }),
        saveGrant(1),
        saveGrant(2),
        saveOutcome(1, 0),
        saveOutcome(2, 0, { namespace: bob, group: groupB }),
      );
      const options = { after: 0, limit: 10 };
      const ofBoth = await store.listOutcomes(alice, { ...options, groups: [groupA, groupB] });
      expect(ofBoth.map((outcome) => outcome.group)).toEqual([groupA]);
      expect(await store.listOutcomes(bob, { ...options, groups: [groupA] })).toEqual([]);
    });

    it('shows the ledger of a task: each attempt, its end, and what settled it', async () => {
      await save(saveGroup(groupA), saveBatch(1), saveGrant(1), saveEnd(1, 2));
      await save(saveGrant(1, { lo: 2, count: 1, attempt: 2, node: nodeTwo }));
      const task = { batch: batchNumber(1), index: 2 };
      expect((await store.listAttempts(task)).map((line) => line.end)).toEqual(['crash', null]);
      await save(saveOutcome(1, 2, { attempt: 2, node: nodeTwo, outcome: failed }));
      expect(await store.listAttempts(task)).toEqual([
        {
          attempt: 1,
          node: nodeOne,
          grantedAtMs: 3_000,
          end: 'crash',
          charged: true,
          message: 'signal 11',
          endedAtMs: 3_500,
        },
        {
          attempt: 2,
          node: nodeTwo,
          grantedAtMs: 3_000,
          end: 'exception',
          charged: false,
          message: "'ü'",
          endedAtMs: 4_002,
        },
      ]);
    });

    it('lists groups and batches newest first, page by page, and finds groups by prefix', async () => {
      await save(saveGroup(groupA), saveGroup(groupB, { name: 'other' }));
      await save(saveBatch(1), saveBatch(2, { group: groupB }), saveBatch(3));
      const first = await store.listGroups(alice, { limit: 1, cursor: null, name: null });
      expect(first.items.map((group) => group.spec.group)).toEqual([groupB]);
      const rest = await store.listGroups(alice, { limit: 1, cursor: first.next, name: null });
      expect(rest.items.map((group) => group.spec.group)).toEqual([groupA]);
      expect(rest.next).toBeNull();
      const named = await store.listGroups(alice, { limit: 9, cursor: null, name: 'ndvi' });
      expect(named.items.map((group) => group.spec.group)).toEqual([groupA]);
      expect(await store.findGroupsByPrefix(alice, 'aaa')).toEqual([groupA, groupB]);
      expect(await store.findGroupsByPrefix(alice, 'aaab')).toEqual([groupB]);
      expect(await store.findGroupsByPrefix(bob, 'aaa')).toEqual([]);
      const batches = await store.listBatches(alice, { group: groupA, limit: 1, cursor: null });
      expect(batches.items.map((batch) => batch.batch)).toEqual([3]);
      const older = { group: null, limit: 9, cursor: null };
      const all = await store.listBatches(alice, older);
      expect(all.items.map((batch) => batch.batch)).toEqual([3, 2, 1]);
    });

    it('changes limits and state of a group and keeps the rest of it', async () => {
      await save(saveGroup(groupA), {
        kind: 'saveGroupLimits',
        group: groupA,
        limits: { maximumConcurrency: 3, taskTimeoutMs: 5_000, retryCount: 2, priority: 7 },
      });
      await save({ kind: 'saveGroupState', group: groupA, state: 'draining', atMs: 8_000 });
      await save({ kind: 'saveGroupState', group: groupA, state: 'terminated', atMs: 9_000 });
      await reopen();
      const group = await store.findGroup(groupA);
      expect(group).toMatchObject({ state: 'terminated', terminatedAtMs: 8_000 });
      expect(group?.spec).toEqual(
        spec(groupA, { maximumConcurrency: 3, taskTimeoutMs: 5_000, retryCount: 2, priority: 7 }),
      );
    });

    it('keeps the start and the end of a long log and says where the cut is', async () => {
      const attempt = { batch: batchNumber(1), index: 0, attempt: 1 };
      const pieceBytes = 256 * 1024;
      const pieces = 48;
      for (let piece = 0; piece < pieces; piece += 1) {
        const bytes = Buffer.alloc(pieceBytes, piece);
        const logs = [{ ...attempt, offset: piece * pieceBytes, bytes }];
        await store.commit({ saves: [], logs });
      }
      const endOffset = pieces * pieceBytes;
      expect(await store.logOffset(attempt)).toBe(endOffset);
      const log = await store.readLog(attempt, { offset: 0, bytesMax: 100 * 2 ** 20 });
      expect(log.endOffset).toBe(endOffset);
      const kept = log.chunks.map((chunk) => chunk.offset / pieceBytes);
      const head = logHeadBytes / pieceBytes;
      const tail = logTailBytes / pieceBytes;
      const places = Array.from({ length: pieces }, (_, piece) => piece);
      expect(kept).toEqual(places.filter((piece) => piece < head || piece >= pieces - tail));
      const part = await store.readLog(attempt, { offset: 10, bytesMax: pieceBytes });
      expect(part.chunks.map((chunk) => [chunk.offset, chunk.bytes.length])).toEqual([
        [10, pieceBytes - 10],
        [pieceBytes, 10],
      ]);
    });

    it('takes output that is sent again only once', async () => {
      const attempt = { batch: batchNumber(1), index: 0, attempt: 1 };
      const chunk = (offset: number, text: string) => ({
        ...attempt,
        offset,
        bytes: Buffer.from(text),
      });
      await store.commit({ saves: [], logs: [chunk(0, 'abc'), chunk(0, 'abc'), chunk(1, 'bcde')] });
      await store.commit({ saves: [], logs: [chunk(5, '')] });
      const { chunks, endOffset } = await store.readLog(attempt, { offset: 0, bytesMax: 99 });
      expect(Buffer.concat(chunks.map(({ bytes }) => bytes)).toString()).toBe('abcde');
      expect(endOffset).toBe(5);
    });

    it('lets a namespace read its groups’ blobs and the results of its tasks, and nothing else', async () => {
      const reference = { tag: payloadTags.pickle, hash: hash('9'), sizeBytes: 100_000 };
      const result = encodeBlobReference(reference);
      await save(saveGroup(groupA), saveBatch(1), saveGrant(1));
      await save(saveOutcome(1, 0, { outcome: { ...success, result } }));
      await store.grantBlob(bob, hash('8'), 1);
      await store.grantBlob(bob, hash('8'), 2);
      const readable = async (namespace: NamespaceName): Promise<string[]> => {
        const digits = [];
        for (const digit of ['1', '2', '8', '9', '7']) {
          if (await store.mayReadBlob(namespace, hash(digit))) digits.push(digit);
        }
        return digits;
      };
      expect(await readable(alice)).toEqual(['1', '2', '9']);
      expect(await readable(bob)).toEqual(['8']);
      await store.recordUploads([{ node: nodeOne, hash: hash('7') }]);
      expect(await store.hasUploaded(nodeOne, hash('7'))).toBe(true);
      expect(await store.hasUploaded(nodeTwo, hash('7'))).toBe(false);
    });

    it('keeps what tasks gave out with their outcome, by task and by group, until the namespace goes', async () => {
      const output = (name: string, digit: string) => ({
        name,
        hash: hash(digit),
        sizeBytes: 10,
        mediaType: 'text/plain',
        metadata: '{"a":"ü"}',
      });
      const outputs = [output('b', '5'), output('a', '6')];
      await save(saveGroup(groupA), saveBatch(1), saveGrant(1));
      await save(
        saveOutcome(1, 1, { outcome: { ...success, outputs: [output('c', '5')] }, attempt: 2 }),
        saveOutcome(1, 0, { outcome: { ...success, outputs }, outcomeNumber: 3 }),
        saveOutcome(1, 2, { outcome: failed, outcomeNumber: 1 }),
      );
      await reopen();
      const task = { batch: batchNumber(1), index: 0 };
      expect(await store.listTaskOutputs(task)).toEqual([
        { ...output('a', '6'), ...task, group: groupA, attempt: 1, atMs: 4_000 },
        { ...output('b', '5'), ...task, group: groupA, attempt: 1, atMs: 4_000 },
      ]);
      expect(await store.listTaskOutputs({ ...task, index: 2 })).toEqual([]);
      expect(await store.findTaskOutput(task, 'b')).toMatchObject({ hash: hash('5') });
      expect(await store.findTaskOutput(task, 'c')).toBeUndefined();
      const names: string[] = [];
      let cursor: string | null = null;
      do {
        const page: Awaited<ReturnType<Store['listGroupOutputs']>> = await store.listGroupOutputs(
          groupA,
          { limit: 2, cursor },
        );
        names.push(...page.items.map(({ index, name }) => `${index} ${name}`));
        cursor = page.next;
      } while (cursor !== null);
      expect(names).toEqual(['0 a', '0 b', '1 c']);
      expect(await store.listGroupOutputs(groupB, { limit: 2, cursor: null })).toEqual({
        items: [],
        next: null,
      });
      await expect(store.listGroupOutputs(groupA, { limit: 2, cursor: 'x' })).rejects.toMatchObject(
        {
          code: 'invalid_request',
        },
      );
      expect(await store.mayReadBlob(alice, hash('6'))).toBe(true);
      expect(await store.mayReadBlob(bob, hash('6'))).toBe(false);
      await save(saveOutcome(1, 3, { outcomeNumber: 4 }), {
        kind: 'saveGroupState',
        group: groupA,
        state: 'terminated',
        atMs: 5,
      });
      expect(await store.removeNamespace(alice)).toBe(true);
      expect(await store.listTaskOutputs(task)).toEqual([]);
    });

    it('removes a namespace only when its groups are terminated, and never gives its batch numbers again', async () => {
      expect(await store.createNamespace(alice, 1)).toBe(true);
      expect(await store.createNamespace(alice, 2)).toBe(false);
      await save(saveGroup(groupA), saveBatch(1, { count: 1, block: blockOf(1) }), saveGrant(1));
      expect(await store.removeNamespace(alice)).toBe(false);
      await save(saveOutcome(1, 0), {
        kind: 'saveGroupState',
        group: groupA,
        state: 'terminated',
        atMs: 5,
      });
      expect(await store.removeNamespace(alice)).toBe(true);
      expect(await store.hasNamespace(alice)).toBe(false);
      expect(await store.findOutcome({ batch: batchNumber(1), index: 0 })).toBeUndefined();
      expect(await store.listNamespaces()).toEqual([]);
      await reopen();
      expect((await store.restore()).nextBatch).toBe(2);
    });

    it('admits nodes by a join token until it is used up, revoked or expired', async () => {
      const token = (id: string, changes: Partial<StoredToken> = {}): StoredToken => ({
        id,
        purpose: 'join',
        secretHash: `hash of ${id}`,
        label: '',
        role: null,
        namespaces: [alice],
        createdAtMs: 1,
        expiresAtMs: null,
        revokedAtMs: null,
        usesLeft: null,
        ...changes,
      });
      const admit = (tokenId: string, node = nodeOne): Promise<boolean> =>
        store.admitNode({ node, name: 'n', namespaces: [alice], admittedAtMs: 100, tokenId });
      await store.saveToken(token('once', { usesLeft: 1 }));
      await store.saveToken(token('late', { expiresAtMs: 100 }));
      await store.saveToken(token('gone'));
      await store.saveToken(token('access', { purpose: 'access', role: 'user' }));
      expect(await store.revokeToken('gone', 50)).toBe(true);
      expect(await store.revokeToken('unknown', 50)).toBe(false);
      expect(await admit('once')).toBe(true);
      expect(await admit('once', nodeTwo)).toBe(false);
      for (const id of ['late', 'gone', 'access', 'unknown']) expect(await admit(id)).toBe(false);
      await reopen();
      expect(await store.findNode(nodeOne)).toEqual({
        node: nodeOne,
        name: 'n',
        namespaces: [alice],
        admittedAtMs: 100,
        tokenId: 'once',
      });
      expect(await store.findNode(nodeTwo)).toBeUndefined();
      expect(await store.findTokenByHash('hash of once')).toEqual(token('once', { usesLeft: 0 }));
      expect((await store.listTokens('join')).map(({ id }) => id).sort()).toEqual([
        'gone',
        'late',
        'once',
      ]);
    });

    it('keeps instances and settings', async () => {
      const instance = {
        instance: 'local-1',
        pool: 'local',
        state: 'requested' as const,
        handle: '',
        reason: 'four tasks wait',
        requestedAtMs: 5,
        endedAtMs: null,
        offer: 'process',
        pricePerHour: 0.5,
        node: null,
        cost: 0,
      };
      await store.saveInstance(instance);
      const booted = { ...instance, state: 'joined' as const, handle: '{"pid":1}' };
      await store.saveInstance({ ...booted, node: 'n' as NodeId, cost: 0.25 });
      await store.saveInstance({ ...instance, instance: 'local-2', state: 'gone', endedAtMs: 6 });
      await store.setMeta('httpPort', '7480');
      await store.setMeta('httpPort', '7481');
      await reopen();
      const live = await store.listInstances({ gone: false });
      expect(live).toEqual([{ ...booted, node: 'n' as NodeId, cost: 0.25 }]);
      expect((await store.listInstances({ gone: true })).length).toBe(2);
      expect(await store.getMeta('httpPort')).toBe('7481');
      expect(await store.getMeta('unknown')).toBeUndefined();
    });

    it('forgets instances that are long gone, and keeps what they cost', async () => {
      const instance = {
        ...{ instance: 'a-1', pool: 'a', handle: '', reason: '', requestedAtMs: 5 },
        ...{ state: 'gone' as const, endedAtMs: 10, offer: 'o', pricePerHour: 1, node: null },
        cost: 0.5,
      };
      await store.saveInstance(instance);
      await store.saveInstance({ ...instance, instance: 'a-2', endedAtMs: 20 });
      await store.saveInstance({ ...instance, instance: 'b-1', pool: 'b' });
      await store.saveInstance({ ...instance, instance: 'b-2', state: 'working', endedAtMs: null });
      await store.pruneInstances(20);
      await store.pruneInstances(20);
      await reopen();
      const left = await store.listInstances({ gone: true });
      expect(left.map((one) => one.instance)).toEqual(['a-2', 'b-2']);
      expect(await store.prunedCosts()).toEqual({ a: 0.5, b: 0.5 });
      await store.pruneInstances(21);
      expect(await store.prunedCosts()).toEqual({ a: 1, b: 0.5 });
    });

    it('keeps images in order, and the logs of their builds', async () => {
      const image: CatalogueImage = {
        digest: `sha256:${'5'.repeat(64)}` as ImageDigest,
        source: { kind: 'requirements', requirements: ['affine==2.3.0'] },
        state: 'building',
        names: [{ name: 'mine', namespace: alice }],
        requestKey: 'k',
        generation: 0,
        python: { implementation: 'CPython', version: '2.7.18' },
        arch: 'x64',
        sizeBytes: 0,
        base: `sha256:${'0'.repeat(64)}` as ImageDigest,
        packages: {},
        archive: null,
        failure: null,
        createdAtMs: 1,
        endedAtMs: null,
      };
      const oci: CatalogueImage = {
        ...image,
        digest: `sha256:${'6'.repeat(64)}` as ImageDigest,
        source: { kind: 'oci', reference: 'debian:12', manifest: `sha256:${'7'.repeat(64)}` },
        base: null,
        archive: { hash: 'a'.repeat(64), sizeBytes: 9 },
      };
      await store.saveImage(image);
      await store.saveImage(oci);
      const failedImage: CatalogueImage = {
        ...image,
        state: 'buildFailed',
        failure: { message: 'no ü', fix: 'spell it' },
        endedAtMs: 2,
      };
      await store.saveImage(failedImage);
      const { digest } = image;
      await store.appendImageLog(digest, { offset: 0, bytes: Buffer.from('Collecting ') });
      await store.appendImageLog(digest, { offset: 11, bytes: Buffer.from('affine') });
      await reopen();
      expect(await store.listImages()).toEqual([failedImage, oci]);
      const read = async (offset: number, bytesMax: number): Promise<string> =>
        Buffer.from(await store.readImageLog(digest, { offset, bytesMax })).toString();
      expect(await read(0, 100)).toBe('Collecting affine');
      expect(await read(8, 5)).toBe('ng af');
      expect(await read(17, 5)).toBe('');
      const gap = store.appendImageLog(digest, { offset: 99, bytes: Buffer.from('x') });
      await expect(gap).rejects.toThrow(/no gaps/);
      await store.clearImageLog(digest);
      expect(await read(0, 100)).toBe('');
    });

    it('keeps the latest events of the fleet, latest first', async () => {
      const event = (atMs: number) => ({
        atMs,
        pool: 'local',
        instance: atMs % 2 === 0 ? null : 'local-1',
        event: 'made',
        text: 'Four tasks wait.',
        isLoud: atMs === 2,
      });
      for (let atMs = 1; atMs <= fleetEventsMax + 5; atMs += 1) {
        await store.saveFleetEvent(event(atMs));
      }
      await reopen();
      const all = await store.listFleetEvents({ limit: 10_000 });
      expect(all.length).toBe(fleetEventsMax);
      expect(all[0]).toEqual(event(fleetEventsMax + 5));
      expect(await store.listFleetEvents({ limit: 2 })).toEqual(all.slice(0, 2));
    });
  });
}
