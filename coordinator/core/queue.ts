/**
 * Queued work. Batches are kept as heads: a task has no record of its own before its first grant,
 * so that a million queued tasks cost a few hundred records.
 */
import { assert } from '../../protocol/base/assert.ts';
import type { Batch, CoordinatorState, Group, Namespace, OpenTask } from './entities.ts';

/** Never-granted tasks of a batch that have no outcome. */
export function freshTasks(batch: Batch): number {
  return batch.count - batch.next - batch.takenAhead.size;
}

/** Whether a task of a batch was never granted and has no outcome. */
export function isFresh(batch: Batch, index: number): boolean {
  return index >= batch.next && index < batch.count && !batch.takenAhead.has(index);
}

/** Every task of a group that waits: never granted, backing off, or ready for another attempt. */
export function queuedTasks(group: Group): number {
  return group.freshCount + group.waiting.size;
}

/** Tasks of a group that could be granted now, limits aside. */
export function grantableTasks(group: Group): number {
  return group.state === 'running' ? group.freshCount + group.retries.length : 0;
}

/** Appends a batch with never-granted tasks; batches arrive in order of their number. */
export function addFresh(state: CoordinatorState, batch: Batch): void {
  const { group } = batch;
  group.fresh.push(batch);
  if (batch.assets !== null) group.assetBatches += 1;
  group.freshCount += freshTasks(batch);
  markReady(state, group);
}

/** The oldest batch of a group with never-granted tasks. */
export function findFreshHead(group: Group): Batch | undefined {
  for (;;) {
    const head = group.fresh[group.freshHead];
    if (head === undefined) {
      group.fresh.length = 0;
      group.freshHead = 0;
      return undefined;
    }
    if (freshTasks(head) > 0) return head;
    group.freshHead += 1;
    if (head.assets !== null) group.assetBatches -= 1;
    group.namespace.readyStale = true;
    compact(group);
  }
}

/** Takes the next never-granted index of a batch; `freshTasks` must be above 0. */
export function takeFreshIndex(batch: Batch): number {
  while (batch.takenAhead.delete(batch.next)) batch.next += 1;
  const index = batch.next;
  assert(index < batch.count, `batch ${batch.number} has a never-granted task`);
  batch.next += 1;
  batch.group.freshCount -= 1;
  // What was ended ahead right behind it must not look like a task below `next`.
  while (batch.takenAhead.delete(batch.next)) batch.next += 1;
  return index;
}

/** Takes one never-granted index out of order: for a cancel, or because it is nearest to a node. */
export function takeFreshAhead(batch: Batch, index: number): void {
  assert(index >= batch.next && !batch.takenAhead.has(index), 'the task was never granted');
  batch.takenAhead.add(index);
  batch.group.freshCount -= 1;
  while (batch.takenAhead.delete(batch.next)) batch.next += 1;
}

/** Puts a runnable task among its group's retries, in order of submission. */
export function addRetry(state: CoordinatorState, task: OpenTask): void {
  const { group } = task.batch;
  group.retries.splice(retryPosition(group.retries, task.key), 0, task);
  markReady(state, group);
}

/** Removes a runnable task from its group's retries. */
export function removeRetry(task: OpenTask): void {
  const { group } = task.batch;
  const at = retryPosition(group.retries, task.key);
  assert(group.retries[at] === task, 'a runnable task is among the retries of its group');
  group.retries.splice(at, 1);
  if (at === 0) group.namespace.readyStale = true;
}

/** Groups of a namespace with something to grant, in the order of granting. */
export function readyGroups(namespace: Namespace): readonly Group[] {
  if (namespace.readyStale) sortReady(namespace);
  return namespace.ready;
}

/** Notes that a group has, or again has, something to grant. */
export function markReady(state: CoordinatorState, group: Group): void {
  if (grantableTasks(group) === 0) return;
  const { namespace } = group;
  if (!state.ready.has(namespace)) {
    state.ready.add(namespace);
    // Who was away does not save up a claim to the mesh for later.
    namespace.usedCpuMs = Math.max(namespace.usedCpuMs, state.servedCpuMs);
  }
  if (!group.inReady) {
    group.inReady = true;
    namespace.ready.push(group);
  }
  namespace.readyStale = true;
}

/** Forgets namespaces that have nothing to grant any more. */
export function pruneReady(state: CoordinatorState): void {
  for (const namespace of state.ready) {
    if (readyGroups(namespace).length === 0) state.ready.delete(namespace);
  }
}

function sortReady(namespace: Namespace): void {
  const places = new Map<Group, number>();
  namespace.ready = namespace.ready.filter((group) => {
    group.inReady = grantableTasks(group) > 0;
    if (group.inReady) places.set(group, oldestBatch(group));
    return group.inReady;
  });
  namespace.ready.sort(
    (one, other) =>
      other.spec.priority - one.spec.priority || (places.get(one) ?? 0) - (places.get(other) ?? 0),
  );
  namespace.readyStale = false;
}

function oldestBatch(group: Group): number {
  const fresh = findFreshHead(group)?.number ?? Number.POSITIVE_INFINITY;
  const retried = group.retries[0]?.batch.number ?? Number.POSITIVE_INFINITY;
  return Math.min(fresh, retried);
}

/** Drops the consumed start of the list once it is the larger half, so that each batch moves once. */
function compact(group: Group): void {
  if (group.freshHead < 64 || group.freshHead * 2 < group.fresh.length) return;
  group.fresh = group.fresh.slice(group.freshHead);
  group.freshHead = 0;
}

function retryPosition(retries: readonly OpenTask[], key: number): number {
  let low = 0;
  let high = retries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((retries[middle]?.key ?? 0) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
