import { afterEach, describe, expect, it } from 'vitest';
import { isClockIdle } from '../../../../coordinator/core/clock-wake.ts';
import type { SendEffect } from '../../../../coordinator/core/effects.ts';
import { defaultCoreSettings } from '../../../../coordinator/core/settings.ts';
import { createState } from '../../../../coordinator/core/state.ts';
import { step } from '../../../../coordinator/core/step.ts';
import { nextWakeMs } from '../../../../coordinator/core/views.ts';
import type { RunningDriver } from '../../../../coordinator/driver.ts';
import { createDriver } from '../../../../coordinator/driver.ts';
import { createMemoryStore } from '../../../../coordinator/store/memory.ts';
import type { Store } from '../../../../coordinator/store/port.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { encodeBlock } from '../../../../protocol/wire/block.ts';
import type {
  BatchNumber,
  GroupId,
  ImageDigest,
  NamespaceName,
  NodeId,
  SessionNumber,
} from '../../../../protocol/wire/ids.ts';
import { sourceGroup } from '../../../specs/group-spec.ts';

const group = '0123456789ab' as GroupId;
const namespace = 'alice' as NamespaceName;
const node = '12D3KooWnode' as NodeId;
const session = 1 as SessionNumber;
const digest = `sha256:${'0'.repeat(64)}` as ImageDigest;
const python = { implementation: 'CPython', version: '3.11.2' };
const spec = sourceGroup({ group, namespace });
const block = (count: number): Uint8Array =>
  encodeBlock(Array.from({ length: count }, () => Buffer.from('J[[],{}]')));
const success = {
  status: 'success' as const,
  result: Buffer.from('J1'),
  failure: null,
  runtimeMs: 1,
  peakMemoryBytes: 0,
  logBytes: 0,
};

interface Bench {
  driver: RunningDriver;
  store: Store;
  /** Everything that left, in order: `save …` when on disk, sends, answers and listeners' calls. */
  trace: string[];
  sent: SendEffect[];
  fatal: Error[];
  disk: { full: boolean };
  clock: { nowMs: number };
}

const drivers: RunningDriver[] = [];
afterEach(async () => {
  for (const driver of drivers.splice(0)) await driver.stop();
});

/** The real core and a store; `refuse` says why the next commit fails, undefined when it does not. */
async function createBench(
  refuse: () => Error | undefined = () => undefined,
  settings: { tickOutcomesMax?: number; clockTickMs?: number } = {},
): Promise<Bench> {
  const store = createMemoryStore();
  const trace: string[] = [];
  const sent: SendEffect[] = [];
  const fatal: Error[] = [];
  const disk = { full: false };
  const clock = { nowMs: 1_000 };
  const state = createState({
    seed: 1,
    settings: defaultCoreSettings,
    restored: await store.restore(),
    now: 1_000,
  });
  const driver = createDriver(
    {
      state,
      step,
      nextWakeMs,
      isClockIdle,
      store: {
        async commit(batch) {
          const refusal = refuse();
          if (refusal !== undefined) {
            trace.push(`refused by the disk: ${refusal.message}`);
            throw refusal;
          }
          // The rest of a tick must wait for a disk that takes its time.
          await new Promise(setImmediate);
          await store.commit(batch);
          for (const save of batch.saves) trace.push(save.kind);
          for (const log of batch.logs) trace.push(`log ${log.offset}`);
        },
      },
      clock: { nowMs: () => clock.nowMs },
      disk: { isFull: () => disk.full },
      transport: {
        send(effects) {
          for (const effect of effects) trace.push(effect.kind);
          sent.push(...effects);
        },
        keepBlock: (save) => void trace.push(`keepBlock ${save.batch}`),
      },
      onFatal: (error) => void fatal.push(error),
      log: { warn: (_fields, message) => void trace.push(`warned: ${message}`) },
    },
    {
      clockTickMs: settings.clockTickMs ?? 60_000,
      tickOutcomesMax: settings.tickOutcomesMax ?? 2_000,
      tickBytesMax: 2 ** 20,
      commitRetryMs: 5,
      backlogBytesMax: 1_000,
    },
  );
  driver.onOutcomes((outcomes) => void trace.push(`outcomes ${outcomes.length}`));
  driver.onLogs((chunks) => void trace.push(`logs ${chunks.length}`));
  drivers.push(driver);
  driver.start();
  return { driver, store, trace, sent, fatal, disk, clock };
}

const submit = (driver: RunningDriver, name: string, count = 1) =>
  driver.request({
    kind: 'batchSubmitted',
    group,
    clientBatch: name,
    blockHash: '0'.repeat(64),
    count,
    block: block(count),
    assets: null,
  });

function join(driver: RunningDriver, slots: number): void {
  driver.dispatch({
    kind: 'nodeJoined',
    node,
    session,
    namespaces: null,
    hello: {
      kind: 'hello',
      protocol: 1,
      software: '',
      joinToken: null,
      nodeName: 'n',
      instance: null,
      capacity: { slots, cpus: slots, memoryBytes: 2 ** 40, diskBytes: 2 ** 40 },
      images: [{ digest, names: ['i'], python, arch: 'x64', sizeBytes: 1 }],
      isolation: 'strong',
      mounts: [],
      peerAddresses: [],
      pid: 1,
      held: [],
      draining: false,
    },
  });
  driver.dispatch({ kind: 'nodePulled', node, session, heldMax: slots });
}

function reportAll(bench: Bench): void {
  const outcomes = bench.sent.flatMap((effect) => {
    if (effect.kind !== 'sendGrant') return [];
    return Array.from({ length: effect.count }, (_, offset) => ({
      batch: effect.batch,
      index: effect.lo + offset,
      attempt: effect.attempt,
      ...success,
    }));
  });
  outcomes.forEach((outcome, number) => {
    bench.driver.dispatch({
      kind: 'reportReceived',
      node,
      session,
      report: number,
      outcomes: [outcome],
    });
  });
}

describe('driver', () => {
  it('sends and answers only what is on disk, and tells listeners afterwards', async () => {
    const bench = await createBench();
    const { driver, trace } = bench;
    join(driver, 1);
    await driver.request({ kind: 'groupCreated', spec });
    expect(await submit(driver, 'a')).toMatchObject({ kind: 'batchTaken', batch: 1, count: 1 });
    expect(trace).toEqual([
      'saveGroup',
      'sendWelcome',
      'saveBatch',
      'saveGrant',
      'keepBlock 1',
      'sendGrant',
    ]);
    trace.length = 0;
    const attempt = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
    driver.appendLogs([{ ...attempt, offset: 0, bytes: Buffer.from('out') }]);
    reportAll(bench);
    // Whoever waits for the result comes before the node that waits for nothing.
    await expect.poll(() => trace.at(-1)).toBe('sendAck');
    expect(trace).toEqual(['saveOutcome', 'log 0', 'outcomes 1', 'logs 1', 'sendAck']);
    expect(await bench.store.findOutcome(attempt)).toMatchObject({ attempt: 1, node });
  });

  it('takes everything of a turn of the loop into one commit, up to the bound of outcomes', async () => {
    const tasks = 25;
    const bench = await createBench(undefined, { tickOutcomesMax: 10 });
    const { driver, trace } = bench;
    await driver.request({ kind: 'groupCreated', spec });
    await Promise.all([submit(driver, 'a', 20), submit(driver, 'b', 5)]);
    join(driver, tasks);
    const granted = (): number =>
      bench.sent.reduce((sum, effect) => sum + (effect.kind === 'sendGrant' ? effect.count : 0), 0);
    await expect.poll(granted).toBe(tasks);
    trace.length = 0;
    reportAll(bench);
    const told = (): string[] => trace.filter((line) => line.startsWith('outcomes'));
    await expect.poll(told).toEqual(['outcomes 10', 'outcomes 10', 'outcomes 5']);
  });

  it('refuses a caller with the code and the fix that the core gave', async () => {
    const { driver } = await createBench();
    await expect(submit(driver, 'a')).rejects.toBeInstanceOf(PerigeeError);
    await expect(submit(driver, 'a')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('waits out a full disk with what it decided, refuses new work meanwhile, and loses nothing', async () => {
    const disk = { refusal: undefined as Error | undefined };
    const bench = await createBench(() => disk.refusal);
    const { driver, trace, fatal } = bench;
    await driver.request({ kind: 'groupCreated', spec });
    join(driver, 1);
    disk.refusal = new PerigeeError('disk_full');
    const waiting = submit(driver, 'a');
    await expect.poll(() => driver.isBehind()).toBe(true);
    await expect(submit(driver, 'b')).rejects.toMatchObject({ code: 'disk_full' });
    const refusals = (): number => trace.filter((line) => line.startsWith('refused')).length;
    await expect.poll(refusals).toBeGreaterThan(2);
    expect(trace).not.toContain('saveBatch');
    expect(trace).not.toContain('sendGrant');
    disk.refusal = undefined;
    expect(await waiting).toMatchObject({ batch: 1 });
    expect(await bench.store.findBatch(1 as BatchNumber)).toBeDefined();
    expect(driver.isBehind()).toBe(false);
    expect(await submit(driver, 'b')).toMatchObject({ batch: 2 });
    expect([fatal, trace.filter((line) => line.startsWith('warned')).length]).toEqual([[], 1]);
  });

  it('lets no lease run while the disk is full: what was heard meanwhile counts first', async () => {
    const disk = { refusal: undefined as Error | undefined };
    const bench = await createBench(() => disk.refusal, { clockTickMs: 2 });
    const { driver, clock } = bench;
    await driver.request({ kind: 'groupCreated', spec });
    join(driver, 1);
    await submit(driver, 'a');
    disk.refusal = new PerigeeError('disk_full');
    driver.dispatch({ kind: 'nodePulled', node, session, heldMax: 5 });
    const stuck = submit(driver, 'b');
    await expect.poll(() => driver.isBehind()).toBe(true);
    for (let second = 0; second < 60; second += 1) {
      clock.nowMs += 1_000;
      const load = { load: 0, memoryFreeBytes: 0, diskFreeBytes: 0 };
      driver.dispatch({ kind: 'heartbeatHeard', node, session, ...load });
    }
    disk.refusal = undefined;
    await stuck;
    await submit(driver, 'c');
    expect(bench.trace).not.toContain('endSession');
    expect(bench.trace).not.toContain('saveAttemptEnd');
    expect(driver.state().nodes.has(node)).toBe(true);
  });

  it('refuses new work past the high-water mark and goes on with what it has', async () => {
    const bench = await createBench();
    const { driver, disk } = bench;
    await driver.request({ kind: 'groupCreated', spec });
    await submit(driver, 'a');
    disk.full = true;
    await expect(submit(driver, 'b')).rejects.toMatchObject({ code: 'disk_full' });
    join(driver, 1);
    await expect.poll(() => bench.trace).toContain('sendGrant');
    reportAll(bench);
    await expect.poll(() => bench.trace).toContain('outcomes 1');
  });

  it('ends the process when a commit fails for any other reason, and sends nothing of it', async () => {
    const disk = { refusal: undefined as Error | undefined };
    const { driver, trace, fatal } = await createBench(() => disk.refusal);
    await driver.request({ kind: 'groupCreated', spec });
    disk.refusal = new Error('the controller is gone');
    join(driver, 1);
    await expect(submit(driver, 'a')).rejects.toThrow('the controller is gone');
    expect(fatal).toEqual([disk.refusal]);
    expect(trace).not.toContain('sendGrant');
    driver.appendLogs([]);
    driver.dispatch({ kind: 'clockTicked' });
    expect(fatal).toHaveLength(1);
  });

  it('says that it is behind when too much waits to be stored', async () => {
    const { driver } = await createBench();
    const attempt = { batch: 1 as BatchNumber, index: 0, attempt: 1 };
    expect(driver.isBehind()).toBe(false);
    driver.appendLogs([{ ...attempt, offset: 0, bytes: Buffer.alloc(2_000) }]);
    expect(driver.isBehind()).toBe(true);
    await expect.poll(() => driver.isBehind()).toBe(false);
  });

  it('looks at the clock by itself', async () => {
    const { driver, trace, clock } = await createBench(undefined, { clockTickMs: 2 });
    await driver.request({ kind: 'groupCreated', spec: { ...spec, queueTimeoutMs: 5_000 } });
    await submit(driver, 'a');
    clock.nowMs += 6_000;
    await expect.poll(() => trace).toContain('outcomes 1');
  });

  it('stores what it took before it stops, and refuses what comes then', async () => {
    const bench = await createBench();
    const { driver } = bench;
    await driver.request({ kind: 'groupCreated', spec });
    const last = submit(driver, 'a');
    await driver.stop();
    await driver.stop();
    expect(await last).toMatchObject({ batch: 1 });
    expect(await bench.store.findBatch(1 as BatchNumber)).toBeDefined();
    await expect(submit(driver, 'b')).rejects.toMatchObject({ code: 'draining' });
  });
});
