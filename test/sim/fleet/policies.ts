/**
 * Two other systems' rules for how many machines, as policies beside ours. Only the rule differs:
 * they run on the same life of machines, which drains before it ends, so that what is compared is
 * how many, when, and for how long.
 */
import type {
  FleetDecision,
  FleetInputs,
  FleetInstance,
  FleetPlan,
} from '../../../coordinator/autoscaler/plan/inputs.ts';
import { planFleet } from '../../../coordinator/autoscaler/plan/plan-fleet.ts';

export type Policy = (inputs: FleetInputs) => FleetPlan;

export const ownPolicy = 'Perigee';
/** A fresh policy for each run: some remember. */
export const policies: Readonly<Record<string, () => Policy>> = {
  [ownPolicy]: () => planFleet,
  'Dask’s rule': createDask,
  'Ray’s rule': createRay,
};

/**
 * Adaptive: workers for all work within 5 s, unknown tasks at 0.5 s, no more than tasks; down when
 * proposed three times in a row, 1 s apart. It counts workers asked for as there.
 */
function createDask(): Policy {
  const targetMs = 5_000;
  const unknownMs = 500;
  const proposals = new Map<string, number>();
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  return (inputs) => {
    const [pool] = inputs.pools;
    const empty = emptyPlan();
    if (pool === undefined || inputs.nowMs - lookedAtMs < 1_000) return empty;
    lookedAtMs = inputs.nowMs;
    let workMs = 0;
    let tasks = 0;
    for (const row of inputs.demand) {
      workMs += (row.ready + row.running) * (row.runtimeMs ?? unknownMs);
      tasks += row.ready + row.running;
    }
    const slots = pool.offers[0]?.shape.slots ?? 1;
    const target = Math.min(
      pool.instancesMax,
      Math.ceil(Math.min(tasks, Math.ceil(workMs / targetMs)) / slots),
    );
    const live = inputs.instances.filter(isLive);
    if (target > live.length) {
      proposals.clear();
      return withDecisions(create(inputs, target - live.length));
    }
    const idle = live.filter(isIdle).slice(0, live.length - target);
    for (const id of [...proposals.keys()]) {
      if (!idle.some(({ instance }) => instance === id)) proposals.delete(id);
    }
    const due = idle.filter(({ instance }) => {
      const count = (proposals.get(instance) ?? 0) + 1;
      proposals.set(instance, count);
      return count >= 3;
    });
    return withDecisions(due.flatMap(drain));
  };
}

/**
 * Autoscaler v2: every 5 s the pending tasks are packed onto what is there or coming, the rest onto
 * new machines, at most as many pending as there are (5 at least); away when idle for 5 min.
 */
function createRay(): Policy {
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  return (inputs) => {
    const [pool] = inputs.pools;
    if (pool === undefined || inputs.nowMs - lookedAtMs < 5_000) return emptyPlan();
    lookedAtMs = inputs.nowMs;
    const slots = pool.offers[0]?.shape.slots ?? 1;
    const tasks = inputs.demand.reduce((sum, row) => sum + row.runnable + row.running, 0);
    const live = inputs.instances.filter(isLive);
    const pending = live.filter(({ state }) => state === 'booting').length;
    const missing = Math.ceil(tasks / slots) - live.length;
    const speed = Math.max(5, live.length - pending) - pending;
    const count = Math.min(missing, speed);
    const due = live.filter(
      (one) => isIdle(one) && inputs.nowMs - (one.idleSinceMs ?? inputs.nowMs) >= 300_000,
    );
    return withDecisions([...create(inputs, count), ...due.flatMap(drain)]);
  };
}

function isLive({ state }: FleetInstance): boolean {
  return state === 'booting' || state === 'working';
}

function isIdle(one: FleetInstance): boolean {
  return one.state === 'working' && one.held === 0 && one.idleSinceMs !== null;
}

/** Within the pool's limit, of the first offer that is not paused: falling back is the life's. */
function create(inputs: FleetInputs, count: number): FleetDecision[] {
  const [pool] = inputs.pools;
  const offer = pool?.offers.find(({ pausedUntilMs }) => pausedUntilMs <= inputs.nowMs);
  if (pool === undefined || offer === undefined) return [];
  if (pool.hold !== null && pool.hold.untilMs > inputs.nowMs) return [];
  const room = pool.instancesMax - inputs.instances.length;
  const made = Math.min(count, room);
  if (made <= 0) return [];
  return [{ kind: 'create', pool: pool.pool, offer: offer.id, count: made, reason: 'rule' }];
}

function drain(one: FleetInstance): FleetDecision[] {
  if (one.node === null) return [];
  return [{ kind: 'drain', instance: one.instance, node: one.node, reason: 'rule' }];
}

function withDecisions(decisions: FleetDecision[]): FleetPlan {
  return { ...emptyPlan(), decisions };
}

function emptyPlan(): FleetPlan {
  return { decisions: [], outlooks: [], work: [], lookAgainMs: null };
}
