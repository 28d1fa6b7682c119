/**
 * Where a task that was granted at least once is. The only code that changes `task.place`:
 *
 * (first grant) → held. held → backoff: it failed and has retries left. held → runnable: its
 * attempt was lost or returned. backoff → runnable: the pause is over. runnable → held: granted
 * again with the next attempt number, or re-adopted with the same. held, backoff, runnable →
 * settled: it has an outcome; nothing leads out of settled.
 */
import { assert } from '../../protocol/base/assert.ts';
import type { CoordinatorState, CoreNode, Group, OpenTask, TaskPlace } from './entities.ts';
import { addRetry, removeRetry } from './queue.ts';
import { addTaskTimer } from './timers.ts';
import type { Turn } from './turn.ts';

const settled: TaskPlace = Object.freeze({ kind: 'settled' });

/** The next attempt of a waiting task begins on a node: it is the node's now. */
export function holdRetry(turn: Turn, task: OpenTask, node: CoreNode): void {
  leaveQueue(task);
  task.attempt += 1;
  task.node = node.id;
  task.grantedAtMs = turn.now;
  task.startedAtMs = null;
  hold(task, node);
}

/** An attempt that was declared lost is there after all: the node goes on with it. */
export function readopt(task: OpenTask, node: CoreNode): void {
  assert(
    task.place.kind === 'runnable' && task.place.adoptable,
    'only a lost attempt is re-adopted',
  );
  leaveQueue(task);
  hold(task, node);
}

/** Makes a task the node's; the caller has set attempt, node and time. */
export function hold(task: OpenTask, node: CoreNode): void {
  assert(task.node === node.id, 'a task is held by the node of its latest attempt');
  const { group } = task.batch;
  task.place = { kind: 'held', cancelAsked: false };
  node.held.set(task.key, task);
  node.heldByGroup.set(group, (node.heldByGroup.get(group) ?? 0) + 1);
  node.idleSinceMs = null;
  group.running += 1;
  group.grantedAtSumMs += task.grantedAtMs;
  if (group.running === 1) group.namespace.busy.add(group);
}

/** The task failed and may be tried again after a pause. */
export function backOff(turn: Turn, task: OpenTask, notBeforeMs: number): void {
  leave(turn, task);
  task.place = { kind: 'backoff', notBeforeMs };
  task.batch.group.waiting.set(task.key, task);
  addTaskTimer(turn.state, task, notBeforeMs);
}

/** The task may be granted again from now on. */
export function makeRunnable(
  turn: Turn,
  task: OpenTask,
  options: { avoidMs: number; avoidStrictly: boolean; adoptable: boolean },
): void {
  leave(turn, task);
  placeRunnable(turn.state, task, { ...options, sinceMs: turn.now });
  turn.wakeAll = true;
}

/** `makeRunnable` without a turn, for a task that is in no place yet. */
export function placeRunnable(
  state: CoordinatorState,
  task: OpenTask,
  options: { sinceMs: number; avoidMs: number; avoidStrictly: boolean; adoptable: boolean },
): void {
  const { sinceMs, avoidMs, avoidStrictly, adoptable } = options;
  const { group } = task.batch;
  task.place = {
    kind: 'runnable',
    sinceMs,
    avoidUntilMs: sinceMs + avoidMs,
    avoidStrictly,
    adoptable,
  };
  group.waiting.set(task.key, task);
  addRetry(state, task);
  if (avoidMs > 0) addTaskTimer(state, task, sinceMs + avoidMs);
  const { queueTimeoutMs } = group.spec;
  if (queueTimeoutMs !== null) addTaskTimer(state, task, sinceMs + queueTimeoutMs);
}

/** The task has its outcome. */
export function settle(turn: Turn, task: OpenTask): void {
  leave(turn, task);
  task.place = settled;
  turn.state.tasks.delete(task.key);
}

function leave(turn: Turn, task: OpenTask): void {
  if (task.place.kind === 'held') release(turn, task);
  else leaveQueue(task);
}

function release(turn: Turn, task: OpenTask): void {
  const { group } = task.batch;
  const node = turn.state.nodes.get(task.node);
  assert(node?.held.get(task.key) === task, 'a held task is held by its node');
  node.held.delete(task.key);
  const left = (node.heldByGroup.get(group) ?? 0) - 1;
  if (left === 0) node.heldByGroup.delete(group);
  else node.heldByGroup.set(group, left);
  if (node.held.size === 0) node.idleSinceMs = turn.now;
  if (isAtLimit(group)) turn.wakeAll = true;
  group.running -= 1;
  group.grantedAtSumMs -= task.grantedAtMs;
  if (group.running === 0) group.namespace.busy.delete(group);
  turn.wakeNodes.add(node);
}

/** At its limit a group leaves nodes idle: one attempt less concerns all of them, not its node alone. */
function isAtLimit(group: Group): boolean {
  const { maximumConcurrency } = group.spec;
  return maximumConcurrency !== null && group.running >= maximumConcurrency;
}

function leaveQueue(task: OpenTask): void {
  assert(task.place.kind === 'backoff' || task.place.kind === 'runnable', 'the task waits');
  task.batch.group.waiting.delete(task.key);
  if (task.place.kind === 'runnable') removeRetry(task);
}
