import { describe, expect, it } from 'vitest';
import type {
  FleetInputs,
  FleetInstance,
  FleetNode,
  FleetPool,
} from '../../../../coordinator/autoscaler/plan.ts';
import { defaultFleetSettings, planFleet } from '../../../../coordinator/autoscaler/plan.ts';
import type { DemandRow } from '../../../../coordinator/core/views.ts';
import type {
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
  NodeId,
} from '../../../../protocol/wire/ids.ts';

const image = 'sha256:a' as ImageDigest;
const nowMs = 1_000_000;

const pool = (changes: Partial<FleetPool> = {}): FleetPool => ({
  pool: 'local',
  instancesMax: 4,
  slots: 1,
  cpus: 1,
  memoryBytes: 1_000,
  isolation: 'standard',
  images: [image],
  namespaces: null,
  idleMs: 20_000,
  bootMs: 500,
  bootMsMax: 30_000,
  leaveMsMax: 10_000,
  bootFailures: 0,
  bootFailedAtMs: null,
  ...changes,
});

const row = (changes: Partial<DemandRow> = {}): DemandRow => ({
  group: 'g' as GroupId,
  namespace: 'default' as NamespaceName,
  priority: 0,
  imageDigest: image,
  isolationMin: 'standard',
  cpus: 1,
  memoryBytes: 10,
  runnable: 0,
  queued: 0,
  running: 0,
  runtimeMs: null,
  workSeconds: null,
  maximumConcurrency: null,
  ...changes,
});

const booting = (id: string, requestedAtMs = nowMs - 100): FleetInstance => ({
  instance: id as InstanceId,
  pool: 'local',
  requestedAtMs,
  node: null,
});

const joined = (id: string, changes: Partial<FleetNode> = {}): FleetInstance => ({
  instance: id as InstanceId,
  pool: 'local',
  requestedAtMs: nowMs - 60_000,
  node: {
    node: `node-${id}` as NodeId,
    state: 'ready',
    drainingBy: null,
    held: 0,
    idleSinceMs: nowMs - 1_000,
    sinceMs: nowMs - 50_000,
    isPaused: false,
    ...changes,
  },
});

const draining = (id: string, changes: Partial<FleetNode> = {}) =>
  joined(id, { state: 'draining', drainingBy: 'autoscaler', sinceMs: nowMs - 100, ...changes });

const plan = (changes: Partial<FleetInputs> = {}) =>
  planFleet({
    nowMs,
    settings: defaultFleetSettings,
    demand: [],
    pools: [pool()],
    instances: [],
    others: [],
    ...changes,
  });

/** Decisions, short. */
const decide = (changes: Partial<FleetInputs>) =>
  plan(changes).decisions.map((decision) =>
    decision.kind === 'create'
      ? `create ${decision.count} ${decision.pool}`
      : `${decision.kind} ${decision.instance}`,
  );

describe('the fleet', () => {
  it('stays at zero when nothing is queued', () => {
    expect(plan()).toEqual({
      decisions: [],
      outlooks: [{ pool: 'local', wanted: 0, live: 0, draining: 0, heldBack: null }],
      lookAgainMs: null,
    });
  });

  it('makes instances for tasks of unknown length, and says why', () => {
    expect(plan({ demand: [row({ runnable: 3 })] }).decisions).toEqual([
      {
        kind: 'create',
        pool: 'local',
        count: 3,
        reason: 'The queue is worth 3 instances; 0 work and 0 boot.',
      },
    ]);
  });

  it('counts seconds of work, not tasks', () => {
    const quick = row({ runnable: 1_000, runtimeMs: 0.5 });
    const slow = row({ runnable: 10, runtimeMs: 10_000 });
    expect(decide({ demand: [quick] })).toEqual(['create 1 local']);
    expect(decide({ demand: [slow] })).toEqual(['create 4 local']);
  });

  it('never goes over the limit of a pool, and says so', () => {
    const { decisions, outlooks } = plan({
      demand: [row({ runnable: 100 })],
      pools: [pool({ instancesMax: 2 })],
      instances: [joined('x', { state: 'draining', drainingBy: 'operator', held: 1 })],
    });
    expect(decisions).toMatchObject([{ kind: 'create', count: 1 }]);
    expect(outlooks[0]?.heldBack).toBe("The pool's limit is 2 instances, and 1 are there.");
  });

  it('counts what boots as capacity', () => {
    const demand = [row({ runnable: 2 })];
    expect(decide({ demand, instances: [booting('x'), booting('y')] })).toEqual([]);
    expect(decide({ demand, instances: [booting('x')] })).toEqual(['create 1 local']);
  });

  it('counts what runs, so that queued work gets machines of its own', () => {
    const busy = joined('x', { held: 1, idleSinceMs: null });
    expect(decide({ demand: [row({ running: 1, runnable: 1 })], instances: [busy] })).toEqual([
      'create 1 local',
    ]);
  });

  it('leaves to others what others can run', () => {
    const other = {
      slots: 8,
      cpus: 8,
      memoryBytes: 1_000,
      isolation: 'strong' as const,
      images: [image],
      namespaces: null,
    };
    expect(decide({ demand: [row({ runnable: 6 })], others: [other] })).toEqual([]);
    expect(decide({ demand: [row({ runnable: 10 })], others: [other] })).toEqual([
      'create 2 local',
    ]);
    const closed = { ...other, namespaces: ['else' as NamespaceName] };
    expect(decide({ demand: [row({ runnable: 1 })], others: [closed] })).toEqual([
      'create 1 local',
    ]);
  });

  it('packs tasks by what they need', () => {
    const pools = [pool({ slots: 4, cpus: 4, memoryBytes: 100 })];
    expect(decide({ demand: [row({ runnable: 8 })], pools })).toEqual(['create 2 local']);
    expect(decide({ demand: [row({ runnable: 4, memoryBytes: 60 })], pools })).toEqual([
      'create 4 local',
    ]);
    const tenths = [1, 2, 3].map((at) =>
      row({ group: `g${at}` as GroupId, runnable: 1, cpus: 0.1, memoryBytes: 1 }),
    );
    expect(decide({ demand: tenths, pools: [pool({ slots: 3 })] })).toEqual(['create 1 local']);
  });

  it.each([
    ['the image', { imageDigest: 'sha256:b' as ImageDigest }],
    ['the cpus', { cpus: 2 }],
    ['the memory', { memoryBytes: 2_000 }],
    ['the isolation', { isolationMin: 'strong' as const }],
  ])('makes nothing for a task whose needs exceed %s of the pool', (_, needs) => {
    expect(decide({ demand: [row({ runnable: 5, ...needs })] })).toEqual([]);
  });

  it('offers to the second pool only what the first cannot take', () => {
    const pools = [pool({ pool: 'first', instancesMax: 2 }), pool({ pool: 'second' })];
    expect(decide({ demand: [row({ runnable: 3 })], pools })).toEqual([
      'create 2 first',
      'create 1 second',
    ]);
  });
});

describe('retiring', () => {
  it('drains an instance that has been idle for long enough', () => {
    const idle = joined('x', { idleSinceMs: nowMs - 20_000 });
    expect(plan({ instances: [idle] }).decisions).toEqual([
      { kind: 'drain', instance: 'x', node: 'node-x', reason: 'It has been idle for 20.0 s.' },
    ]);
  });

  it('waits for the idle time, and says when to look again', () => {
    const { decisions, lookAgainMs } = plan({ instances: [joined('x')] });
    expect(decisions).toEqual([]);
    expect(lookAgainMs).toBe(nowMs + 19_000);
  });

  it('keeps what the queue is worth, and never drains one that holds something', () => {
    const idle = (id: string, ms: number) => joined(id, { idleSinceMs: nowMs - ms });
    const instances = [
      idle('x', 30_000),
      idle('y', 40_000),
      joined('z', { held: 1, idleSinceMs: null }),
    ];
    const demand = [row({ running: 1, runnable: 1 })];
    expect(decide({ demand, instances })).toEqual(['drain y']);
  });

  it('calls a drain off when work comes back, before it makes anything', () => {
    const instances = [draining('x', { sinceMs: nowMs - 500 }), draining('y')];
    expect(decide({ demand: [row({ runnable: 1 })], instances })).toEqual(['undrain y']);
    expect(decide({ demand: [row({ runnable: 3 })], instances })).toEqual([
      'undrain y',
      'undrain x',
      'create 1 local',
    ]);
  });

  it('does not call off what an operator drained', () => {
    const instances = [draining('x', { drainingBy: 'operator' })];
    expect(decide({ demand: [row({ runnable: 1 })], instances })).toEqual(['create 1 local']);
  });

  it('destroys what was drained and does not leave, never what still holds something', () => {
    const since = { sinceMs: nowMs - 60_000, idleSinceMs: nowMs - 60_000 };
    expect(decide({ instances: [draining('x', since)] })).toEqual(['destroy x']);
    const busy = draining('x', { ...since, held: 1, idleSinceMs: null });
    expect(decide({ instances: [busy] })).toEqual([]);
    expect(plan({ instances: [draining('x')] }).lookAgainMs).toBe(nowMs + 9_900);
  });

  it.each(['gone', 'lost'] as const)(
    'destroys a machine whose node is %s and that stays',
    (state) => {
      const left = joined('x', { state, sinceMs: nowMs - 10_000, idleSinceMs: null });
      expect(decide({ instances: [left] })).toEqual(['destroy x']);
    },
  );

  it('neither counts nor replaces a paused node', () => {
    const instances = [joined('x', { isPaused: true })];
    const pools = [pool({ instancesMax: 2 })];
    expect(decide({ demand: [row({ runnable: 5 })], instances, pools })).toEqual([
      'create 1 local',
    ]);
  });
});

describe('boot failures', () => {
  it('destroy what has not joined in time, and count against the pool', () => {
    expect(plan({ instances: [booting('x', nowMs - 30_000)] }).decisions).toEqual([
      {
        kind: 'destroy',
        instance: 'x',
        bootFailed: true,
        reason: 'It has not joined within 30.0 s.',
      },
    ]);
  });

  it('hold creation back for a time that doubles, and say until when', () => {
    const demand = [row({ runnable: 3 })];
    const failed = (bootFailures: number, agoMs: number) =>
      plan({ demand, pools: [pool({ bootFailures, bootFailedAtMs: nowMs - agoMs })] });
    expect(failed(1, 999).decisions).toEqual([]);
    expect(failed(3, 3_000)).toMatchObject({
      decisions: [],
      outlooks: [{ heldBack: '3 boots failed in a row; the next is tried in 1.0 s.' }],
      lookAgainMs: nowMs + 1_000,
    });
    expect(failed(40, 59_999).decisions).toEqual([]);
    expect(failed(40, 60_000).decisions).toHaveLength(1);
  });

  it('are followed by one boot at a time', () => {
    const failed = { bootFailures: 2, bootFailedAtMs: nowMs - 60_000 };
    const demand = [row({ runnable: 3 })];
    expect(decide({ demand, pools: [pool(failed)] })).toEqual(['create 1 local']);
    expect(decide({ demand, pools: [pool(failed)], instances: [booting('x')] })).toEqual([]);
  });
});
