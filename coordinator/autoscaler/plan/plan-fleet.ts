/**
 * How many machines, of which kind: the queue, the machines, the limits and what was learned in,
 * decisions and their reasons out. It keeps nothing and does nothing; whoever performs its decisions
 * calls it again when something has changed.
 */

import type { InstanceShape } from '../provider-port.ts';
import { buy } from './buy.ts';
import type {
  FleetDecision,
  FleetInputs,
  FleetInstance,
  FleetPlan,
  FleetPool,
  OtherCapacity,
} from './inputs.ts';
import { retire, retirePaused } from './retire.ts';
import type { Spending } from './spend.ts';
import { callBackCost, findSpending } from './spend.ts';
import type { Want } from './wants.ts';
import { describeWork, findHorizonMs, listWants, takeByOne } from './wants.ts';

/** Decides, once, for all pools: work that one pool is to take is not offered to the next. */
export function planFleet(inputs: FleetInputs): FleetPlan {
  const plan: FleetPlan = {
    decisions: [],
    outlooks: [],
    work: describeWork(inputs),
    lookAgainMs: null,
  };
  const budgets = inputs.pools.map((pool) => ({ pool, spending: findSpending(inputs, pool) }));
  const left = withoutStopped(plan, inputs, budgets);
  for (const budget of budgets) planPool(plan, left, { budget, budgets });
  return plan;
}

/** What a cap stops counts no longer, and its places are wanted elsewhere. */
function withoutStopped(
  plan: FleetPlan,
  inputs: FleetInputs,
  budgets: readonly PoolBudget[],
): FleetInputs {
  const spendings = budgets.map(({ spending }) => spending);
  if (spendings.every(({ stops }) => stops.length === 0)) return inputs;
  for (const { stops } of spendings) plan.decisions.push(...stops);
  const instances = inputs.instances.map((one): FleetInstance => {
    const isStopped = spendings.some(({ stopped }) => stopped.has(one.instance));
    return isStopped ? { ...one, state: 'leaving' } : one;
  });
  return { ...inputs, instances };
}

/** A pool and what its caps leave. */
interface PoolBudget {
  readonly pool: FleetPool;
  readonly spending: Spending;
}

interface Roster {
  present: FleetInstance[];
  working: FleetInstance[];
  /** Of the working and booting ones, those that the work needs. */
  needed: number;
  live: number;
  undrained: FleetInstance[];
  /** Dollars for new machines, after what calling drains off takes. */
  free: number;
}

/**
 * By this pool's own horizon: what machines that boot in a second are worth says nothing of those
 * that take minutes. All that is there comes before all that could be, whatever the order of pools.
 */
function planPool(
  plan: FleetPlan,
  inputs: FleetInputs,
  options: { budget: PoolBudget; budgets: readonly PoolBudget[] },
): void {
  const { budget, budgets } = options;
  const { pool, spending } = budget;
  const wants = listWants(inputs);
  const horizonMs = findHorizonMs(inputs, pool);
  for (const other of inputs.others) takeByOne(wants, other, horizonMs);
  const rosters = budgets.map((each) => takeByPresent(inputs, { ...each, wants, horizonMs }));
  takeByOrdered(plan, inputs, { wants, horizonMs });
  const roster = rosters[budgets.indexOf(budget)];
  if (roster === undefined) return;
  decidePool(plan, { inputs, pool, wants, horizonMs, roster, spending });
}

/** Working machines take work first, the busy ones before the idle; then those that boot. */
function takeByPresent(
  inputs: FleetInputs,
  options: PoolBudget & { wants: readonly Want[]; horizonMs: number },
): Roster {
  const { pool, wants, horizonMs } = options;
  const present: FleetInstance[] = [];
  const working: FleetInstance[] = [];
  const booting: FleetInstance[] = [];
  const draining: FleetInstance[] = [];
  for (const one of inputs.instances) {
    if (one.pool !== pool.pool) continue;
    present.push(one);
    if (one.state === 'working') working.push(one);
    else if (one.state === 'booting') booting.push(one);
    else if (one.state === 'draining') draining.push(one);
  }
  working.sort((one, other) => other.held - one.held);
  const toCarrier = createCarriers(pool);
  const roster: Roster = {
    present,
    working,
    needed: 0,
    live: working.length + booting.length,
    undrained: [],
    free: options.spending.free,
  };
  for (const some of [working, booting]) {
    for (const one of some) {
      const used = takeByOne(wants, toCarrier(one), horizonMs);
      if (used > 0 || one.held > 0) roster.needed += 1;
    }
  }
  // Work came back: a drain is called off before anything is made, latest drained first.
  draining.sort((one, other) => (other.drainingSinceMs ?? 0) - (one.drainingSinceMs ?? 0));
  for (const one of draining) {
    const cost = callBackCost(inputs, pool, one);
    if (cost > roster.free) continue;
    if (takeByOne(wants, toCarrier(one), horizonMs) === 0) continue;
    roster.free -= cost;
    roster.undrained.push(one);
    roster.needed += 1;
    roster.live += 1;
  }
  return roster;
}

/** What this plan makes already, of the pools before. */
function takeByOrdered(
  plan: FleetPlan,
  inputs: FleetInputs,
  options: { wants: readonly Want[]; horizonMs: number },
): void {
  for (const decision of plan.decisions) {
    if (decision.kind !== 'create') continue;
    const pool = inputs.pools.find((one) => one.pool === decision.pool);
    const offer = pool?.offers.find(({ id }) => id === decision.offer);
    if (pool === undefined || offer === undefined) continue;
    const carrier = createCarriers(pool)(offer);
    for (let made = 0; made < decision.count; made += 1) {
      takeByOne(options.wants, carrier, options.horizonMs);
    }
  }
}

/** A pool has many machines and few shapes. */
function createCarriers(pool: FleetPool): (one: Pick<FleetInstance, 'shape'>) => OtherCapacity {
  const { images, namespaces } = pool;
  const carriers = new Map<InstanceShape, OtherCapacity>();
  return ({ shape }) => {
    let carrier = carriers.get(shape);
    if (carrier === undefined) {
      carrier = { ...shape, images, namespaces };
      carriers.set(shape, carrier);
    }
    return carrier;
  };
}

function decidePool(
  plan: FleetPlan,
  options: {
    inputs: FleetInputs;
    pool: FleetPool;
    wants: readonly Want[];
    horizonMs: number;
    roster: Roster;
    spending: Spending;
  },
): void {
  const { inputs, pool, wants, horizonMs, roster, spending } = options;
  const { present, working, live, free } = roster;
  const decisions: FleetDecision[] = plan.decisions;
  for (const { instance, node } of roster.undrained) {
    if (node === null) continue;
    const reason = `Work for ${roster.needed} instances is there again.`;
    decisions.push({ kind: 'undrain', instance, node, reason });
  }
  const kept = Math.max(pool.instancesMin, roster.needed + pool.warm);
  const spares = Math.max(0, Math.min(pool.instancesMax, kept) - live);
  const purchase = { inputs, pool, present, wants, horizonMs, spares, spending, free };
  const { missing, heldBack } = buy(plan, purchase);
  const keep = Math.min(pool.instancesMax, kept);
  const waiting = retire(plan, { inputs, pool, working, live, keep });
  retirePaused(plan, { inputs, pool, stopped: spending.stopped });
  const draining = present.filter(({ state }) => state === 'draining').length;
  const needed = Math.min(pool.instancesMax, roster.needed + missing);
  const idle = working.filter(({ held }) => held === 0).length;
  plan.outlooks.push({
    pool: pool.pool,
    inUse: Math.min(pool.instancesMax, Math.max(needed, live - idle)),
    wanted: Math.min(
      pool.instancesMax,
      Math.max(pool.instancesMin, needed, roster.needed + pool.warm),
    ),
    live,
    waiting,
    draining: draining - roster.undrained.length,
    horizonSeconds: horizonMs / 1000,
    pricePerHour: spending.perHour,
    heldBack: spending.reason ?? heldBack,
  });
}
