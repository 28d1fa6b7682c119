/**
 * What the core may be told. `coordinator/settings.ts` fills it from flags and environment; tests
 * change single values.
 */
import { assert } from '../../protocol/base/assert.ts';

export interface CoreSettings {
  /** Silence after which a node has lost what it held. Decision 15: longer than any sane pause. */
  leaseMs: number;
  /** How long a draining node may run on what it holds; then that is run elsewhere. */
  drainMsMax: number;
  /** Silence after which a node is given nothing new; three missed heartbeats. */
  suspectMs: number;
  /** Pause before the first charged retry; doubled with every further one. */
  retryDelayBaseMs: number;
  /** Longest pause between charged retries, so that a late success is still noticed within a minute. */
  retryDelayMaxMs: number;
  /** How long a retry waits for another node than the one it failed on; then anyone may have it. */
  retryElsewhereMs: number;
  /** How long a node is not given back what it returned unstarted: keeps the two from playing ball. */
  returnedPauseMs: number;
  /** Work granted ahead of free capacity, per task that a node can run at once. Covers the round trip. */
  prefetchMs: number;
  /** Tasks shorter than this are granted one ahead even when one alone exceeds `prefetchMs`. */
  prefetchShortMs: number;
  /** Work that a namespace is granted in one turn while others wait too. */
  fairQuantumMs: number;
  /** Tasks that a namespace is granted in one turn while others wait too, however short they are. */
  fairQuantumMax: number;
  /** What a task of unknown length counts for, between namespaces, before it has run that long. */
  unknownRuntimeMs: number;
  /** Weight of the latest task in a group's mean runtime, 0-1. */
  runtimeWeight: number;
  /** Distinct nodes on which a task may kill its worker; then it ends as `crash`. */
  quarantineTaskNodes: number;
  /** Distinct tasks whose worker dies on a node with no success between; then the node is paused. */
  quarantineNodeTasks: number;
  /** Within this time, that is: slow decay is not a black hole. */
  quarantineNodeWindowMs: number;
  /** Batches with unfinished tasks; beyond it submissions are refused with `queue_full`. ~500 bytes each. */
  openBatchesMax: number;
  /** Tasks of a group that wait to be retried; beyond it the group starts no first attempts. */
  groupRetriesMax: number;
  /** Queued tasks that one step ends at most, so that terminating a million does not hold the loop. */
  sweepTasksMax: number;
  /** How long a task that needs most of a node may be passed by smaller ones; then a node is kept for it. */
  reserveAfterMs: number;
  /** Oldest tasks of a group among which a node gets the one with the least to fetch; 512 add almost nothing. */
  windowTasks: number;
  /** Younger tasks that may be granted before a task for that reason; then it goes next. */
  overtakenMax: number;
  /** How long a task waits for a node that has what it reads, at most, when that node is not free. */
  holdBackMsMax: number;
  /** How long a group's oldest task waits for a node that has its image, at most, before others fetch it. */
  imageWaitMsMax: number;
  /** What a node is taken to fetch, to see whether a wait is worth it; an origin's usual rate. */
  fetchBytesPerMs: number;
  /** Size of an asset that no node holds. */
  assetBytesGuess: number;
  /** Assets of one node that are known here; more are taken as not held. ~150 bytes each. */
  nodeHoldingsMax: number;
  /** Lost and gone nodes that are still shown; the oldest is forgotten. */
  departedNodesMax: number;
  /** Terminated groups that are still known here; the store keeps them all. */
  terminatedGroupsMax: number;
  /** Lines of a node's or group's story; the oldest is forgotten. */
  storyMax: number;
}

/** The defaults; `coordinator/settings.ts` refers to them. */
export const defaultCoreSettings: Readonly<CoreSettings> = Object.freeze({
  leaseMs: 15_000,
  drainMsMax: 3_600_000,
  suspectMs: 3_000,
  retryDelayBaseMs: 500,
  retryDelayMaxMs: 60_000,
  retryElsewhereMs: 2_000,
  returnedPauseMs: 1_000,
  prefetchMs: 40,
  prefetchShortMs: 150,
  fairQuantumMs: 4,
  fairQuantumMax: 64,
  unknownRuntimeMs: 100,
  runtimeWeight: 0.2,
  quarantineTaskNodes: 2,
  quarantineNodeTasks: 6,
  quarantineNodeWindowMs: 60_000,
  openBatchesMax: 100_000,
  groupRetriesMax: 10_000,
  sweepTasksMax: 2_000,
  reserveAfterMs: 10_000,
  windowTasks: 64,
  overtakenMax: 256,
  holdBackMsMax: 3_000,
  imageWaitMsMax: 1_000,
  fetchBytesPerMs: 100_000,
  assetBytesGuess: 64 * 1024 * 1024,
  nodeHoldingsMax: 100_000,
  departedNodesMax: 100,
  terminatedGroupsMax: 1_000,
  storyMax: 20,
});

/** Asserts the relations between settings that the core relies on. */
export function checkCoreSettings(settings: CoreSettings): void {
  assert(settings.suspectMs < settings.leaseMs, 'a node is suspect before its lease ends');
  assert(
    settings.retryDelayBaseMs <= settings.retryDelayMaxMs,
    'the first retry delay is the least',
  );
  assert(settings.runtimeWeight > 0 && settings.runtimeWeight <= 1, 'runtimeWeight is in (0, 1]');
  assert(settings.fairQuantumMax >= 1, 'a turn grants at least one task');
  assert(settings.windowTasks >= 1, 'a node may get the oldest task at least');
  assert(settings.sweepTasksMax >= 1, 'a sweep ends at least one task');
  assert(settings.quarantineTaskNodes >= 1, 'a task is quarantined after at least one death');
  assert(settings.quarantineNodeTasks >= 2, 'one crash alone never pauses a node');
}
