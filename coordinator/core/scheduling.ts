/**
 * Grants. A node that has more room is filled alone; when work appears, every receiving node is,
 * the least loaded first: one round of free places, shared out, then whatever each may hold ahead.
 */
import { taskKey } from '../../protocol/wire/ids.ts';
import type { FillMode } from './credit.ts';
import { concurrencyLeft, creditFor } from './credit.ts';
import { findUnfit, hasAlternative, isReceiving } from './eligibility.ts';
import type {
  Batch,
  CoordinatorState,
  CoreNode,
  Group,
  Namespace,
  OpenTask,
  TaskPlace,
} from './entities.ts';
import { pickNamespace, quantumOf } from './fair-share.ts';
import { isFetchPremature } from './image-wait.ts';
import { takeNearest } from './nearness.ts';
import { hold, holdRetry } from './places.ts';
import {
  findFreshHead,
  freshTasks,
  grantableTasks,
  pruneReady,
  readyGroups,
  takeFreshIndex,
} from './queue.ts';
import { lacksRoom, passOver, releaseReservation } from './reservations.ts';
import type { GrantRun, Turn } from './turn.ts';

/** Retries looked at for one grant: behind a wall of retries that avoid this node others wait a moment. */
const retriesLookedAtMax = 64;
/** Nodes without a free slot that new work is granted ahead to at once. */
const busyLookedAtMax = 32;
const nowhere: TaskPlace = Object.freeze({ kind: 'settled' });

/** Gives out what there is to whoever has room since the last step, and writes the grants. */
export function grantWork(turn: Turn): void {
  const { state } = turn;
  for (const node of turn.wakeNodes) {
    if (state.nodes.get(node.id) === node) state.roomy.add(node);
  }
  if (state.ready.size > 0) {
    if (turn.wakeAll) fillAll(turn);
    else for (const node of turn.wakeNodes) fill(turn, node, 'full');
    pruneReady(state);
  }
  writeGrants(turn);
}

/**
 * Of ten thousand nodes those with a free slot are few when there is much work, and little work is gone
 * after the first few idle ones: neither costs a look at all of them. Nodes that could only hold more ahead
 * are looked at up to a bound; the others come back with their next report, and ask for themselves.
 */
function fillAll(turn: Turn): void {
  const { state } = turn;
  const nodes: CoreNode[] = [];
  let busy = 0;
  for (const node of state.roomy) {
    const isBusy = node.held.size >= (node.profile?.capacity.slots ?? 0);
    if (isBusy) busy += 1;
    if (node.held.size >= node.heldMax || busy > busyLookedAtMax) {
      state.roomy.delete(node);
      if (isBusy) busy -= 1;
      continue;
    }
    if (node.held.size === 0) {
      if (!hasGrantable(state)) return;
      fill(turn, node, 'spread');
    }
    nodes.push(node);
  }
  if (!hasGrantable(state)) return;
  nodes.sort((one, other) => loadOf(one) - loadOf(other));
  // Every round but the last grants something, and each grant takes a free place.
  for (let granted = true; granted; ) {
    granted = false;
    for (const node of nodes) granted = fill(turn, node, 'spread') > 0 || granted;
  }
  for (const node of nodes) fill(turn, node, 'full');
}

/** Whether any group has a task that some node might take. */
function hasGrantable(state: CoordinatorState): boolean {
  for (const namespace of state.ready) {
    for (const group of readyGroups(namespace)) {
      if (grantableTasks(group) > 0 && concurrencyLeft(group) > 0) return true;
    }
  }
  return false;
}

function loadOf(node: CoreNode): number {
  return node.held.size / Math.max(1, node.profile?.capacity.slots ?? 1);
}

/** What one fill of one node keeps in mind. */
interface Fill {
  readonly node: CoreNode;
  readonly mode: FillMode;
  /** The group whose turn it was first, but that found no room beside what runs. */
  passed: Group | null;
}

/** Grants to one node until it may hold no more; answers how many tasks. */
function fill(turn: Turn, node: CoreNode, mode: FillMode): number {
  if (!isReceiving(turn.state, node)) return 0;
  if (node.held.size >= node.heldMax) return 0;
  const candidates = new Set(turn.state.ready);
  const own: Fill = { node, mode, passed: null };
  let total = 0;
  for (;;) {
    const namespace = pickNamespace(turn.state, candidates);
    if (namespace === undefined) return total;
    const granted = grantFrom(turn, own, { namespace, shared: candidates.size > 1 });
    total += granted;
    // Nothing for this node: nor will there be within this fill, which only takes room away.
    if (granted === 0) candidates.delete(namespace);
  }
}

function grantFrom(
  turn: Turn,
  own: Fill,
  options: { namespace: Namespace; shared: boolean },
): number {
  const { node, mode } = own;
  for (const group of readyGroups(options.namespace)) {
    if (grantableTasks(group) === 0 || findUnfit(turn.state, node, group) !== undefined) continue;
    if (isFetchPremature(turn, node, group)) continue;
    if (node.reservedFor !== null && node.reservedFor !== group) continue;
    const credit = creditFor(turn.state, node, { group, mode });
    if (credit === 0) {
      if (own.passed === null && lacksRoom(turn.state, node, group)) own.passed = group;
      continue;
    }
    const limit = options.shared ? Math.min(credit, quantumOf(turn.state, group)) : credit;
    const retried = grantRetries(turn, node, { group, limit });
    const fresh = retried < limit ? grantFresh(turn, node, { group, limit: limit - retried }) : 0;
    if (retried + fresh === 0) continue;
    releaseReservation(group);
    if (own.passed !== null) passOver(turn, node, own.passed);
    return retried + fresh;
  }
  return 0;
}

function grantRetries(
  turn: Turn,
  node: CoreNode,
  options: { group: Group; limit: number },
): number {
  const { group, limit } = options;
  const taken: OpenTask[] = [];
  for (let at = 0; at < Math.min(group.retries.length, retriesLookedAtMax); at += 1) {
    if (taken.length === limit) break;
    const task = group.retries[at];
    if (task !== undefined && !isAvoiding(turn, node, task)) taken.push(task);
  }
  for (const task of taken) {
    holdRetry(turn, task, node);
    addRun(turn, node, { batch: task.batch, lo: task.index, count: 1, attempt: task.attempt });
  }
  return taken.length;
}

function isAvoiding(turn: Turn, node: CoreNode, task: OpenTask): boolean {
  if (task.place.kind !== 'runnable' || task.node !== node.id) return false;
  if (task.place.avoidUntilMs <= turn.now) return false;
  return task.place.avoidStrictly || hasAlternative(turn.state, node, task.batch.group);
}

/** From one batch only: behind it another group may come first. */
function grantFresh(turn: Turn, node: CoreNode, options: { group: Group; limit: number }): number {
  const { group, limit } = options;
  if (group.waiting.size >= turn.state.settings.groupRetriesMax) return 0;
  if (group.assetBatches > 0) return grantNearest(turn, node, options);
  const batch = findFreshHead(group);
  if (batch === undefined) return 0;
  const count = Math.min(limit, freshTasks(batch));
  for (let granted = 0; granted < count; granted += 1) {
    grantFirst(turn, node, { batch, index: takeFreshIndex(batch) });
  }
  if (freshTasks(batch) === 0) group.namespace.readyStale = true;
  return count;
}

/** Of tasks that say what they read, those with the least to fetch on this node. */
function grantNearest(
  turn: Turn,
  node: CoreNode,
  options: { group: Group; limit: number },
): number {
  const { group, limit } = options;
  let granted = 0;
  for (; granted < limit; granted += 1) {
    const nearest = takeNearest(turn, node, group);
    if (nearest === undefined) break;
    grantFirst(turn, node, nearest);
    if (freshTasks(nearest.batch) === 0) group.namespace.readyStale = true;
  }
  return granted;
}

function grantFirst(turn: Turn, node: CoreNode, of: { batch: Batch; index: number }): void {
  const task = openTask(turn, node, of);
  hold(task, node);
  addRun(turn, node, { batch: of.batch, lo: of.index, count: 1, attempt: 1 });
}

function openTask(turn: Turn, node: CoreNode, of: { batch: Batch; index: number }): OpenTask {
  const { batch, index } = of;
  const key = taskKey({ batch: batch.number, index });
  const task: OpenTask = {
    key,
    batch,
    index,
    attempt: 1,
    node: node.id,
    grantedAtMs: turn.now,
    startedAtMs: null,
    charges: 0,
    losses: 0,
    killedOn: [],
    place: nowhere,
  };
  turn.state.tasks.set(key, task);
  return task;
}

/** Lengthens the batch's latest run to this node when the new one continues it. */
function addRun(turn: Turn, node: CoreNode, run: GrantRun): void {
  let runs = turn.runs.get(node);
  if (runs === undefined) {
    runs = { inOrder: [], latest: new Map() };
    turn.runs.set(node, runs);
  }
  const latest = runs.latest.get(run.batch);
  if (latest?.attempt === run.attempt && latest.lo + latest.count === run.lo) {
    latest.count += run.count;
    return;
  }
  runs.inOrder.push(run);
  runs.latest.set(run.batch, run);
}

function writeGrants(turn: Turn): void {
  for (const [node, runs] of turn.runs) {
    for (const run of runs.inOrder) writeGrant(turn, node, run);
  }
}

function writeGrant(turn: Turn, node: CoreNode, run: GrantRun): void {
  if (node.session === null) return;
  const { batch, lo, count, attempt } = run;
  turn.effects.push(
    { kind: 'saveGrant', batch: batch.number, lo, count, attempt, node: node.id, atMs: turn.now },
    {
      kind: 'sendGrant',
      node: node.id,
      session: node.session,
      group: batch.group.id,
      batch: batch.number,
      lo,
      count,
      attempt,
    },
  );
}
