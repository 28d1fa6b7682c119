/** How much work to hold and to feed ahead, by the measured time of the tasks. */
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import { countImageWaiters } from './images.ts';
import type { AgentState, HeldGroup, Turn, Worker } from './state.ts';
import { findRunning, isBusy } from './state.ts';
import { longTaskMs } from './task-length.ts';

/** A window of this is of tasks so short that they go by the hundred between two messages. */
const shortWindow = 64;
/** How long a namespace counts as present after it was granted a task. */
const presentMs = 1_000;
/** A runtime below this is the clock's grain. */
const runtimeFloorMs = 0.01;

/**
 * Takes a runtime into a group's mean and adapts its window. The mean is geometric: one short task
 * that the kernel kept waiting for 10 ms must not look like a thousand of them, or the window
 * shrinks to nothing on every busy machine.
 */
export function measureTask(state: AgentState, group: HeldGroup, runtimeMs: number): void {
  const measured = Math.max(runtimeMs, runtimeFloorMs);
  group.taskMs = group.taskMs === null ? measured : group.taskMs * (measured / group.taskMs) ** 0.3;
  state.lastGroup = group;
  const wanted = windowOf(state, group.taskMs);
  // Followed with inertia: each change of the window is a pull to the coordinator.
  const isNear = wanted < group.window * 2 && wanted * 2 > group.window;
  if (!isNear || wanted === 1 || wanted === state.settings.windowMax) group.window = wanted;
}

/** Tasks that hide the way to the worker and back, without queueing much time behind one another. */
function windowOf(state: AgentState, taskMs: number): number {
  const { windowMs, windowMax } = state.settings;
  if (taskMs >= longTaskMs) return 1;
  return Math.min(Math.max(Math.ceil(windowMs / Math.max(taskMs, 0.001)), 2), windowMax);
}

/** Whether more than one namespace has had work here within the last second. */
export function isShared({ state, now }: Turn): boolean {
  let only: NamespaceName | undefined;
  for (const { spec, heldCount, lastUsedAtMs } of state.groups.values()) {
    if (heldCount === 0 && now - lastUsedAtMs > presentMs) continue;
    if (only !== undefined && spec.namespace !== only) return true;
    only = spec.namespace;
  }
  return false;
}

/**
 * Tasks that a worker of a group is fed ahead. What it was fed stands before the next call of another
 * namespace, so that it is less while there is one.
 */
export function feedWindow(state: AgentState, group: HeldGroup, shared: boolean): number {
  return shared ? Math.min(group.window, state.settings.sharedWindowMax) : group.window;
}

/** What the next `sendPull` should say: attempts that the node is willing to hold in all. */
export function heldMaxWanted(turn: Turn): number {
  const { state, now } = turn;
  if (state.draining || state.diskLow || now < state.unhealthyUntilMs) return 0;
  if (state.heldBytes >= state.settings.heldBytesMax) return 0;
  // Half for what runs and half for what is not acknowledged: a hello names both.
  const creditMax = Math.ceil(state.settings.heldAttemptsMax / 2);
  if (state.outbox.length + state.unacknowledgedCount >= creditMax) return 0;
  let slotsLeft = state.capacity.slots;
  let wanted = 0;
  for (const worker of state.workers.values()) {
    if (slotsLeft === 0) break;
    if (!isBusy(worker)) continue;
    slotsLeft -= 1;
    wanted += creditPerSlot(turn, worker.group);
  }
  wanted += slotsLeft * (state.lastGroup === null ? 1 : creditPerSlot(turn, state.lastGroup));
  // Tasks that wait for an image leave room for those of other groups, within a bound.
  wanted += Math.min(countImageWaiters(state), state.capacity.slots * 2);
  return Math.min(wanted, creditMax);
}

/** How long one task of a group takes, by what has ended and by what is still running. */
export function expectedTaskMs(group: HeldGroup, now: number): number | null {
  let expected = group.taskMs;
  for (const worker of group.workers) {
    const elapsed = runningMs(worker, now);
    if (elapsed > (expected ?? longTaskMs)) expected = elapsed;
  }
  return expected;
}

/** How long a worker's running task has been running; 0 when none is. */
export function runningMs(worker: Worker, now: number): number {
  const running = findRunning(worker);
  return running?.phase.kind === 'running' ? now - running.phase.startedAtMs : 0;
}

function creditPerSlot(turn: Turn, group: HeldGroup): number {
  if (turn.now < turn.state.cautiousUntilMs) return 1;
  if (group.window === 1) return 1;
  // The shortest tasks go by the thousand between two messages of the coordinator.
  return group.window * (group.window >= shortWindow ? 8 : 2);
}
