/** A binary heap of what is due when. Entries are never removed early: a stale one is skipped when due. */
import type { CoordinatorState, Group, OpenTask, Timer } from './entities.ts';
import { findFreshHead } from './queue.ts';

/** Below this the heap is not worth looking through for stale timers. */
export const timersCompactMin = 1_024;

/** Asks to look at a task when `atMs` has come, if it is still in the place where it is now. */
export function addTaskTimer(state: CoordinatorState, task: OpenTask, atMs: number): void {
  push(state, { kind: 'task', task, place: task.place, atMs, sequence: state.nextTimer });
}

/** Asks to look at a group's queue timeout when its oldest never-granted tasks reach it; one timer a group. */
export function armQueueTimer(state: CoordinatorState, group: Group): void {
  const { queueTimeoutMs } = group.spec;
  if (queueTimeoutMs === null || group.queueTimer) return;
  const head = findFreshHead(group);
  if (head === undefined) return;
  group.queueTimer = true;
  const atMs = head.submittedAtMs + queueTimeoutMs;
  push(state, { kind: 'group', group, atMs, sequence: state.nextTimer });
}

/** Asks to place a group's tasks again when one was held back until then; the earliest one is enough. */
export function addPlacementTimer(state: CoordinatorState, group: Group, atMs: number): void {
  if (group.placementAtMs !== null && group.placementAtMs <= atMs) return;
  group.placementAtMs = atMs;
  push(state, { kind: 'placement', group, atMs, sequence: state.nextTimer });
}

/** Takes the earliest timer that is due and not stale; undefined when there is none. */
export function takeDueTimer(state: CoordinatorState, now: number): Timer | undefined {
  for (;;) {
    const first = state.timers[0];
    if (first === undefined) return undefined;
    if (!isStale(first) && first.atMs > now) return undefined;
    removeFirst(state.timers);
    if (!isStale(first)) return first;
  }
}

/** Whether the task has moved to another place since, or another timer does the same earlier. */
export function isStale(timer: Timer): boolean {
  if (timer.kind === 'placement') return timer.group.placementAtMs !== timer.atMs;
  return timer.kind === 'task' && timer.task.place !== timer.place;
}

/** Stale timers may be most of the heap when retries are quick and timeouts long. */
function compact(state: CoordinatorState): void {
  const alive = state.timers.filter((timer) => !isStale(timer));
  alive.sort((one, other) => (isBefore(one, other) ? -1 : 1));
  state.timers.splice(0, state.timers.length, ...alive);
  state.timersCompactAt = Math.max(timersCompactMin, 2 * alive.length);
}

function push(state: CoordinatorState, timer: Timer): void {
  state.nextTimer += 1;
  if (state.timers.length >= state.timersCompactAt) compact(state);
  const heap = state.timers;
  let at = heap.length;
  heap.push(timer);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !isBefore(timer, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = timer;
}

function removeFirst(heap: Timer[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    const left = heap[2 * at + 1];
    if (left === undefined) break;
    const right = heap[2 * at + 2];
    const rightFirst = right !== undefined && isBefore(right, left);
    const child = rightFirst ? right : left;
    if (!isBefore(child, last)) break;
    heap[at] = child;
    at = rightFirst ? 2 * at + 2 : 2 * at + 1;
  }
  heap[at] = last;
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.sequence < other.sequence);
}
