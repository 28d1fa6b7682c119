/**
 * From the queue to places. Work is counted in seconds: what clears within the horizon on the places
 * at hand is worth no machine, however many tasks it is.
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

/** Places at once that a group is worth and that nothing has taken yet; parts of one, too. */
export interface Want {
  readonly row: DemandRow;
  places: number;
}

/** Every group's wants, the most urgent first, with what they rest on. */
export function listWants(inputs: FleetInputs): { wants: Want[]; work: WorkOutlook[] } {
  const bootMs = Math.min(...inputs.pools.map(findBootMs));
  const horizonMs = Math.max(
    inputs.settings.horizonMsMin,
    inputs.settings.horizonBoots * bootMs,
    Math.min(...inputs.pools.map((pool) => pool.billingFloorMs)),
  );
  const wants: Want[] = [];
  const work: WorkOutlook[] = [];
  for (const row of [...inputs.demand].sort((one, other) => other.priority - one.priority)) {
    const outlook = valueGroup(row, { settings: inputs.settings, horizonMs, bootMs });
    wants.push({ row, places: outlook.places });
    work.push(outlook);
  }
  return { wants, work };
}

/** The boot that decides how far a pool looks ahead: that of the offer it would make next. */
export function findBootMs(pool: FleetPool): number {
  return pool.offers[0]?.bootMs ?? Number.POSITIVE_INFINITY;
}

function valueGroup(
  row: DemandRow,
  options: { settings: FleetSettings; horizonMs: number; bootMs: number },
): WorkOutlook {
  const { settings, horizonMs, bootMs } = options;
  const measuredMs = findTaskMs(row);
  // A task that has run for long without an end is at least as long again, as far as anyone knows.
  const taskMs = measuredMs ?? Math.max(settings.unknownRuntimeMs, 2 * row.runningForMs);
  const workMs = row.ready * taskMs + row.running * remainingMs(row, taskMs);
  let places = Math.min(row.runnable + row.running, workMs / horizonMs);
  // Of unknown length: a few machines find out, before money is spent on many.
  if (measuredMs === null && row.runningForMs < bootMs) {
    places = Math.min(places, Math.max(settings.probePlaces, row.running));
  }
  return {
    group: row.group,
    namespace: row.namespace,
    workSeconds: workMs / 1000,
    taskSeconds: taskMs / 1000,
    measured: measuredMs !== null,
    horizonSeconds: horizonMs / 1000,
    places,
  };
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

/** Other people's nodes take what they can run. */
export function takeByOthers(wants: readonly Want[], others: readonly OtherCapacity[]): void {
  for (const other of others) takeByOne(wants, other);
}

/** One machine takes what it can run; answers how much of it was used, from 0 to 1. */
export function takeByOne(wants: readonly Want[], carrier: OtherCapacity): number {
  let used = 0;
  for (const want of wants) used += takeShare(want, carrier, 1 - used);
  return used;
}

/** Machines of a kind that carry what is still wanted. */
export function countCarriers(wants: readonly Want[], carrier: OtherCapacity): number {
  let share = 0;
  for (const want of wants) {
    const perCarrier = placesOn(want.row, carrier);
    if (perCarrier > 0) share += want.places / perCarrier;
  }
  // Sums of thirds and tenths must not make a machine of a rounding error.
  return Math.max(0, Math.ceil(share - 1e-9));
}

/** Takes what fits into `share` of one carrier; answers how much of it was used. */
function takeShare(want: Want, carrier: OtherCapacity, share: number): number {
  const perCarrier = placesOn(want.row, carrier);
  if (perCarrier === 0 || share <= 0 || want.places <= 0) return 0;
  const taken = Math.min(want.places, perCarrier * share);
  want.places -= taken;
  if (want.places < 1e-9) want.places = 0;
  return taken / perCarrier;
}

/** Tasks of a group that a carrier runs at once; 0 when it cannot run them at all. */
function placesOn(row: DemandRow, carrier: OtherCapacity): number {
  if (!carrier.images.includes(row.imageDigest)) return 0;
  if (carrier.namespaces !== null && !carrier.namespaces.includes(row.namespace)) return 0;
  if (!isAtLeast(carrier.isolation, row.isolationMin)) return 0;
  if (row.network && !carrier.network) return 0;
  const byCpus = row.cpus > 0 ? carrier.cpus / row.cpus : Number.POSITIVE_INFINITY;
  const byMemory =
    row.memoryBytes > 0 ? carrier.memoryBytes / row.memoryBytes : Number.POSITIVE_INFINITY;
  return Math.floor(Math.min(carrier.slots, byCpus + 1e-6, byMemory));
}
