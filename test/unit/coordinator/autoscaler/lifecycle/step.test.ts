import { describe, expect, it } from 'vitest';
import type {
  FleetEvent,
  FleetOrder,
  PoolSpec,
  SeenNode,
} from '../../../../../coordinator/autoscaler/lifecycle/state.ts';
import {
  createFleetState,
  defaultLifecycleSettings,
  spentBy,
} from '../../../../../coordinator/autoscaler/lifecycle/state.ts';
import { stepFleet } from '../../../../../coordinator/autoscaler/lifecycle/step.ts';
import { defaultFleetSettings } from '../../../../../coordinator/autoscaler/plan/inputs.ts';
import { planFleet } from '../../../../../coordinator/autoscaler/plan/plan-fleet.ts';
import type { ListedInstance } from '../../../../../coordinator/autoscaler/provider-port.ts';
import type { InstanceId, NodeId } from '../../../../../protocol/wire/ids.ts';
import { image, offer, row } from '../plan/fleets.ts';

const one = 'cloud-1' as InstanceId;
const quiet = { demand: [], nodes: [], others: [], images: [image], isStopping: false };
const spec: PoolSpec = {
  ...{ pool: 'cloud', provider: 'ec2', instancesMin: 0, instancesMax: 5, warm: 0 },
  ...{ idleMs: 60_000, billingFloorMs: 0, spendPerHourMax: null, spendTotalMax: null },
  ...{ namespaces: null, offers: [offer()], bootMsGuess: 60_000, bootMsMax: 600_000 },
  ...{ leaveMsMax: 60_000, killAfterMs: 5_000, retryBaseMs: 60_000, retryMaxMs: 3_600_000 },
  dryRun: false,
};

function openFleet(changes: Partial<PoolSpec> = {}) {
  let ids = 0;
  const state = createFleetState({
    pools: [{ ...spec, ...changes }],
    settings: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
    decide: planFleet,
    nextId: () => {
      ids += 1;
      return String(ids);
    },
  });
  let nowMs = 1_000_000;
  const short = (order: FleetOrder): string => {
    if (order.kind === 'save') return `save ${order.instance.instance} ${order.instance.phase}`;
    if (order.kind === 'tell') return `tell ${order.event}`;
    return 'instance' in order ? `${order.kind} ${order.instance}` : order.kind;
  };
  /** What people were told that needs them. */
  const loud: string[] = [];
  const take = (event: FleetEvent): string[] => {
    const orders = stepFleet(state, event, nowMs);
    for (const order of orders) if (order.kind === 'tell' && order.isLoud) loud.push(order.event);
    return orders.map(short);
  };
  const listed = (shown: Partial<ListedInstance> | null): string[] => {
    const machine: ListedInstance = {
      ...{ handle: 'h', state: 'running', launchedAtMs: null, offer: null, interrupted: false },
      ...shown,
    };
    const found = new Map(shown === null ? [] : [[one, machine]]);
    return take({ kind: 'listed', pool: 'cloud', found, askedAtMs: nowMs });
  };
  return {
    state,
    nowMs: () => nowMs,
    pass: (ms: number) => {
      nowMs += ms;
    },
    take,
    loud,
    listed,
    look: (options: { work?: number; node?: Partial<SeenNode> } = {}): string[] => {
      const node: SeenNode = {
        ...{ node: 'n1' as NodeId, state: 'ready', drainingBy: null, held: 1, idleSinceMs: null },
        ...{ sinceMs: nowMs, isPaused: false, uniqueCacheBytes: 0, ...options.node },
      };
      return take({
        kind: 'looked',
        view: {
          demand: options.work === undefined ? [] : [row({ runnable: options.work })],
          nodes: options.node === undefined ? [] : [{ instance: one, node }],
          others: [],
          images: [image],
          isStopping: false,
        },
      }).filter((text) => text !== 'list');
    },
  };
}

describe('rule 4, intent before the call', () => {
  it('saves an instance before it asks for it (a machine that nobody knows of)', () => {
    const fleet = openFleet();
    expect(fleet.look({ work: 1 })).toEqual(['save cloud-1 requested', 'create cloud-1']);
  });

  it('ends what bears our tag and nobody asked for (zombies after a crash)', () => {
    const fleet = openFleet();
    expect(fleet.listed({})).toEqual(['tell orphan', 'terminate cloud-1', 'kill cloud-1']);
    expect(fleet.listed({})).toEqual([]);
    fleet.pass(30_000);
    expect(fleet.listed({})).toEqual(['terminate cloud-1', 'kill cloud-1']);
  });

  it('gives up what nobody asked for when listings have missed it for long enough (a cap blocked for ever)', () => {
    const fleet = openFleet({ offers: [offer({ pricePerHour: 1 })], spendPerHourMax: 1 });
    fleet.listed({});
    fleet.pass(119_000);
    for (let at = 0; at < 4; at += 1) expect(fleet.listed(null)).toEqual([]);
    fleet.pass(1_000);
    expect(fleet.listed(null)).toEqual(['terminate cloud-1', 'tell gone']);
    expect(fleet.listed(null)).toEqual([]);
    expect(fleet.look({ work: 600 })).toContain('create cloud-1');
    const pool = fleet.state.pools.get('cloud');
    expect(pool?.spentGone).toBeCloseTo(120 / 3600);
  });

  it('starts to count again with every listing that shows it', () => {
    const fleet = openFleet();
    fleet.listed({});
    fleet.pass(600_000);
    for (let at = 0; at < 2; at += 1) fleet.listed(null);
    expect(fleet.listed({})).toEqual(['terminate cloud-1', 'kill cloud-1']);
    for (let at = 0; at < 3; at += 1) expect(fleet.listed(null)).toEqual([]);
  });

  it('says that what nobody asked for cannot be ended, and asks often', () => {
    const fleet = openFleet();
    fleet.look();
    fleet.listed({});
    const failed = { kind: 'endFailed', instance: one, message: 'denied' } as const;
    expect(fleet.take(failed)).toEqual(['tell end failed']);
    fleet.pass(30_000);
    fleet.listed({});
    fleet.take(failed);
    expect(fleet.loud).toEqual(['orphan', 'end failed']);
    fleet.state.pools.forEach((pool) => {
      Object.assign(pool, { isListing: false, listedAtMs: fleet.nowMs() - 10_000 });
    });
    expect(fleet.take({ kind: 'looked', view: quiet })).toEqual(['list']);
  });

  it('finds a machine whose creation was not answered, and buys no second one', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    const failure = { failure: 'unavailable', message: 'reset', mayHaveMade: true } as const;
    expect(fleet.take({ kind: 'createFailed', instance: one, ...failure })).toEqual([
      'tell create failed',
    ]);
    fleet.pass(120_000);
    expect(fleet.look({ work: 1 })).toEqual([]);
    expect(fleet.listed({})).toEqual(['save cloud-1 booting', 'tell found', 'adopt cloud-1']);
  });
});

describe('rule 3, a listing that fails or is empty is not none', () => {
  const boot = () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    return fleet;
  };

  it('takes three listings, late enough, to believe that a machine is gone, and ends it all the same', () => {
    const fleet = boot();
    for (let at = 0; at < 5; at += 1) expect(fleet.listed(null)).toEqual([]);
    fleet.pass(120_000);
    expect(fleet.listed(null)).toEqual([
      ...['tell boot failed', 'terminate cloud-1', 'tell gone', 'save cloud-1 gone'],
      'forget cloud-1',
    ]);
  });

  it('never believes it of a machine whose node is heard (one blip, a second fleet)', () => {
    const fleet = boot();
    fleet.look({ node: {} });
    fleet.pass(600_000);
    for (let at = 0; at < 9; at += 1) expect(fleet.listed(null)).toEqual([]);
    expect(fleet.look({ work: 0, node: {} })).toEqual([]);
  });

  it('does nothing but tell when a listing fails', () => {
    const fleet = boot();
    const failed = { kind: 'listFailed', pool: 'cloud', failure: 'denied', message: 'no' } as const;
    expect(fleet.take(failed)).toEqual(['tell listing failed']);
  });
});

describe('deadlines', () => {
  it('end what never joins, and leave its offer alone for a while (a loop that buys)', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    fleet.pass(600_000);
    expect(fleet.look({ work: 1 })).toEqual([
      ...['tell boot failed', 'save cloud-1 draining', 'tell ends', 'terminate cloud-1'],
    ]);
    expect(fleet.state.plan?.outlooks[0]?.heldBack).toContain('has not joined within 600.0 s');
  });

  it('end what was never answered and is shown only as it stops (asked for until for ever)', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    const failure = { failure: 'unavailable', message: 'reset', mayHaveMade: true } as const;
    fleet.take({ kind: 'createFailed', instance: one, ...failure });
    fleet.pass(599_000);
    expect(fleet.listed({ state: 'stopping' })).toEqual([]);
    expect(fleet.look()).toEqual([]);
    fleet.pass(1_000);
    expect(fleet.look()).toEqual([
      ...['tell boot failed', 'save cloud-1 draining', 'tell ends', 'terminate cloud-1'],
    ]);
  });

  it('leave a creation alone that is under way', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.pass(700_000);
    expect(fleet.look({ work: 1 })).toEqual([]);
  });

  it('count failures of machines asked for together as one', () => {
    const fleet = openFleet();
    fleet.look({ work: 1_000 });
    const failure = { failure: 'stockout', message: 'none', mayHaveMade: false } as const;
    for (const instance of [...fleet.state.instances.keys()]) {
      fleet.take({ kind: 'createFailed', instance, ...failure });
    }
    const record = fleet.state.pools.get('cloud')?.offers.get('small');
    expect(record).toMatchObject({ failures: 0, refusals: 1 });
  });

  it('forget a refusal with the first grant', () => {
    const fleet = openFleet();
    fleet.look({ work: 2 });
    const failure = { failure: 'stockout', message: 'none', mayHaveMade: false } as const;
    fleet.take({ kind: 'createFailed', instance: 'cloud-2' as InstanceId, ...failure });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    expect(fleet.state.pools.get('cloud')?.offers.get('small')?.refusals).toBe(0);
  });
});

describe('nodes', () => {
  it('are tied to their instance by the first peer that appears', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    fleet.look({ node: {} });
    expect(fleet.look({ node: { node: 'n2' as NodeId } })).toEqual(['tell impostor']);
    expect(fleet.state.instances.get(one)?.node).toBe('n1');
  });

  it('are drained when the cloud takes their machine back, and replaced', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    fleet.look({ node: {} });
    expect(fleet.listed({ interrupted: true })).toEqual([
      'save cloud-1 working',
      'tell interrupted',
    ]);
    expect(fleet.look({ work: 1, node: {} })).toEqual(['save cloud-1 draining', 'drain']);
  });
});

describe('a paused node', () => {
  it('is drained loudly once it has idled for long enough, and its machine ended', () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    const paused = { isPaused: true, held: 0, idleSinceMs: fleet.nowMs() };
    expect(fleet.look({ node: paused })).not.toContain('drain');
    fleet.pass(600_000);
    expect(fleet.look({ node: paused })).toEqual(['save cloud-1 draining', 'tell drain', 'drain']);
    expect(fleet.loud).toEqual(['drain']);
    const node = { ...paused, state: 'draining', drainingBy: 'autoscaler' } as const;
    fleet.pass(60_000);
    expect(fleet.look({ node: { ...node, sinceMs: fleet.nowMs() - 60_000 } })).toContain(
      'terminate cloud-1',
    );
  });
});

describe('what a pool has cost', () => {
  const failure = { failure: 'stockout', message: 'none', mayHaveMade: false } as const;
  const hour = 3_600_000;
  const priced = { offers: [offer({ pricePerHour: 1, bootMs: 60_000 })], billingFloorMs: 60_000 };
  const spent = (fleet: ReturnType<typeof openFleet>): number | undefined => {
    const pool = fleet.state.pools.get('cloud');
    return pool === undefined ? undefined : spentBy(fleet.state, pool, fleet.nowMs());
  };

  it('is nothing for machines that were never made (a cap eaten up by stockouts)', () => {
    const fleet = openFleet(priced);
    fleet.look({ work: 6 });
    expect(fleet.take({ kind: 'createFailed', instance: one, ...failure })).toContain(
      'save cloud-1 gone',
    );
    expect(spent(fleet)).toBe(0);
  });

  it('is what is billed at least for one that may have been made', () => {
    const fleet = openFleet(priced);
    fleet.look({ work: 6 });
    fleet.take({ kind: 'createFailed', instance: one, ...failure, mayHaveMade: true });
    expect(spent(fleet)).toBeCloseTo(1 / 60);
  });

  it('goes on for one that was given up and is there all the same, an hour too (a cap passed unseen)', () => {
    const fleet = openFleet({ ...priced, spendPerHourMax: 1, spendTotalMax: 100 });
    fleet.listed({ offer: 'small' });
    fleet.pass(hour);
    expect(spent(fleet)).toBeCloseTo(1);
    expect(fleet.look({ work: 6 })).toEqual([]);
    expect(fleet.state.plan?.outlooks[0]?.heldBack).toContain('it costs $1.00');
    fleet.listed({ offer: 'small', state: 'gone' });
    fleet.pass(hour);
    expect(spent(fleet)).toBeCloseTo(1);
    expect(fleet.look({ work: 6 })).toEqual(['save cloud-1 requested', 'create cloud-1']);
  });

  it('ends what the cap leaves no money for, with what it holds', () => {
    const fleet = openFleet({ ...priced, spendTotalMax: 0.5 });
    fleet.look({ work: 6 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    fleet.look({ node: {} });
    fleet.pass(26.5 * 60_000);
    expect(fleet.look({ node: {} })).toEqual(['save cloud-1 draining', 'tell drain', 'drain']);
    const node = { state: 'draining', drainingBy: 'autoscaler', sinceMs: fleet.nowMs() } as const;
    fleet.pass(119_000);
    expect(fleet.look({ node })).toEqual([]);
    fleet.pass(1_000);
    expect(fleet.look({ node })).toEqual([
      ...['save cloud-1 draining', 'tell ends', 'terminate cloud-1'],
    ]);
    expect(fleet.state.instances.get(one)?.reason).toContain('returns to the queue');
    expect(spent(fleet)).toBeLessThan(0.5);
  });
});

describe('what the cloud takes back', () => {
  const offers = [
    offer({ id: 'spot', spot: true, pricePerHour: 0.3, bootMs: 60_000 }),
    offer({ id: 'on-demand', pricePerHour: 1, bootMs: 60_000 }),
  ];
  const boot = () => {
    const fleet = openFleet({ offers });
    fleet.look({ work: 6 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    fleet.look({ node: {} });
    return { ...fleet, spot: fleet.state.pools.get('cloud')?.offers.get('spot') };
  };

  it('is remembered by its offer, which is not left alone for it (all on demand after one storm)', () => {
    const fleet = boot();
    fleet.pass(600_000);
    fleet.listed({ interrupted: true });
    expect(fleet.spot).toMatchObject({ refusals: 0, interruptions: { count: 1 } });
    expect(fleet.spot?.interruptions.exposedMs).toBeGreaterThan(500_000);
    expect(fleet.look({ work: 30, node: {} })).toContain('create cloud-2');
    expect(fleet.state.instances.get('cloud-2' as InstanceId)?.offer).toBe('spot');
  });

  it('is noticed when it is gone already, and not when it was drained before', () => {
    const fleet = boot();
    fleet.look({ node: { state: 'gone' } });
    fleet.listed({ state: 'gone' });
    expect(fleet.spot?.interruptions.count).toBe(1);
    const drained = boot();
    drained.look({ node: { state: 'draining', drainingBy: 'operator' } });
    drained.look({ node: { state: 'gone' } });
    expect(drained.listed({ state: 'gone' })).toContain('save cloud-1 gone');
    expect(drained.spot?.interruptions.count).toBe(0);
  });

  it('is noticed where the cloud shows it only as it stops, but not of what we stop', () => {
    const stopping = { state: 'stopping', interrupted: true } as const;
    const fleet = boot();
    fleet.look({ node: { state: 'draining', drainingBy: 'node' } });
    expect(fleet.listed(stopping)).toEqual(['save cloud-1 draining', 'tell interrupted']);
    expect(fleet.listed(stopping)).toEqual([]);
    expect(fleet.spot?.interruptions.count).toBe(1);
    const drained = boot();
    drained.look({ node: { state: 'draining', drainingBy: 'autoscaler' } });
    expect(drained.listed(stopping)).toEqual([]);
    drained.look({ node: {} });
    expect(drained.listed(stopping)).toContain('tell interrupted');
    const ended = boot();
    ended.look({ node: { state: 'lost', held: 0 } });
    ended.pass(60_000);
    expect(ended.look({ node: { state: 'lost', held: 0, sinceMs: 0 } })).toContain('tell ends');
    expect(ended.listed(stopping)).toEqual([]);
  });

  it('leaves an offer without a price alone for a while: nobody can tell what is dearer', () => {
    const fleet = openFleet({ offers: [offer({ id: 'spot', spot: true })] });
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    fleet.look({ node: {} });
    fleet.listed({ interrupted: true });
    expect(fleet.state.pools.get('cloud')?.offers.get('spot')).toMatchObject({ refusals: 1 });
  });
});

describe('a dry run', () => {
  /** Of a machine that an earlier run made: the same state, in a pool that may do nothing any more. */
  const turnDry = (fleet: ReturnType<typeof openFleet>) => {
    const pool = fleet.state.pools.get('cloud');
    if (pool === undefined) throw new Error('there is no pool');
    fleet.state.pools.set('cloud', { ...pool, spec: { ...pool.spec, dryRun: true } });
    return fleet;
  };
  const boot = () => {
    const fleet = openFleet();
    fleet.look({ work: 1 });
    fleet.take({ kind: 'created', instance: one, handle: 'h' });
    return fleet;
  };

  it('plans and makes nothing', () => {
    const fleet = openFleet({ dryRun: true });
    expect(fleet.look({ work: 3 })).toEqual([]);
    expect(fleet.state.plan?.decisions).toMatchObject([{ kind: 'create' }]);
  });

  it('says once which overdue boot it would end', () => {
    const fleet = turnDry(boot());
    fleet.pass(600_000);
    expect(fleet.look()).toEqual(['tell boot failed', 'tell would end']);
    fleet.pass(600_000);
    expect(fleet.look()).toEqual([]);
    expect(fleet.state.instances.get(one)?.phase).toBe('booting');
  });

  it('ends neither what nobody asked for nor what listings miss', () => {
    const orphaned = turnDry(openFleet());
    expect(orphaned.listed({})).toEqual(['tell orphan']);
    orphaned.pass(60_000);
    expect(orphaned.listed({})).toEqual([]);
    const missed = turnDry(boot());
    missed.pass(120_000);
    for (let at = 0; at < 2; at += 1) missed.listed(null);
    expect(missed.listed(null)).toEqual([
      ...['tell boot failed', 'tell gone', 'save cloud-1 gone', 'forget cloud-1'],
    ]);
  });

  it('drains nothing that the cloud takes back', () => {
    const fleet = boot();
    fleet.look({ node: {} });
    turnDry(fleet);
    expect(fleet.listed({ interrupted: true })).toContain('tell interrupted');
    expect(fleet.look({ node: {} })).toEqual([]);
  });

  it('kills no process that was to end', () => {
    const fleet = boot();
    fleet.pass(600_000);
    fleet.look();
    turnDry(fleet).pass(60_000);
    expect(fleet.look()).toEqual([]);
  });
});
