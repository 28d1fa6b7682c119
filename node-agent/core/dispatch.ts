/**
 * Hands out work at the end of each turn. Namespaces take turns, the one fed longest ago first, so that
 * a call of one waits for what the other's worker has been fed, not for all that is held of its map;
 * within a namespace it goes strictly in order of granting, so that no group waits for ever behind
 * another one's stream of tasks.
 */
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import { settleAttempt } from './attempts.ts';
import { feedWindow, isShared, runningMs } from './credit.ts';
import type { FedTask } from './effects.ts';
import { failedOutcome } from './failures.ts';
import { hasImage } from './images.ts';
import type { AgentState, HeldAttempt, HeldGroup, Turn, Worker } from './state.ts';
import { isBusy } from './state.ts';
import { longTaskMs } from './task-length.ts';
import { endWorker } from './workers.ts';

/** Feeds, starts and evicts workers as slots, cpus and memory permit. */
export function dispatchWork(turn: Turn): void {
  const { state } = turn;
  for (const group of state.groups.values()) {
    if (group.broken !== null && group.waiting.length > 0) failBroken(turn, group);
  }
  const groups = [...state.groups.values()]
    .filter((group) => group.waiting.length > 0 && group.filesMissing.size === 0)
    .filter((group) => hasImage(state, group));
  if (groups.length > 1) {
    const fed = fedLast(state);
    groups.sort(
      (left, right) =>
        (fed.get(left.spec.namespace) ?? 0) - (fed.get(right.spec.namespace) ?? 0) ||
        firstSeq(left) - firstSeq(right),
    );
  }
  const shared = groups.length > 0 && isShared(turn);
  for (const group of groups) {
    // A group that lacks a slot keeps younger grants of others from taking the next one.
    if (!serveGroup(turn, group, feedWindow(state, group, shared))) return;
  }
}

/** When each namespace was fed last, by the counter of feeds. */
function fedLast(state: AgentState): Map<NamespaceName, number> {
  const fed = new Map<NamespaceName, number>();
  for (const { spec, fedAt } of state.groups.values()) {
    fed.set(spec.namespace, Math.max(fed.get(spec.namespace) ?? 0, fedAt));
  }
  return fed;
}

/** False when the group could use more than there is. */
function serveGroup(turn: Turn, group: HeldGroup, window: number): boolean {
  // A worker whose task turned out long gets nothing behind it.
  const ready = [...group.workers].filter(
    (worker) => worker.phase.kind === 'ready' && runningMs(worker, turn.now) < longTaskMs,
  );
  for (const worker of ready) {
    if (worker.queue.length > 0 || group.waiting.length === 0) continue;
    if (!hasRoomToRun(turn, group)) return false;
    feedWorker(turn, worker, { window, readyCount: ready.length });
  }
  for (const worker of ready) {
    if (group.waiting.length === 0) break;
    // Half a window at a time: one write for many tasks.
    if (worker.queue.length <= window / 2) {
      feedWorker(turn, worker, { window, readyCount: ready.length });
    }
  }
  while (wantsWorker(turn, group)) {
    if (!startWorker(turn, group)) return false;
  }
  return true;
}

function feedWorker(
  turn: Turn,
  worker: Worker,
  options: { window: number; readyCount: number },
): void {
  const { group } = worker;
  const share = Math.ceil(group.waiting.length / options.readyCount);
  const count = Math.min(options.window - worker.queue.length, share);
  if (count <= 0) return;
  const attempts = group.waiting.splice(0, count);
  const tasks: FedTask[] = attempts.map((attempt) => ({
    batch: attempt.batch,
    index: attempt.index,
    attempt: attempt.attempt,
    payload: attempt.payload,
    blob: attempt.blob,
  }));
  for (const attempt of attempts) {
    attempt.phase = { kind: 'fed', worker };
    worker.queue.push(attempt);
  }
  turn.state.nextFeed += 1;
  group.fedAt = turn.state.nextFeed;
  turn.effects.push({ kind: 'feedWorker', worker: worker.number, tasks });
}

/** Whether another worker would shorten the group's wait by more than its own start takes. */
function wantsWorker(turn: Turn, group: HeldGroup): boolean {
  const { now, state } = turn;
  let starting = 0;
  let serving = 0;
  let stuck = 0;
  for (const worker of group.workers) {
    if (worker.phase.kind === 'starting') starting += 1;
    else if (worker.phase.kind === 'ready') {
      serving += 1;
      if (runningMs(worker, now) > state.settings.workerStartMs) stuck += 1;
    }
  }
  const unserved = group.waiting.length - starting * group.window;
  if (unserved <= 0) return false;
  if (starting + serving === 0 || group.taskMs === null || stuck === serving) return true;
  const backlogMs = (group.waiting.length * group.taskMs) / (starting + serving);
  return backlogMs > state.settings.workerStartMs;
}

/** Starts a worker, or makes room for one; false when it has to wait. */
function startWorker(turn: Turn, group: HeldGroup): boolean {
  const { state } = turn;
  if (!hasRoomToRun(turn, group)) return false;
  const slot = findFreeSlot(turn);
  const memoryShort = memoryUsed(turn) + group.spec.memoryBytes - state.capacity.memoryBytes;
  if (slot === undefined || memoryShort > 0) {
    evictIdle(turn, { group, needsSlot: slot === undefined, memoryShort });
    return false;
  }
  const worker: Worker = {
    number: state.nextWorker,
    slot,
    group,
    phase: { kind: 'starting' },
    queue: [],
    idleSinceMs: turn.now,
    askedBackFor: null,
  };
  state.nextWorker += 1;
  state.workers.set(worker.number, worker);
  group.workers.add(worker);
  turn.effects.push({ kind: 'startWorker', worker: worker.number, slot, spec: group.spec });
  return true;
}

/** Ends idle workers of other groups, longest idle first, until their room is enough. */
function evictIdle(
  turn: Turn,
  need: { group: HeldGroup; needsSlot: boolean; memoryShort: number },
): void {
  const workers = [...turn.state.workers.values()];
  let { needsSlot, memoryShort } = need;
  // What is on its way out already counts: evicting more for it would be waste.
  for (const worker of workers) {
    if (worker.phase.kind !== 'ending') continue;
    needsSlot = false;
    memoryShort -= worker.group.spec.memoryBytes;
  }
  const idle = workers
    .filter((worker) => worker.phase.kind === 'ready' && !isBusy(worker))
    .filter((worker) => worker.group !== need.group)
    .sort((left, right) => left.idleSinceMs - right.idleSinceMs || left.number - right.number);
  for (const worker of idle) {
    if (!needsSlot && memoryShort <= 0) return;
    endWorker(turn, worker, { kind: 'evicted' });
    needsSlot = false;
    memoryShort -= worker.group.spec.memoryBytes;
  }
}

/** Slots and cpus bound what runs; idle warm workers cost only memory. */
function hasRoomToRun(turn: Turn, group: HeldGroup): boolean {
  const { capacity, workers } = turn.state;
  let busy = 0;
  let cpus = group.spec.cpus;
  for (const worker of workers.values()) {
    if (!isBusy(worker)) continue;
    busy += 1;
    cpus += worker.group.spec.cpus;
  }
  return busy < capacity.slots && cpus <= capacity.cpus + 1e-9;
}

/** The lowest place without a worker; there are a few more than slots, for the warm ones. */
function findFreeSlot(turn: Turn): number | undefined {
  const { capacity, settings, workers } = turn.state;
  const taken = new Set([...workers.values()].map((worker) => worker.slot));
  for (let slot = 0; slot < capacity.slots + settings.warmWorkersMax; slot += 1) {
    if (!taken.has(slot)) return slot;
  }
  return undefined;
}

function memoryUsed(turn: Turn): number {
  let bytes = 0;
  for (const worker of turn.state.workers.values()) bytes += worker.group.spec.memoryBytes;
  return bytes;
}

function failBroken(turn: Turn, group: HeldGroup): void {
  const { broken } = group;
  if (broken === null) return;
  if (broken.untilMs <= turn.now) {
    group.broken = null;
    return;
  }
  for (const attempt of [...group.waiting]) {
    settleAttempt(turn, attempt, failedOutcome(broken.code, broken.failure));
  }
}

function firstSeq(group: HeldGroup): number {
  const first: HeldAttempt | undefined = group.waiting[0];
  return first?.seq ?? Number.POSITIVE_INFINITY;
}
