/**
 * From the queue to places. Work is counted in seconds: what the places at hand clear within a pool's
 * horizon is worth no machine of that pool, however many tasks it is.
 */
import { isAtLeast } from '../../../protocol/wire/task.ts';
import type { DemandRow } from '../../core/views.ts';
import type {
  FleetInputs,
  FleetPool,
  FleetSettings,
  OtherCapacity,
  WorkOutlook,
} from './inputs.ts';

/** Work of a group that nothing has taken yet. */
export interface Want {
  readonly row: DemandRow;
  /** Tasks that could still run at once; parts of one, too. */
  places: number;
  workMs: number;
}

/** Every group's wants, the most urgent first. */
export function listWants(inputs: FleetInputs): Want[] {
  return [...inputs.demand]
    .sort((one, other) => other.priority - one.priority)
    .map((row) => {
      const { workMs } = valueGroup(row, inputs.settings);
      return { row, places: row.runnable + row.running, workMs };
    });
}

/** What each group is worth, by the shortest horizon of a pool that may have machines; for people. */
export function describeWork(inputs: FleetInputs): WorkOutlook[] {
  const pools = inputs.pools.filter(({ instancesMax }) => instancesMax > 0);
  const horizons = pools.map((pool) => findHorizonMs(inputs, pool));
  const horizonMs = Math.min(...horizons);
  return listWants(inputs).map((want) => {
    const { row } = want;
    const { taskMs, workMs, isMeasured } = valueGroup(row, inputs.settings);
    return {
      group: row.group,
      namespace: row.namespace,
      workSeconds: workMs / 1000,
      taskSeconds: taskMs / 1000,
      measured: isMeasured,
      horizonSeconds: horizonMs / 1000,
      places: openPlaces(want, horizonMs),
    };
  });
}

/**
 * A machine is worth its boot when it would work at least as long: sooner than that, those that are
 * there are done before it has joined. Time that is billed anyway may as well be used.
 */
export function findHorizonMs(inputs: FleetInputs, pool: FleetPool): number {
  const { horizonMsMin, horizonBoots } = inputs.settings;
  return Math.max(horizonMsMin, horizonBoots * findBootMs(pool), pool.billingFloorMs);
}

/** The boot that decides how far a pool looks ahead: that of the offer it would make next. */
export function findBootMs(pool: FleetPool): number {
  return pool.offers[0]?.bootMs ?? Number.POSITIVE_INFINITY;
}

/** Length of a task, by what is left to do of each group; the guess when nothing is. */
export function typicalTaskMs(wants: readonly Want[], settings: FleetSettings): number {
  let workMs = 0;
  let weightedMs = 0;
  for (const want of wants) {
    workMs += want.workMs;
    weightedMs += want.workMs * valueGroup(want.row, settings).taskMs;
  }
  return workMs > 0 ? weightedMs / workMs : settings.unknownRuntimeMs;
}

function valueGroup(
  row: DemandRow,
  settings: FleetSettings,
): { taskMs: number; workMs: number; isMeasured: boolean } {
  const measuredMs = findTaskMs(row);
  // A task that has run for long without an end is at least as long again, as far as anyone knows.
  const taskMs = measuredMs ?? Math.max(settings.unknownRuntimeMs, 2 * row.runningForMs);
  const workMs = row.ready * taskMs + row.running * remainingMs(row, taskMs);
  return { taskMs, workMs, isMeasured: measuredMs !== null };
}

/**
 * The mean, kept between the median and the ninth decile: one hour among seconds must not buy a
 * fleet, and a run of quick ones must not sell it.
 */
function findTaskMs(row: DemandRow): number | null {
  const { runtimeMs, runtimeP50Ms, runtimeP90Ms } = row;
  if (runtimeMs === null) return null;
  const least = Math.min(runtimeP50Ms ?? runtimeMs, runtimeP90Ms ?? runtimeMs);
  return Math.max(least, Math.min(runtimeMs, runtimeP90Ms ?? runtimeMs));
}

function remainingMs(row: DemandRow, taskMs: number): number {
  // Past its expected end a task is in the tail: as long as another is the best guess.
  return row.runningForMs < taskMs ? taskMs - row.runningForMs : taskMs;
}

/** One machine takes what it can run; answers how much of it was used, from 0 to 1. */
export function takeByOne(
  wants: readonly Want[],
  carrier: OtherCapacity,
  horizonMs: number,
): number {
  let used = 0;
  for (const want of wants) used += takeShare(want, carrier, { share: 1 - used, horizonMs });
  return used;
}

/** Machines of a kind that carry what is still wanted. */
export function countCarriers(
  wants: readonly Want[],
  carrier: OtherCapacity,
  horizonMs: number,
): number {
  let share = 0;
  for (const want of wants) {
    const perCarrier = placesOn(want.row, carrier);
    if (perCarrier > 0) share += openPlaces(want, horizonMs) / perCarrier;
  }
  // Sums of thirds and tenths must not make a machine of a rounding error.
  return Math.max(0, Math.ceil(share - 1e-9));
}

/** Places at once that clear what is left of it within the horizon, or as many as it has tasks. */
function openPlaces(want: Want, horizonMs: number): number {
  return Math.min(want.places, want.workMs / horizonMs);
}

/** Takes what fits into `share` of one carrier; answers how much of it was used. */
function takeShare(
  want: Want,
  carrier: OtherCapacity,
  options: { share: number; horizonMs: number },
): number {
  const { share, horizonMs } = options;
  const perCarrier = placesOn(want.row, carrier);
  const open = openPlaces(want, horizonMs);
  if (perCarrier === 0 || share <= 0 || open <= 0) return 0;
  const taken = Math.min(open, perCarrier * share);
  want.places -= taken;
  want.workMs -= taken * horizonMs;
  if (want.places < 1e-9 || want.workMs < 1e-6) want.places = 0;
  return taken / perCarrier;
}

/** Tasks of a group that a carrier runs at once; 0 when it cannot run them at all. */
export function placesOn(row: DemandRow, carrier: OtherCapacity): number {
  if (!carrier.images.includes(row.imageDigest)) return 0;
  if (carrier.namespaces !== null && !carrier.namespaces.includes(row.namespace)) return 0;
  if (!isAtLeast(carrier.isolation, row.isolationMin)) return 0;
  if (row.network && !carrier.network) return 0;
  const byCpus = row.cpus > 0 ? carrier.cpus / row.cpus : Number.POSITIVE_INFINITY;
  const byMemory =
    row.memoryBytes > 0 ? carrier.memoryBytes / row.memoryBytes : Number.POSITIVE_INFINITY;
  return Math.floor(Math.min(carrier.slots, byCpus + 1e-6, byMemory));
}
