/** What the plan looks at and what it answers. */
import type { ImageDigest, InstanceId, NamespaceName, NodeId } from '../../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../../protocol/wire/task.ts';
import type { DemandRow } from '../../core/views.ts';
import type { InstanceOffer, InstanceShape } from '../provider-port.ts';
import type { Interruptions } from './interruptions.ts';
import type { Level } from './levels.ts';

/** A kind of machine that the fleet may make, with its limits and what is known of it. */
export interface FleetPool {
  readonly pool: string;
  /** Instances kept however little there is to do. */
  readonly instancesMin: number;
  /** Instances at once, of whatever state. */
  readonly instancesMax: number;
  /** Idle instances kept beyond what the work needs. */
  readonly warm: number;
  /** Least idle time after which an instance retires. */
  readonly idleMs: number;
  /** For an instance to join; a paused one that idles for as long is given back. */
  readonly bootMsMax: number;
  /** Least time that the cloud bills: a machine is not given back sooner. */
  readonly billingFloorMs: number;
  /** Dollars an hour that all its instances may cost together; null for no cap. */
  readonly spendPerHourMax: number | null;
  /** Dollars that it may cost in all; null for no cap. */
  readonly spendTotalMax: number | null;
  /** Dollars that it has cost, its present instances included. */
  readonly spent: number;
  /** Dollars an hour of machines that nobody asked for and that are being ended. */
  readonly orphansPerHour: number;
  /** Images of its nodes. */
  readonly images: readonly ImageDigest[];
  /** Whose work it does; null for every namespace. */
  readonly namespaces: readonly NamespaceName[] | null;
  /** In order of preference. */
  readonly offers: readonly FleetOffer[];
  /** Why nothing may be made of any offer, and until when; null when nothing is in the way. */
  readonly hold: { readonly reason: string; readonly untilMs: number } | null;
  /** How work for one machine, for two and so on has come and gone. */
  readonly levels: readonly Level[];
}

/** An offer with what was learned of it. */
export interface FleetOffer extends InstanceOffer {
  /** From asking to joining, as measured, or as guessed before the first. */
  readonly bootMs: number;
  /** Boots that have succeeded. */
  readonly boots: number;
  /** Boots that came to nothing since the last that did not. */
  readonly failures: number;
  /** Times that the cloud had none, or took one back, since it last granted one. */
  readonly refusals: number;
  /** How often its machines were taken back lately. */
  readonly interruptions: Interruptions;
  /** Nothing is made of it before then; what failed says why. */
  readonly pausedUntilMs: number;
  readonly pauseReason: string;
}

/** An instance that was asked for and is not known to have ended. */
export interface FleetInstance {
  readonly instance: InstanceId;
  readonly pool: string;
  readonly offer: string;
  readonly shape: InstanceShape;
  readonly pricePerHour: number;
  /**
   * `booting`: its node has not joined. `working`: it takes work. `draining`: the fleet drained it
   * and can call that off. `leaving`: all else that takes up room and does no work, among it nodes
   * that leave by themselves or that a cloud takes back.
   */
  readonly state: 'booting' | 'working' | 'draining' | 'leaving';
  readonly requestedAtMs: number;
  /** The provider has said that it is there; it may not have joined. */
  readonly isGranted: boolean;
  /** Its node; null before it has joined. */
  readonly node: NodeId | null;
  /** Attempts that it holds. */
  readonly held: number;
  /** Since when it holds nothing; null while it holds something or has not joined. */
  readonly idleSinceMs: number | null;
  readonly drainingSinceMs: number | null;
  /** Its end was asked for. */
  readonly isEnding: boolean;
  /** Its node is there and takes nothing: workers died under too many tasks. */
  readonly isPaused: boolean;
  /** Imagery that no other node has. */
  readonly uniqueCacheBytes: number;
}

/** Capacity of nodes that no provider made: work that fits there needs no instance. */
export interface OtherCapacity {
  readonly slots: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly isolation: IsolationLevel;
  readonly network: boolean;
  readonly images: readonly ImageDigest[];
  readonly namespaces: readonly NamespaceName[] | null;
}

export interface FleetSettings {
  /**
   * Assumed length of a task that was never measured. Long enough that a few tasks earn a local
   * process each and that hundreds earn a cloud's machines before the first is done.
   */
  readonly unknownRuntimeMs: number;
  /** The queue may take this many boot times to clear; less makes more machines for less work. */
  readonly horizonBoots: number;
  /** The least time the queue may take to clear, however fast machines boot. */
  readonly horizonMsMin: number;
  /** Idle time before the last machine of a pool retires, in boots. */
  readonly idleBoots: number;
  /** The same for all others, for which no work has come back lately. */
  readonly surplusIdleBoots: number;
  /** Longest wait for work that has been coming back, in boots. */
  readonly waitBootsMax: number;
  /** How much later than last time work may come back and still be waited for, as a factor. */
  readonly waitSlack: number;
  /** Instances booting at once of an offer that has never booted: a broken image buys no more. */
  readonly unprovenBootsMax: number;
  /**
   * For a machine to finish what it holds when a spend cap stops it, as long as nine of ten tasks take,
   * within these; then that returns to the queue.
   */
  readonly capDrainMsMin: number;
  readonly capDrainMsMax: number;
  /** From telling a cloud to end a machine until it is not paid for any more, one try that fails included. */
  readonly endMsMax: number;
  /** A machine goes on while a cap in all leaves so much more for it. */
  readonly goOnMs: number;
  /** Of what a cap in all leaves, so much is not spent before it is known how long tasks are. */
  readonly unmeasuredShare: number;
  /** Expected life of a spot machine of which nothing is known, and how much time seen it counts as. */
  readonly spotLifeMsGuess: number;
  readonly spotGuessWeightMs: number;
  /** After so long an interruption counts half. */
  readonly interruptionHalfLifeMs: number;
  /** An offer that is taken back so often that it finishes less of what is paid for is not made. */
  readonly finishedShareMin: number;
}

/** The defaults. */
export const defaultFleetSettings: Readonly<FleetSettings> = Object.freeze({
  unknownRuntimeMs: 10_000,
  horizonBoots: 1,
  horizonMsMin: 1_000,
  idleBoots: 1,
  surplusIdleBoots: 0.025,
  waitBootsMax: 2,
  waitSlack: 1.25,
  unprovenBootsMax: 50,
  // As long as a spot notice: what clouds think long enough to finish.
  capDrainMsMin: 120_000,
  capDrainMsMax: 3_600_000,
  endMsMax: 60_000,
  goOnMs: 60_000,
  unmeasuredShare: 0.5,
  spotLifeMsGuess: 86_400_000,
  spotGuessWeightMs: 600_000,
  interruptionHalfLifeMs: 3_600_000,
  finishedShareMin: 0.1,
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
  | { kind: 'create'; pool: string; offer: string; count: number; reason: string }
  | { kind: 'drain'; instance: InstanceId; node: NodeId; reason: string }
  | { kind: 'undrain'; instance: InstanceId; node: NodeId; reason: string }
  /** At once, whatever it holds: a spend cap has no time left. */
  | { kind: 'end'; instance: InstanceId; reason: string };

/** What a pool's decisions rest on; kept for `explain fleet`. */
export interface PoolOutlook {
  pool: string;
  /** Instances that work, boot for work or are missing for it, within its maximum. */
  inUse: number;
  /** Instances that the work is worth, with its minimum and its spares, within its maximum. */
  wanted: number;
  /** Joined and working, or booting. */
  live: number;
  /** Idle ones that are kept for a while. */
  waiting: number;
  draining: number;
  /** How long its machines may take to clear the queue before another is worth its boot. */
  horizonSeconds: number;
  /** Dollars an hour of all that is there. */
  pricePerHour: number;
  /** Why fewer are made than are wanted; null when nothing is in the way. */
  heldBack: string | null;
}

/** What one group is worth, before pools share it out. */
export interface WorkOutlook {
  group: string;
  namespace: string;
  /** Queued and running work that is left, in seconds. */
  workSeconds: number;
  /** Assumed length of one task, in seconds, and where it is from. */
  taskSeconds: number;
  measured: boolean;
  horizonSeconds: number;
  /** Places at once that clear it within the horizon, or as many as it has tasks. */
  places: number;
}

export interface FleetPlan {
  decisions: FleetDecision[];
  outlooks: PoolOutlook[];
  work: WorkOutlook[];
  /** When time alone changes something; null when nothing waits for time. */
  lookAgainMs: number | null;
}

/** Notes a time at which to look again. */
export function lookAgain(plan: FleetPlan, atMs: number): void {
  plan.lookAgainMs = plan.lookAgainMs === null ? atMs : Math.min(plan.lookAgainMs, atMs);
}

/** A duration for people. */
export function secondsText(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
