/** What the fleet knows between two events, and what it is told and orders. */
import type { ImageDigest, InstanceId, NamespaceName, NodeId } from '../../../protocol/wire/ids.ts';
import type { DemandRow } from '../../core/views.ts';
import type { FleetInputs, FleetPlan, FleetSettings, OtherCapacity } from '../plan/inputs.ts';
import type { Interruptions } from '../plan/interruptions.ts';
import { neverInterrupted } from '../plan/interruptions.ts';
import type { Level } from '../plan/levels.ts';
import type { InstanceOffer, ListedInstance, ProviderFailureKind } from '../provider-port.ts';

/** A pool as its file, or the process pool's settings, say. */
export interface PoolSpec {
  readonly pool: string;
  readonly provider: string;
  readonly instancesMin: number;
  readonly instancesMax: number;
  readonly warm: number;
  readonly idleMs: number;
  readonly billingFloorMs: number;
  readonly spendPerHourMax: number | null;
  readonly spendTotalMax: number | null;
  readonly namespaces: readonly NamespaceName[] | null;
  readonly offers: readonly InstanceOffer[];
  /** Assumed until a boot was measured. */
  readonly bootMsGuess: number;
  /** For an instance to join; then its boot has failed. */
  readonly bootMsMax: number;
  /** For a drained instance to leave once it holds nothing; then it is destroyed. */
  readonly leaveMsMax: number;
  /** Between asking an instance to end and killing it, where that can be done. */
  readonly killAfterMs: number;
  /** Pause after the first failure; doubled with every further one in a row, up to the longest. */
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
  /** Says what it would do, and does nothing. */
  readonly dryRun: boolean;
}

/** What was learned of an offer. */
export interface OfferRecord {
  readonly offer: InstanceOffer;
  bootMs: number;
  boots: number;
  failures: number;
  refusals: number;
  pausedUntilMs: number;
  pauseReason: string;
  /** Of its machines, until the last change. */
  interruptions: Interruptions;
  /** Since that change machines of it have been there; null when none are. */
  presentSinceMs: number | null;
}

export interface PoolRecord {
  readonly spec: PoolSpec;
  readonly offers: Map<string, OfferRecord>;
  /** Dollars of instances that are gone, and of it of those that nobody had asked for. */
  spentGone: number;
  spentOnOrphans: number;
  hold: { reason: string; untilMs: number } | null;
  holds: number;
  /** How work has come and gone; of this run alone. */
  readonly levels: Level[];
  /** The listing: when it was last asked for, whether one is under way, failures in a row. */
  listedAtMs: number;
  isListing: boolean;
  listFailures: number;
  listFailure: string | null;
  /** What was in the way at the start; shown until the next start. */
  faults: string[];
}

export type InstancePhase = 'requested' | 'booting' | 'joined' | 'working' | 'draining' | 'gone';

/** One machine, from intent to end; `StoredInstance` is its copy on disk. */
export interface InstanceRecord {
  readonly instance: InstanceId;
  readonly pool: string;
  readonly offer: string;
  readonly pricePerHour: number;
  readonly requestedAtMs: number;
  phase: InstancePhase;
  sinceMs: number;
  reason: string;
  /** Empty while the provider has not answered. */
  handle: string;
  /** A creation of this run is under way. */
  isAsking: boolean;
  /** The first peer that said it runs on this instance; no other ever is. */
  node: NodeId | null;
  /** Listings in a row that did not show it. */
  absences: number;
  /** A cloud said that it takes it back. */
  interrupted: boolean;
  /** The fleet or an operator drained it: its end is no surprise. */
  isAsked: boolean;
  /** Its node said that it goes, and went. */
  hasLeft: boolean;
  /** Its end was asked for. */
  ending: Ending | null;
}

/** How an end goes that was asked for; a cloud may have to be asked again. */
export interface Ending {
  readonly sinceMs: number;
  nextTryMs: number;
  tries: number;
  killed: boolean;
}

/** A node as the coordinator's core sees it, by the fleet's clock. */
export interface SeenNode {
  readonly node: NodeId;
  readonly state: 'joining' | 'ready' | 'draining' | 'lost' | 'gone';
  readonly drainingBy: 'node' | 'operator' | 'autoscaler' | null;
  readonly held: number;
  readonly idleSinceMs: number | null;
  readonly sinceMs: number;
  readonly isPaused: boolean;
  readonly uniqueCacheBytes: number;
}

/** A machine that bears our tag and belongs to nobody; it costs what others cost. */
export interface OrphanRecord {
  readonly pool: string;
  readonly pricePerHour: number;
  readonly sinceMs: number;
  nextTryMs: number;
  tries: number;
  /** When a listing showed it last, and how many in a row have not. */
  seenAtMs: number;
  absences: number;
}

export interface LifecycleSettings {
  readonly plan: FleetSettings;
  /** Listings in a row that must miss an instance before it counts as gone. */
  readonly absencesMax: number;
  /** Between two listings while something is about to change, and while nothing is. */
  readonly listBusyMs: number;
  readonly listCalmMs: number;
  /** How long a listing may lag behind: absence tells nothing of younger instances. */
  readonly settleMs: number;
  /** Between two tries to end an instance. */
  readonly endRetryMs: number;
  /** Weight of the latest boot in the measured time. */
  readonly bootWeight: number;
}

export const defaultLifecycleSettings: Omit<LifecycleSettings, 'plan'> = Object.freeze({
  absencesMax: 3,
  listBusyMs: 10_000,
  listCalmMs: 60_000,
  settleMs: 120_000,
  endRetryMs: 30_000,
  bootWeight: 0.3,
});

export interface FleetState {
  readonly settings: LifecycleSettings;
  readonly decide: (inputs: FleetInputs) => FleetPlan;
  readonly pools: Map<string, PoolRecord>;
  /** All and only instances that are not gone. */
  readonly instances: Map<InstanceId, InstanceRecord>;
  /** Tags that belong to nobody and are being ended. */
  readonly orphans: Map<InstanceId, OrphanRecord>;
  /** Peers refused because another was first on their instance. */
  readonly impostors: Set<NodeId>;
  plan: FleetPlan | null;
  /** Of new instance ids. */
  nextId: () => string;
}

export interface FleetView {
  readonly demand: readonly DemandRow[];
  /** Every node that names an instance. */
  readonly nodes: readonly { readonly instance: InstanceId; readonly node: SeenNode }[];
  readonly others: readonly OtherCapacity[];
  readonly images: readonly ImageDigest[];
  readonly isStopping: boolean;
}

/** What happened. */
export type FleetEvent =
  | { kind: 'looked'; view: FleetView }
  | { kind: 'created'; instance: InstanceId; handle: string }
  | {
      kind: 'createFailed';
      instance: InstanceId;
      failure: ProviderFailureKind;
      message: string;
      mayHaveMade: boolean;
    }
  | {
      kind: 'listed';
      pool: string;
      found: ReadonlyMap<InstanceId, ListedInstance>;
      askedAtMs: number;
    }
  | { kind: 'listFailed'; pool: string; failure: ProviderFailureKind; message: string }
  | { kind: 'ended'; instance: InstanceId }
  | { kind: 'endFailed'; instance: InstanceId; message: string };

/** What to do. The shell performs orders in turn: a save is on disk before what follows it. */
export type FleetOrder =
  | { kind: 'save'; instance: InstanceRecord; endedAtMs: number | null; cost: number }
  | { kind: 'create'; pool: string; instance: InstanceId; offer: string }
  | { kind: 'list'; pool: string }
  | { kind: 'adopt'; pool: string; instance: InstanceId; handle: string }
  | { kind: 'terminate'; pool: string; instance: InstanceId; handle: string | null }
  | { kind: 'kill'; pool: string; instance: InstanceId }
  | { kind: 'drain'; node: NodeId; reason: string }
  | { kind: 'undrain'; node: NodeId }
  /** The core gives up the node of an instance that is no more. */
  | { kind: 'forget'; instance: InstanceId; node: NodeId | null }
  | {
      kind: 'tell';
      pool: string;
      instance: InstanceId | null;
      event: string;
      text: string;
      isLoud: boolean;
    };

/** An end that is asked for now. */
export function beginEnding(nowMs: number): Ending {
  return { sinceMs: nowMs, nextTryMs: nowMs, tries: 0, killed: false };
}

/** Dollars of one instance until now. */
export function costOf(record: InstanceRecord, spec: PoolSpec, nowMs: number): number {
  const paidMs = Math.max(spec.billingFloorMs, nowMs - record.requestedAtMs);
  return (record.pricePerHour * paidMs) / 3_600_000;
}

/** Dollars of a pool until now. */
export function spentBy(state: FleetState, pool: PoolRecord, nowMs: number): number {
  let spent = pool.spentGone;
  for (const record of state.instances.values()) {
    if (record.pool === pool.spec.pool) spent += costOf(record, pool.spec, nowMs);
  }
  for (const orphan of state.orphans.values()) {
    if (orphan.pool === pool.spec.pool) spent += costOfOrphan(orphan, nowMs);
  }
  return spent;
}

/** Dollars of a machine that nobody asked for, since it was first seen. */
export function costOfOrphan(orphan: OrphanRecord, nowMs: number): number {
  return (orphan.pricePerHour * (nowMs - orphan.sinceMs)) / 3_600_000;
}

/** One that is to be ended now; `sinceMs`: when it was seen first. */
export function beginOrphan(
  about: { pool: string; pricePerHour: number; sinceMs: number },
  nowMs: number,
): OrphanRecord {
  return { ...about, nextTryMs: nowMs, tries: 0, seenAtMs: nowMs, absences: 0 };
}

/** An empty fleet of these pools. */
export function createFleetState(options: {
  pools: readonly PoolSpec[];
  settings: LifecycleSettings;
  decide: (inputs: FleetInputs) => FleetPlan;
  nextId: () => string;
}): FleetState {
  const pools = new Map<string, PoolRecord>();
  for (const spec of options.pools) {
    const offers = new Map<string, OfferRecord>();
    for (const offer of spec.offers) {
      offers.set(offer.id, {
        offer,
        bootMs: spec.bootMsGuess,
        boots: 0,
        failures: 0,
        refusals: 0,
        pausedUntilMs: Number.NEGATIVE_INFINITY,
        pauseReason: '',
        interruptions: neverInterrupted,
        presentSinceMs: null,
      });
    }
    pools.set(spec.pool, {
      spec,
      offers,
      spentGone: 0,
      spentOnOrphans: 0,
      hold: null,
      holds: 0,
      levels: [],
      listedAtMs: Number.NEGATIVE_INFINITY,
      isListing: false,
      listFailures: 0,
      listFailure: null,
      faults: [],
    });
  }
  return {
    settings: options.settings,
    decide: options.decide,
    pools,
    instances: new Map(),
    orphans: new Map(),
    impostors: new Set(),
    plan: null,
    nextId: options.nextId,
  };
}
