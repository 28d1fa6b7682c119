/**
 * How many machines, of which kind: the queue, the machines and the limits in, decisions and their
 * reasons out. It keeps nothing and does nothing; whoever performs its decisions calls it again when
 * something has changed.
 */

import { buy } from './buy.ts';
import type { FleetDecision, FleetInputs, FleetInstance, FleetPlan, FleetPool } from './inputs.ts';
import { retire } from './retire.ts';
import type { Want } from './wants.ts';
import { listWants, takeByOne, takeByOthers } from './wants.ts';

/** Decides, once, for all pools: work that one pool is to take is not offered to the next. */
export function planFleet(inputs: FleetInputs): FleetPlan {
  const plan: FleetPlan = { decisions: [], outlooks: [], work: [], lookAgainMs: null };
  const { wants, work } = listWants(inputs);
  plan.work = work;
  takeByOthers(wants, inputs.others);
  // Machines that are there come before machines that could be, whatever the order of pools.
  const rosters = inputs.pools.map((pool) => takeByPresent(inputs, pool, wants));
  for (const roster of rosters) planPool(plan, { inputs, wants, roster });
  return plan;
}

interface Roster {
  pool: FleetPool;
  present: FleetInstance[];
  working: FleetInstance[];
  /** Of the working and booting ones, those that the work needs. */
  needed: number;
  live: number;
  undrained: FleetInstance[];
}

/** Working machines take work first, the busy ones before the idle; then those that boot. */
function takeByPresent(inputs: FleetInputs, pool: FleetPool, wants: readonly Want[]): Roster {
  const present = inputs.instances.filter((one) => one.pool === pool.pool);
  const working = present
    .filter(({ state }) => state === 'working')
    .sort((one, other) => other.held - one.held);
  const booting = present.filter(({ state }) => state === 'booting');
  const roster: Roster = {
    pool,
    present,
    working,
    needed: 0,
    live: working.length + booting.length,
    undrained: [],
  };
  for (const one of [...working, ...booting]) {
    if (takeByOne(wants, carrierOf(pool, one)) > 0 || one.held > 0) roster.needed += 1;
  }
  // Work came back: a drain is called off before anything is made, latest drained first.
  const draining = present
    .filter(({ state }) => state === 'draining')
    .sort((one, other) => (other.drainingSinceMs ?? 0) - (one.drainingSinceMs ?? 0));
  const isOverspent = pool.spendTotalMax !== null && pool.spent >= pool.spendTotalMax;
  for (const one of isOverspent ? [] : draining) {
    if (takeByOne(wants, carrierOf(pool, one)) === 0) continue;
    roster.undrained.push(one);
    roster.needed += 1;
    roster.live += 1;
  }
  return roster;
}

function carrierOf(pool: FleetPool, one: FleetInstance) {
  return { ...one.shape, images: pool.images, namespaces: pool.namespaces };
}

function planPool(
  plan: FleetPlan,
  options: { inputs: FleetInputs; wants: readonly Want[]; roster: Roster },
): void {
  const { inputs, wants, roster } = options;
  const { pool, present } = roster;
  const decisions: FleetDecision[] = plan.decisions;
  for (const { instance, node } of roster.undrained) {
    if (node === null) continue;
    const reason = `Work for ${roster.needed} instances is there again.`;
    decisions.push({ kind: 'undrain', instance, node, reason });
  }
  const kept = Math.max(pool.instancesMin, roster.needed + pool.warm);
  const spares = Math.max(0, Math.min(pool.instancesMax, kept) - roster.live);
  const { missing, heldBack } = buy(plan, { inputs, pool, present, wants, spares });
  const isOverspent = pool.spendTotalMax !== null && pool.spent >= pool.spendTotalMax;
  const keep = isOverspent ? 0 : Math.min(pool.instancesMax, kept);
  retire(plan, { inputs, pool, working: roster.working, spare: roster.live - keep });
  const draining = present.filter(({ state }) => state === 'draining').length;
  plan.outlooks.push({
    pool: pool.pool,
    wanted: Math.min(
      pool.instancesMax,
      Math.max(pool.instancesMin, roster.needed + Math.max(missing, pool.warm)),
    ),
    live: roster.live,
    draining: draining - roster.undrained.length,
    pricePerHour: present.reduce((sum, one) => sum + one.pricePerHour, 0),
    heldBack,
  });
}
