import { describe, expect, it } from 'vitest';
import {
  noteCreateFailure,
  noteOfferFailure,
} from '../../../../coordinator/autoscaler/lifecycle/failures.ts';
import type {
  FleetEvent,
  FleetView,
  PoolSpec,
} from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import {
  createFleetState,
  defaultLifecycleSettings,
  spentBy,
} from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import { stepFleet } from '../../../../coordinator/autoscaler/lifecycle/step.ts';
import { defaultFleetSettings } from '../../../../coordinator/autoscaler/plan/inputs.ts';
import { planFleet } from '../../../../coordinator/autoscaler/plan/plan-fleet.ts';
import type { ListedInstance } from '../../../../coordinator/autoscaler/provider-port.ts';
import { loadFleet, saveLearned } from '../../../../coordinator/autoscaler/records.ts';
import { createMemoryStore } from '../../../../coordinator/store/memory.ts';
import type { StoredInstance } from '../../../../coordinator/store/port.ts';
import type { InstanceId, NodeId } from '../../../../protocol/wire/ids.ts';
import { offer } from './plan/fleets.ts';

const spec: PoolSpec = {
  ...{ pool: 'cloud', provider: 'ec2', instancesMin: 0, instancesMax: 5, warm: 0 },
  ...{ idleMs: 0, billingFloorMs: 0, spendPerHourMax: null, spendTotalMax: null },
  ...{ namespaces: null, offers: [offer({ id: 'spot', pricePerHour: 1 }), offer({ id: 'other' })] },
  ...{ bootMsGuess: 60_000, bootMsMax: 600_000, leaveMsMax: 60_000, killAfterMs: 5_000 },
  ...{ retryBaseMs: 60_000, retryMaxMs: 3_600_000, dryRun: false },
};
const open = (pool = 'cloud') =>
  createFleetState({
    pools: [{ ...spec, pool }],
    settings: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
    decide: planFleet,
    nextId: () => '1',
  });
const nowMs = 1_000_000;
const node = '12D3Koo' as NodeId;
const row: StoredInstance = {
  ...{ instance: 'cloud-1', pool: 'cloud', state: 'working', handle: '', reason: '' },
  ...{ requestedAtMs: 1, endedAtMs: null, offer: 'spot', pricePerHour: 1, node: null, cost: 0 },
};
const machine: ListedInstance = {
  ...{ handle: 'h', state: 'running', launchedAtMs: null, offer: null, interrupted: false },
};
const view: FleetView = { demand: [], nodes: [], others: [], images: [], isStopping: false };

describe('a coordinator that starts again', () => {
  it('knows what has failed, until when it is left alone, and what boots take', async () => {
    const store = createMemoryStore();
    const before = open();
    const pool = before.pools.get('cloud');
    const other = pool?.offers.get('other');
    if (pool === undefined || other === undefined) throw new Error('there is no pool');
    noteOfferFailure(pool, 'spot', { nowMs, reason: 'It never joined.' });
    Object.assign(other, { boots: 3, bootMs: 70_000, refusals: 2 });
    other.interruptions = { count: 1.5, exposedMs: 400_000, atMs: nowMs };
    noteCreateFailure(pool, 'spot', { nowMs, failure: 'denied', message: 'no' });
    await saveLearned(store, before, '');

    const after = open();
    await loadFleet(store, after, nowMs + 1_000);
    const found = after.pools.get('cloud');
    expect(found?.offers.get('spot')).toEqual(pool.offers.get('spot'));
    expect(found?.offers.get('other')).toEqual(other);
    expect(found?.offers.get('spot')).toMatchObject({
      failures: 1,
      pausedUntilMs: nowMs + 60_000,
      pauseReason: 'spot failed: It never joined.',
    });
    expect([found?.hold, found?.holds]).toEqual([pool.hold, 1]);
  });

  it('does not wait for a clock that was set back', async () => {
    const store = createMemoryStore();
    const before = open();
    const pool = before.pools.get('cloud');
    if (pool === undefined) throw new Error('there is no pool');
    noteOfferFailure(pool, 'spot', { nowMs, reason: 'It never joined.' });
    await saveLearned(store, before, '');
    const after = open();
    await loadFleet(store, after, nowMs - 100 * 3_600_000);
    const until = after.pools.get('cloud')?.offers.get('spot')?.pausedUntilMs;
    expect(until).toBe(nowMs - 99 * 3_600_000);
  });

  it('knows what machines have cost whose rows are gone', async () => {
    const store = createMemoryStore();
    await store.saveInstance({ ...row, state: 'gone', endedAtMs: 2, cost: 2 });
    await store.saveInstance({ ...row, instance: 'cloud-2', state: 'gone', endedAtMs: 9, cost: 3 });
    await store.pruneInstances(5);
    const state = open();
    await loadFleet(store, state, nowMs);
    expect(state.pools.get('cloud')?.spentGone).toBe(5);
  });

  it('goes on ending what never joined (paid for and never ended)', async () => {
    const store = createMemoryStore();
    await store.saveInstance({ ...row, instance: 'cloud-1', state: 'draining', handle: 'h' });
    await store.saveInstance({ ...row, instance: 'cloud-2', state: 'booting' });
    await store.saveInstance({ ...row, instance: 'cloud-3', state: 'draining', node });
    const state = open();
    await loadFleet(store, state, nowMs);
    const orders = stepFleet(state, { kind: 'looked', view }, nowMs + 1);
    expect(orders.filter(({ kind }) => kind === 'terminate')).toEqual([
      { kind: 'terminate', pool: 'cloud', instance: 'cloud-1', handle: 'h' },
    ]);
  });

  it('does not start without a pool whose machines may be there (paid for, seen by nobody)', async () => {
    const store = createMemoryStore();
    await store.saveInstance(row);
    await store.saveInstance({ ...row, instance: 'old-1', pool: 'old', handle: 'i-0123' });
    await store.saveInstance({ ...row, instance: 'old-2', pool: 'old', state: 'gone' });
    const state = open();
    const refusal = await loadFleet(store, state, nowMs).catch((caught: unknown) => caught);
    expect(refusal).toMatchObject({ code: 'conflict', details: { instances: ['old-1'] } });
    expect(String(refusal)).toContain('no pool "old"');
    expect(String(refusal)).toContain('old-1 (i-0123).');
    expect(state.instances.size).toBe(0);
    await store.saveInstance({ ...row, instance: 'old-1', pool: 'old', state: 'gone' });
    await loadFleet(store, state, nowMs);
    expect([...state.instances.keys()]).toEqual(['cloud-1']);
  });

  it('knows what machines cost that nobody asked for (a cap passed after a restart)', async () => {
    const store = createMemoryStore();
    const hour = 3_600_000;
    const before = open();
    const shown = (...instances: string[]): FleetEvent => ({
      ...{ kind: 'listed', pool: 'cloud', askedAtMs: nowMs },
      found: new Map(instances.map((id) => [id as InstanceId, { ...machine, offer: 'spot' }])),
    });
    stepFleet(before, shown('x-1', 'x-2'), nowMs);
    stepFleet(before, { kind: 'ended', instance: 'x-1' as InstanceId }, nowMs + hour);
    await saveLearned(store, before, '');

    const after = open();
    await loadFleet(store, after, nowMs + 2 * hour);
    const pool = after.pools.get('cloud');
    if (pool === undefined) throw new Error('there is no pool');
    // An hour of the one, and of the other the time without a coordinator, too.
    expect(spentBy(after, pool, nowMs + 2 * hour)).toBeCloseTo(3);
    const again = stepFleet(after, shown('x-2'), nowMs + 2 * hour);
    expect(again.map(({ kind }) => kind)).toEqual(['terminate', 'kill']);
    await saveLearned(store, after, '');
    const last = open();
    await loadFleet(store, last, nowMs + 3 * hour);
    expect(last.pools.get('cloud')?.spentGone).toBeCloseTo(1);
    await expect(loadFleet(store, open('other'), nowMs)).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  it('writes what it has learned only when that has changed', async () => {
    const written: string[] = [];
    const store = { setMeta: async (key: string) => void written.push(key) };
    const state = open();
    const saved = await saveLearned(store, state, '');
    await saveLearned(store, state, saved);
    expect(written).toEqual(['fleetOffers', 'fleetHolds', 'fleetOrphans']);
  });
});
