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
  const ledger = openLedger(inputs, pool, perHour);
  const { kept } = ledger;
  stopLate(ledger);
  const goOn = stopUnpaid(ledger);
  keepForUse(ledger, goOn);
  const stops = [...ledger.stops.values()];
  const stopped = new Set(ledger.stops.keys());
  return { stops, stopped, free: ledger.free, kept, perHour, reason: stops[0]?.reason ?? null };
}

interface Ledger {
  readonly inputs: FleetInputs;
  readonly pool: FleetPool;
  readonly present: readonly FleetInstance[];
  readonly perHour: number;
  readonly drainMs: number;
  /** Dollars until all that is there has ended, when that is decided now. */
  readonly kept: number;
  /** Of the cap in all, what is left beside that. */
  free: number;
  readonly stops: Map<InstanceId, FleetDecision>;
}

function openLedger(inputs: FleetInputs, pool: FleetPool, perHour: number): Ledger {
  const present = inputs.instances.filter((one) => one.pool === pool.pool);
  const base = { inputs, pool, present, perHour, drainMs: findDrainMs(inputs, pool) };
  let kept = (pool.orphansPerHour * inputs.settings.endMsMax) / hourMs;
  for (const one of present) {
    const fromMs = inputs.nowMs - one.requestedAtMs;
    kept += costBetween(pool, one, { fromMs, toMs: endAgeMs(base, one) });
  }
  const total = pool.spendTotalMax ?? Number.POSITIVE_INFINITY;
  return { ...base, kept, free: total - pool.spent - kept, stops: new Map() };
}

/** Time was lost, with a coordinator that was away for one: there is none left for what is held. */
function stopLate(ledger: Ledger): void {
  const { inputs, pool, present } = ledger;
  if (ledger.free >= 0) return;
  for (const one of [...present].sort(byUrgency)) {
    if (ledger.free >= 0 || one.isEnding) continue;
    const fromMs = inputs.nowMs - one.requestedAtMs + inputs.settings.endMsMax;
    const saved = costBetween(pool, one, { fromMs, toMs: endAgeMs(ledger, one) });
    if (saved <= 0) continue;
    stop(ledger, one, { reason: describeTotal(ledger), isUrgent: true });
    ledger.free += saved;
  }
}

/** Those that there is no money to go on with; answers the others. */
function stopUnpaid(ledger: Ledger): FleetInstance[] {
  const { inputs, pool, present, drainMs } = ledger;
  const perHourMax = (pool.spendPerHourMax ?? Number.POSITIVE_INFINITY) + 1e-9;
  let goingPerHour = 0;
  const goOn: FleetInstance[] = [];
  for (const one of [...present].sort(byWorth)) {
    if (ledger.stops.has(one.instance) || !isGoing(inputs, one, drainMs)) continue;
    const fromMs = endAgeMs(ledger, one);
    const need = costBetween(pool, one, { fromMs, toMs: fromMs + inputs.settings.goOnMs });
    if (goingPerHour + one.pricePerHour > perHourMax) {
      stop(ledger, one, { reason: describePerHour(ledger), isUrgent: false });
    } else if (ledger.free <= 0 || ledger.free < need) {
      stop(ledger, one, { reason: describeTotal(ledger), isUrgent: false });
    } else {
      ledger.free -= need;
      goingPerHour += one.pricePerHour;
      goOn.push(one);
    }
  }
  return goOn;
}

/** Before another boot is paid for, those that are there may use as much for work. */
function keepForUse(ledger: Ledger, goOn: readonly FleetInstance[]): void {
  const { inputs, pool } = ledger;
  if (pool.spendTotalMax === null) return;
  for (const one of goOn) {
    const offer = pool.offers.find(({ id }) => id === one.offer);
    const endMs = endAgeMs(ledger, one);
    const fromMs = endMs + inputs.settings.goOnMs;
    const lifeMs =
      one.state === 'booting' && offer !== undefined
        ? leastLifeMs(inputs, pool, offer)
        : endMs + (offer?.bootMs ?? 0);
    ledger.free -= costBetween(pool, one, { fromMs, toMs: Math.max(fromMs, lifeMs) });
  }
  // A fleet that finds its tasks to be long must not have spent everything on boots.
  if (isUnmeasured(inputs, pool)) {
    ledger.free -= inputs.settings.unmeasuredShare * (pool.spendTotalMax - pool.spent);
  }
}

function stop(
  ledger: Ledger,
  one: FleetInstance,
  options: { reason: string; isUrgent: boolean },
): void {
  const { inputs, drainMs, stops } = ledger;
  const decision = stopOne(inputs, one, { ...options, drainMs });
  if (decision !== null) stops.set(one.instance, decision);
}

function describeTotal({ pool, kept }: Ledger): string {
  return `The pool may cost $${pool.spendTotalMax} in all: ${dollars(pool.spent)} are spent and up to ${dollars(kept)} more until its machines have ended.`;
}

function describePerHour({ pool, perHour }: Ledger): string {
  return `The pool may cost $${pool.spendPerHourMax} an hour; it costs ${dollars(perHour)}.`;
}

/** Dollars of a machine from one age to another, as the cloud bills them. */
function costBetween(
  pool: FleetPool,
  one: FleetInstance,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): number {
  const { billingFloorMs } = pool;
  const paidMs = Math.max(billingFloorMs, toMs) - Math.max(billingFloorMs, fromMs);
  return (one.pricePerHour * paidMs) / hourMs;
}

/** How old a machine is when it has ended, when that is decided now. */
function endAgeMs(ledger: Pick<Ledger, 'inputs' | 'pool' | 'drainMs'>, one: FleetInstance): number {
  const { inputs, pool, drainMs } = ledger;
  return inputs.nowMs - one.requestedAtMs + endsInMs(inputs, { pool, one, drainMs });
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
