/**
 * What a pool's caps leave. A machine that runs goes on costing until it has ended, which takes time: it
 * is drained first, and a cloud takes a while to carry out what it is told. So the cap in all is
 * compared with what will have been paid when everything that is there has been drained and ended,
 * beginning now; what there is no money to go on with is stopped while that still holds.
 */
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import type { DemandRow } from '../../core/views.ts';
import type { FleetDecision, FleetInputs, FleetInstance, FleetOffer, FleetPool } from './inputs.ts';
import { placesOn } from './wants.ts';

const hourMs = 3_600_000;
/** A boot may take so much longer than those before, and is paid for. */
const lateBoot = 1.25;
/** A boot that was never measured may take so much longer than the guess. */
const unknownBoot = 2;

export interface Spending {
  /** What must stop, and how. */
  readonly stops: readonly FleetDecision[];
  readonly stopped: ReadonlySet<InstanceId>;
  /** Dollars that are neither spent nor kept for what is there; infinite without a cap. */
  readonly free: number;
  /** Of what will be spent, what is not yet. */
  readonly kept: number;
  /** Dollars an hour of all that is there. */
  readonly perHour: number;
  /** Why something stops; null when nothing does. */
  readonly reason: string | null;
}

const noneStopped: ReadonlySet<InstanceId> = new Set();

/** Settles what of a pool may go on. */
export function findSpending(inputs: FleetInputs, pool: FleetPool): Spending {
  let perHour = pool.orphansPerHour;
  for (const one of inputs.instances) if (one.pool === pool.pool) perHour += one.pricePerHour;
  if (pool.spendTotalMax === null && pool.spendPerHourMax === null) {
    const free = Number.POSITIVE_INFINITY;
    return { stops: [], stopped: noneStopped, free, kept: 0, perHour, reason: null };
  }
  const present = inputs.instances.filter((one) => one.pool === pool.pool);
  const stops = new Map<InstanceId, FleetDecision>();
  const stop = (one: FleetInstance, reason: string, isUrgent: boolean): void => {
    const decision = stopOne(inputs, one, { reason, isUrgent, drainMs });
    if (decision !== null) stops.set(one.instance, decision);
  };
  const { endMsMax, goOnMs, unmeasuredShare } = inputs.settings;
  const drainMs = findDrainMs(inputs, pool);
  const total = pool.spendTotalMax ?? Number.POSITIVE_INFINITY;
  const paid = (one: FleetInstance, fromMs: number, toMs: number): number =>
    (one.pricePerHour *
      (Math.max(pool.billingFloorMs, toMs) - Math.max(pool.billingFloorMs, fromMs))) /
    hourMs;
  const ageOf = (one: FleetInstance): number => inputs.nowMs - one.requestedAtMs;
  const endAge = (one: FleetInstance): number =>
    ageOf(one) + endsInMs(inputs, { pool, one, drainMs });
  const kept =
    (pool.orphansPerHour * endMsMax) / hourMs +
    present.reduce((sum, one) => sum + paid(one, ageOf(one), endAge(one)), 0);
  let free = total - pool.spent - kept;
  const capReason = (): string =>
    `The pool may cost $${pool.spendTotalMax} in all: ${dollars(pool.spent)} are spent and up to ${dollars(kept)} more until its machines have ended.`;
  // Time was lost, with a coordinator that was away for one: there is none left for what is held.
  for (const one of free < 0 ? [...present].sort(byUrgency) : []) {
    if (free >= 0 || one.isEnding) continue;
    const saved = paid(one, ageOf(one) + endMsMax, endAge(one));
    if (saved <= 0) continue;
    stop(one, capReason(), true);
    free += saved;
  }
  const hourReason = (): string =>
    `The pool may cost $${pool.spendPerHourMax} an hour; it costs ${dollars(perHour)}.`;
  let goingPerHour = 0;
  const going = present
    .filter((one) => isGoing(inputs, one, drainMs) && !stops.has(one.instance))
    .sort(byWorth);
  const goOn: FleetInstance[] = [];
  for (const one of going) {
    const need = paid(one, endAge(one), endAge(one) + goOnMs);
    const perHourMax = pool.spendPerHourMax ?? Number.POSITIVE_INFINITY;
    if (goingPerHour + one.pricePerHour > perHourMax + 1e-9) {
      stop(one, hourReason(), false);
    } else if (free <= 0 || free < need) {
      stop(one, capReason(), false);
    } else {
      free -= need;
      goingPerHour += one.pricePerHour;
      goOn.push(one);
    }
  }
  // Before another boot is paid for, those that are there may use as much for work.
  for (const one of goOn) {
    const offer = pool.offers.find(({ id }) => id === one.offer);
    const fromMs = endAge(one) + goOnMs;
    const bootMs = offer?.bootMs ?? 0;
    const lifeMs =
      one.state === 'booting' && offer !== undefined
        ? leastLifeMs(inputs, pool, offer)
        : endAge(one) + bootMs;
    free -= paid(one, fromMs, Math.max(fromMs, lifeMs));
  }
  // A fleet that finds its tasks to be long must not have spent everything on boots.
  if (pool.spendTotalMax !== null && isUnmeasured(inputs, pool)) {
    free -= unmeasuredShare * (total - pool.spent);
  }
  const [first] = stops.values();
  return {
    stops: [...stops.values()],
    stopped: new Set(stops.keys()),
    free,
    kept,
    perHour,
    reason: first?.reason ?? null,
  };
}

/** A machine costs at least its boot, a boot's worth of use and its end, or what the cloud bills at least. */
export function leastLifeMs(inputs: FleetInputs, pool: FleetPool, offer: FleetOffer): number {
  const { idleBoots, endMsMax } = inputs.settings;
  const bootMs = offer.boots === 0 ? unknownBoot * offer.bootMs : offer.bootMs;
  const lifeMs = (1 + idleBoots) * bootMs + findDrainMs(inputs, pool) + endMsMax;
  return Math.max(pool.billingFloorMs, lifeMs);
}

/** What it takes to let a draining machine work again, until it has been drained once more. */
export function callBackCost(inputs: FleetInputs, pool: FleetPool, one: FleetInstance): number {
  if (pool.spendTotalMax === null) return 0;
  const drainMs = findDrainMs(inputs, pool);
  // Twice what it needs to go on: else it would be stopped again at once.
  const againMs = drainMs + inputs.settings.endMsMax + 2 * inputs.settings.goOnMs;
  return (one.pricePerHour * (againMs - endsInMs(inputs, { pool, one, drainMs }))) / hourMs;
}

/** Nine of ten tasks are finished within it; of those never measured as long as they have run. */
function findDrainMs(inputs: FleetInputs, pool: FleetPool): number {
  const { capDrainMsMin, capDrainMsMax } = inputs.settings;
  const tasks = rowsOf(inputs, pool).map((row) =>
    row.runtimeMs === null ? row.runningForMs : Math.max(row.runtimeMs, row.runtimeP90Ms ?? 0),
  );
  return Math.min(capDrainMsMax, Math.max(capDrainMsMin, ...tasks));
}

function isUnmeasured(inputs: FleetInputs, pool: FleetPool): boolean {
  const rows = rowsOf(inputs, pool);
  return rows.length > 0 && rows.every(({ runtimeMs }) => runtimeMs === null);
}

/** Work that the pool could do. */
function rowsOf(inputs: FleetInputs, pool: FleetPool): DemandRow[] {
  const { images, namespaces } = pool;
  return inputs.demand.filter((row) =>
    pool.offers.some(({ shape }) => placesOn(row, { ...shape, images, namespaces }) > 0),
  );
}

/** Until a machine has surely ended, when that is decided now. */
function endsInMs(
  inputs: FleetInputs,
  options: { pool: FleetPool; one: FleetInstance; drainMs: number },
): number {
  const { nowMs, settings } = inputs;
  const { pool, one, drainMs } = options;
  if (one.isEnding) return settings.endMsMax;
  if (one.state !== 'booting') return drainLeftMs(inputs, one, drainMs) + settings.endMsMax;
  // With a cloud that does not answer it can be told to end only once its node is there.
  const bootMs = pool.offers.find(({ id }) => id === one.offer)?.bootMs ?? 0;
  return Math.max(settings.endMsMax, lateBoot * bootMs - (nowMs - one.requestedAtMs));
}

function drainLeftMs(inputs: FleetInputs, one: FleetInstance, drainMs: number): number {
  const sinceMs = one.drainingSinceMs ?? inputs.nowMs;
  return Math.max(0, drainMs - (inputs.nowMs - sinceMs));
}

/** Whether it goes on costing until somebody stops it; what drains in time does not. */
function isGoing(inputs: FleetInputs, one: FleetInstance, drainMs: number): boolean {
  if (one.isEnding) return false;
  return one.drainingSinceMs === null || drainLeftMs(inputs, one, drainMs) === 0;
}

/** It finishes what it holds, for as long as a drain before the cap may take; else it ends as it is. */
function stopOne(
  inputs: FleetInputs,
  one: FleetInstance,
  options: { reason: string; isUrgent: boolean; drainMs: number },
): FleetDecision | null {
  const { instance, node, state, held } = one;
  const { reason, isUrgent, drainMs } = options;
  const canDrain = node !== null && (state === 'working' || (state === 'leaving' && held > 0));
  if (canDrain && one.drainingSinceMs === null && !isUrgent) {
    return { kind: 'drain', instance, node, reason };
  }
  if (isGoing(inputs, one, drainMs) || isUrgent) {
    const returned = held > 0 ? ' What it holds returns to the queue.' : '';
    return { kind: 'end', instance, reason: `${reason}${returned}` };
  }
  return null;
}

/** Those that work come first, the cheap ones before the dear; of those that boot, the oldest. */
function byWorth(one: FleetInstance, other: FleetInstance): number {
  return (
    rankOf(one) - rankOf(other) ||
    one.pricePerHour - other.pricePerHour ||
    other.uniqueCacheBytes - one.uniqueCacheBytes ||
    one.requestedAtMs - other.requestedAtMs
  );
}

function rankOf({ state, held }: FleetInstance): number {
  if (held > 0) return 0;
  return state === 'working' ? 1 : 2;
}

/** What was stopped before comes first: else nothing at all would be finished. */
function byUrgency(one: FleetInstance, other: FleetInstance): number {
  return (
    Number(one.drainingSinceMs === null) - Number(other.drainingSinceMs === null) ||
    byWorth(other, one)
  );
}

/** For people. */
export function dollars(amount: number): string {
  return `$${amount.toFixed(2)}`;
}
