/**
 * What the fleet should do now: pure, from what is wanted, what there is and what was tried. The
 * target comes from seconds of work, not from the number of tasks; what boots counts as capacity;
 * nothing is destroyed that has not been drained; and every decision carries its reason.
 *
 * An instance: requested → booting → joined → draining → (gone). requested, booting → destroyed:
 * it did not join in time, which is a boot failure of its pool. joined → draining: idle for long
 * enough. draining → joined: work came back. draining → destroyed: its node left, or would not.
 */
import type { ImageDigest, InstanceId, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import { isAtLeast } from '../../protocol/wire/task.ts';
import type { DemandRow } from '../core/views.ts';

/** A kind of machine that the fleet may make, with its limits. */
export interface FleetPool {
  readonly pool: string;
  /** Instances at once, of whatever state. */
  readonly instancesMax: number;
  /** What one instance carries. */
  readonly slots: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly isolation: IsolationLevel;
  /** Images of its nodes. */
  readonly images: readonly ImageDigest[];
  /** Whose work it does; null for every namespace. */
  readonly namespaces: readonly NamespaceName[] | null;
  /** Idle time after which an instance retires. */
  readonly idleMs: number;
  /** How long an instance takes to join, as measured; work that ends sooner needs no new one. */
  readonly bootMs: number;
  /** How long an instance may take to join; then its boot has failed. */
  readonly bootMsMax: number;
  /** How long a drained instance may take to leave once it holds nothing; then it is destroyed. */
  readonly leaveMsMax: number;
  /** Boots that failed since the last that succeeded. */
  readonly bootFailures: number;
  /** When the last of them was noticed; null when there is none. */
  readonly bootFailedAtMs: number | null;
}

/** An instance that was asked for and is not known to have ended. */
export interface FleetInstance {
  readonly instance: InstanceId;
  readonly pool: string;
  readonly requestedAtMs: number;
  /** Its node; null before it has joined. */
  readonly node: FleetNode | null;
}

/** What the plan must know of a node. */
export interface FleetNode {
  readonly node: NodeId;
  /** As the core shows it; `lost` and `gone` for one that is no more. */
  readonly state: 'joining' | 'ready' | 'draining' | 'lost' | 'gone';
  readonly drainingBy: 'node' | 'operator' | 'autoscaler' | null;
  /** Attempts that it holds. */
  readonly held: number;
  /** Since when it holds nothing; null while it holds something. */
  readonly idleSinceMs: number | null;
  /** When it reached its state, for one that leaves. */
  readonly sinceMs: number;
  /** Paused as a black hole: it is there, but does no work. */
  readonly isPaused: boolean;
}

/** Capacity of nodes that no provider made: work that fits there needs no instance. */
export interface OtherCapacity {
  readonly slots: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly isolation: IsolationLevel;
  readonly images: readonly ImageDigest[];
  readonly namespaces: readonly NamespaceName[] | null;
}

export interface FleetSettings {
  /** Assumed length of a task that was never measured: long enough that each earns a place. */
  readonly unknownRuntimeMs: number;
  /** The queue may take this many boot times to clear; less makes more machines for less work. */
  readonly horizonBoots: number;
  /** The least time the queue may take to clear, however fast machines boot. */
  readonly horizonMsMin: number;
  /** Pause after the first failed boot; doubled with every further one in a row. */
  readonly bootRetryBaseMs: number;
  /** Longest pause after failed boots. */
  readonly bootRetryMaxMs: number;
}

/** The defaults; the settings table refers to them. */
export const defaultFleetSettings: Readonly<FleetSettings> = Object.freeze({
  unknownRuntimeMs: 5_000,
  horizonBoots: 2,
  horizonMsMin: 1_000,
  bootRetryBaseMs: 1_000,
  bootRetryMaxMs: 60_000,
});

export interface FleetInputs {
  readonly nowMs: number;
  readonly settings: FleetSettings;
  readonly demand: readonly DemandRow[];
  /** In order of preference. */
  readonly pools: readonly FleetPool[];
  readonly instances: readonly FleetInstance[];
  readonly others: readonly OtherCapacity[];
}

export type FleetDecision =
  | { kind: 'create'; pool: string; count: number; reason: string }
  | { kind: 'drain'; instance: InstanceId; node: NodeId; reason: string }
  | { kind: 'undrain'; instance: InstanceId; node: NodeId; reason: string }
  /** `bootFailed`: it counts against its pool. */
  | { kind: 'destroy'; instance: InstanceId; bootFailed: boolean; reason: string };

/** What a pool's decisions rest on; kept for `explain fleet`. */
export interface PoolOutlook {
  pool: string;
  /** Places at once that the queue is worth, in instances of this pool. */
  wanted: number;
  /** Joined and working, or booting. */
  live: number;
  draining: number;
  /** Why fewer are made than are wanted; null when nothing is in the way. */
  heldBack: string | null;
}

export interface FleetPlan {
  decisions: FleetDecision[];
  outlooks: PoolOutlook[];
  /** When to look again even if nothing happens; null when nothing waits for time. */
  lookAgainMs: number | null;
}

/** Decides, once, for all pools: work that one pool is to take is not offered to the next. */
export function planFleet(inputs: FleetInputs): FleetPlan {
  const plan: FleetPlan = { decisions: [], outlooks: [], lookAgainMs: null };
  const wants = listWants(inputs);
  takeByOthers(wants, inputs.others);
  for (const pool of inputs.pools) planPool(plan, { inputs, pool, wants });
  return plan;
}

/** Places at once that a group is worth and that no pool has taken yet. */
interface Want {
  readonly row: DemandRow;
  places: number;
}

function listWants(inputs: FleetInputs): Want[] {
  const { settings } = inputs;
  const bootMs = Math.min(...inputs.pools.map((pool) => pool.bootMs));
  const horizonMs = Math.max(settings.horizonMsMin, settings.horizonBoots * bootMs);
  return [...inputs.demand]
    .sort((one, other) => other.priority - one.priority)
    .map((row) => ({ row, places: row.running + queuedPlaces(row, { settings, horizonMs }) }));
}

/** Places that clear a group's runnable tasks within the horizon: never more than there are tasks. */
function queuedPlaces(
  row: DemandRow,
  options: { settings: FleetSettings; horizonMs: number },
): number {
  if (row.runnable === 0) return 0;
  const runtimeMs = row.runtimeMs ?? options.settings.unknownRuntimeMs;
  const byWork = Math.ceil((row.runnable * runtimeMs) / options.horizonMs);
  return Math.min(row.runnable, Math.max(1, byWork));
}

function takeByOthers(wants: readonly Want[], others: readonly OtherCapacity[]): void {
  for (const other of others) {
    let share = 1;
    for (const want of wants) share -= takeShare(want, other, share);
  }
}

function planPool(
  plan: FleetPlan,
  options: { inputs: FleetInputs; pool: FleetPool; wants: readonly Want[] },
): void {
  const { inputs, pool, wants } = options;
  const fleet = sortInstances(inputs, pool);
  for (const { instance, reason, bootFailed } of fleet.finished) {
    plan.decisions.push({ kind: 'destroy', instance, bootFailed, reason });
  }
  const wanted = Math.min(pool.instancesMax, countInstances(wants, pool));
  takeFromWants(wants, pool, wanted);
  const undrained = undrain(plan, fleet, wanted);
  const live = fleet.working.length + fleet.booting.length + undrained;
  const missing = wanted - live;
  const heldBack = missing > 0 ? create(plan, { inputs, pool, fleet, missing, wanted }) : null;
  retire(plan, { inputs, pool, fleet, spare: live - wanted });
  for (const atMs of fleet.looks) lookAgain(plan, atMs);
  const draining = fleet.draining.length - undrained;
  plan.outlooks.push({ pool: pool.pool, wanted, live, draining, heldBack });
}

interface Fleet {
  /** Joined, taking work. */
  working: { instance: InstanceId; node: FleetNode }[];
  booting: FleetInstance[];
  /** Drained by the fleet itself: the drain can be called off. */
  draining: { instance: InstanceId; node: FleetNode }[];
  /** All that are neither: they only take up room until they end. */
  leaving: number;
  finished: { instance: InstanceId; reason: string; bootFailed: boolean }[];
  /** When something of it changes by time alone. */
  looks: number[];
}

function sortInstances(inputs: FleetInputs, pool: FleetPool): Fleet {
  const fleet: Fleet = {
    working: [],
    booting: [],
    draining: [],
    leaving: 0,
    finished: [],
    looks: [],
  };
  for (const one of inputs.instances) {
    if (one.pool === pool.pool) sortInstance(fleet, one, { pool, nowMs: inputs.nowMs });
  }
  return fleet;
}

function sortInstance(
  fleet: Fleet,
  one: FleetInstance,
  options: { pool: FleetPool; nowMs: number },
): void {
  const { pool, nowMs } = options;
  const { instance, node } = one;
  if (node === null) {
    const untilMs = one.requestedAtMs + pool.bootMsMax;
    if (nowMs < untilMs) {
      fleet.booting.push(one);
      fleet.looks.push(untilMs);
    } else {
      const reason = `It has not joined within ${seconds(pool.bootMsMax)}.`;
      fleet.finished.push({ instance, reason, bootFailed: true });
    }
    return;
  }
  if (node.state === 'joining' || node.state === 'ready') {
    // A paused node does no work, yet its place is taken: it is neither counted nor replaced.
    if (node.isPaused) fleet.leaving += 1;
    else fleet.working.push({ instance, node });
    return;
  }
  const untilMs = Math.max(node.sinceMs, node.idleSinceMs ?? node.sinceMs) + pool.leaveMsMax;
  if (node.held === 0 && nowMs >= untilMs) {
    const reason =
      node.state === 'draining'
        ? `It was drained and has not left within ${seconds(pool.leaveMsMax)}.`
        : `Its node is ${node.state} and its machine has not ended.`;
    fleet.finished.push({ instance, reason, bootFailed: false });
    return;
  }
  if (node.held === 0) fleet.looks.push(untilMs);
  if (node.state === 'draining' && node.drainingBy === 'autoscaler') {
    fleet.draining.push({ instance, node });
  } else {
    fleet.leaving += 1;
  }
}

/** Work came back: a drain is called off before anything is made, latest drained first. */
function undrain(plan: FleetPlan, fleet: Fleet, wanted: number): number {
  const missing = wanted - fleet.working.length - fleet.booting.length;
  if (missing <= 0) return 0;
  const latest = [...fleet.draining].sort((one, other) => other.node.sinceMs - one.node.sinceMs);
  const back = latest.slice(0, missing);
  for (const { instance, node } of back) {
    const reason = `Work for ${wanted} instances is there again.`;
    plan.decisions.push({ kind: 'undrain', instance, node: node.node, reason });
  }
  return back.length;
}

/** Answers what keeps it from making as many as are missing. */
function create(
  plan: FleetPlan,
  options: {
    inputs: FleetInputs;
    pool: FleetPool;
    fleet: Fleet;
    missing: number;
    wanted: number;
  },
): string | null {
  const { inputs, pool, fleet, missing, wanted } = options;
  const pausedUntilMs = bootPauseEndMs(pool, inputs.settings);
  if (inputs.nowMs < pausedUntilMs) {
    lookAgain(plan, pausedUntilMs);
    const left = seconds(pausedUntilMs - inputs.nowMs);
    return `${pool.bootFailures} boots failed in a row; the next is tried in ${left}.`;
  }
  const present =
    fleet.working.length + fleet.booting.length + fleet.draining.length + fleet.leaving;
  const room = pool.instancesMax - present - fleet.finished.length;
  // After failures one boot at a time finds out whether the cause is gone.
  const careful = pool.bootFailures > 0 ? Math.max(0, 1 - fleet.booting.length) : missing;
  const count = Math.max(0, Math.min(missing, room, careful));
  if (count > 0) {
    const reason =
      `The queue is worth ${wanted} instances; ` +
      `${fleet.working.length} work and ${fleet.booting.length} boot.`;
    plan.decisions.push({ kind: 'create', pool: pool.pool, count, reason });
  }
  if (count === missing) return null;
  return room < missing
    ? `The pool's limit is ${pool.instancesMax} instances, and ${pool.instancesMax - room} are there.`
    : `${pool.bootFailures} boots failed in a row; they are tried one at a time.`;
}

/** Of the idle ones, those idle for longest; never more than the work at hand can spare. */
function retire(
  plan: FleetPlan,
  options: { inputs: FleetInputs; pool: FleetPool; fleet: Fleet; spare: number },
): void {
  const { inputs, pool, fleet, spare } = options;
  const idle = fleet.working
    .flatMap(({ instance, node }) => {
      const { idleSinceMs } = node;
      return idleSinceMs === null || node.held > 0 ? [] : [{ instance, node, idleSinceMs }];
    })
    .sort((one, other) => one.idleSinceMs - other.idleSinceMs)
    .slice(0, Math.max(0, spare));
  for (const { instance, node, idleSinceMs } of idle) {
    const dueMs = idleSinceMs + pool.idleMs;
    if (inputs.nowMs < dueMs) {
      lookAgain(plan, dueMs);
      continue;
    }
    const reason = `It has been idle for ${seconds(inputs.nowMs - idleSinceMs)}.`;
    plan.decisions.push({ kind: 'drain', instance, node: node.node, reason });
  }
}

/** Instances of a pool that carry what is still wanted. */
function countInstances(wants: readonly Want[], pool: FleetPool): number {
  let share = 0;
  for (const want of wants) {
    const perInstance = placesOn(want.row, pool);
    if (perInstance > 0) share += want.places / perInstance;
  }
  // Sums of thirds and tenths must not make a machine of a rounding error.
  return Math.max(0, Math.ceil(share - 1e-9));
}

function takeFromWants(wants: readonly Want[], pool: FleetPool, instances: number): void {
  let share = instances;
  for (const want of wants) share -= takeShare(want, pool, share);
}

/** Takes what fits into `share` of one carrier; answers how much of it was used. */
function takeShare(want: Want, carrier: OtherCapacity, share: number): number {
  const perCarrier = placesOn(want.row, carrier);
  if (perCarrier === 0 || share <= 0) return 0;
  const taken = Math.min(want.places, perCarrier * share);
  want.places -= taken;
  return taken / perCarrier;
}

/** Tasks of a group that a carrier runs at once; 0 when it cannot run them at all. */
function placesOn(row: DemandRow, carrier: OtherCapacity): number {
  if (!carrier.images.includes(row.imageDigest)) return 0;
  if (carrier.namespaces !== null && !carrier.namespaces.includes(row.namespace)) return 0;
  if (!isAtLeast(carrier.isolation, row.isolationMin)) return 0;
  const byCpus = row.cpus > 0 ? carrier.cpus / row.cpus : Number.POSITIVE_INFINITY;
  const byMemory =
    row.memoryBytes > 0 ? carrier.memoryBytes / row.memoryBytes : Number.POSITIVE_INFINITY;
  return Math.floor(Math.min(carrier.slots, byCpus + 1e-6, byMemory));
}

function bootPauseEndMs(pool: FleetPool, settings: FleetSettings): number {
  if (pool.bootFailures === 0 || pool.bootFailedAtMs === null) return Number.NEGATIVE_INFINITY;
  const doublings = Math.min(pool.bootFailures - 1, 30);
  const pauseMs = Math.min(settings.bootRetryMaxMs, settings.bootRetryBaseMs * 2 ** doublings);
  return pool.bootFailedAtMs + pauseMs;
}

function lookAgain(plan: FleetPlan, atMs: number): void {
  plan.lookAgainMs = plan.lookAgainMs === null ? atMs : Math.min(plan.lookAgainMs, atMs);
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
