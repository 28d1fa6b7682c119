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
} from '../../../../../coordinator/autoscaler/lifecycle/state.ts';
import { stepFleet } from '../../../../../coordinator/autoscaler/lifecycle/step.ts';
import { defaultFleetSettings } from '../../../../../coordinator/autoscaler/plan/inputs.ts';
import { planFleet } from '../../../../../coordinator/autoscaler/plan/plan-fleet.ts';
import type { ListedInstance } from '../../../../../coordinator/autoscaler/provider-port.ts';
import type { InstanceId, NodeId } from '../../../../../protocol/wire/ids.ts';
import { image, offer, row } from '../plan/fleets.ts';

const one = 'cloud-1' as InstanceId;
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
  const take = (event: FleetEvent): string[] => stepFleet(state, event, nowMs).map(short);
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
    pass: (ms: number) => {
      nowMs += ms;
    },
    take,
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

it('a dry run plans and does nothing', () => {
  const fleet = openFleet({ dryRun: true });
  expect(fleet.look({ work: 3 })).toEqual([]);
  expect(fleet.state.plan?.decisions).toMatchObject([{ kind: 'create' }]);
});
