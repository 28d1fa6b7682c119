/**
 * What is true of the state after every step. Everything that is counted or kept twice for speed is
 * computed again here from its source, so tests and the simulation find the step that broke it.
 */
import { assert } from '../../protocol/base/assert.ts';
import { heldAttemptsMax, nodeLossesMax } from '../../protocol/wire/limits.ts';
import { isServing } from './eligibility.ts';
import type { Batch, CoordinatorState, CoreNode, Group, Namespace, OpenTask } from './entities.ts';
import { freshTasks, grantableTasks, queuedTasks } from './queue.ts';
import { isStale } from './timers.ts';

/** @throws AssertionError naming what does not hold, and of what. */
export function checkInvariants(state: CoordinatorState): void {
  const broken = findBrokenInvariants(state);
  assert(broken.length === 0, broken.join('; '));
}

/** Everything that does not hold, each as the sentence that should be true; empty when all is well. */
export function findBrokenInvariants(state: CoordinatorState): string[] {
  const broken: string[] = [];
  const claim: Claim = (holds, sentence) => {
    if (!holds) broken.push(sentence);
  };
  const truth = collectTruth(state);
  for (const batch of state.batches.values()) checkBatch(claim, state, { batch, truth });
  for (const task of state.tasks.values()) checkTask(claim, state, { task, truth });
  for (const node of state.nodes.values()) checkNode(claim, state, node);
  for (const group of state.groups.values()) checkGroup(claim, state, { group, truth });
  for (const namespace of state.namespaces.values()) checkNamespace(claim, state, namespace);
  checkTimers(claim, state);
  checkBounds(claim, state);
  return broken;
}

/** Takes down a sentence that does not hold. */
type Claim = (holds: boolean, sentence: string) => void;

interface Truth {
  tasks: Map<Batch, OpenTask[]>;
  held: Map<Group, OpenTask[]>;
  waiting: Map<Group, OpenTask[]>;
  fresh: Map<Group, Batch[]>;
  retries: Map<Group, Set<OpenTask>>;
}

function collectTruth(state: CoordinatorState): Truth {
  const truth: Truth = {
    tasks: new Map(),
    held: new Map(),
    waiting: new Map(),
    fresh: new Map(),
    retries: new Map(),
  };
  for (const task of state.tasks.values()) {
    add(truth.tasks, task.batch, task);
    add(task.place.kind === 'held' ? truth.held : truth.waiting, task.batch.group, task);
  }
  for (const batch of state.batches.values()) {
    if (freshTasks(batch) > 0) add(truth.fresh, batch.group, batch);
  }
  for (const group of state.groups.values()) truth.retries.set(group, new Set(group.retries));
  return truth;
}

function checkBatch(
  claim: Claim,
  state: CoordinatorState,
  of: { batch: Batch; truth: Truth },
): void {
  const { batch, truth } = of;
  const open = truth.tasks.get(batch) ?? [];
  const name = `batch ${batch.number}`;
  claim(state.groups.get(batch.group.id) === batch.group, `${name} has a known group`);
  claim(batch.number < state.nextBatch, `${name} is below the next number`);
  claim(batch.next >= 0 && batch.next <= batch.count, `${name}: next is within the batch`);
  claim(batch.doneCount < batch.count, `${name} is open`);
  claim(!batch.takenAhead.has(batch.next), `${name}: next is not taken`);
  for (const index of batch.takenAhead) {
    claim(index > batch.next && index < batch.count, `${name}: ${index} is taken ahead of next`);
  }
  for (const task of open) {
    const isTaken = task.index < batch.next || batch.takenAhead.has(task.index);
    claim(isTaken, `${name}: only granted tasks have a record`);
  }
  // Each task is done, open or fresh, and only one of them.
  const accounted = batch.doneCount + open.length + freshTasks(batch);
  claim(accounted === batch.count, `${name}: ${accounted} of ${batch.count} tasks are somewhere`);
}

function checkTask(
  claim: Claim,
  state: CoordinatorState,
  of: { task: OpenTask; truth: Truth },
): void {
  const { task, truth } = of;
  const name = `task ${task.batch.number}-${task.index}`;
  const { group } = task.batch;
  claim(state.tasks.get(task.key) === task, `${name} is kept by its key`);
  claim(task.key === task.batch.number * 65_536 + task.index, `${name} has its own key`);
  claim(state.batches.get(task.batch.number) === task.batch, `${name} has an open batch`);
  claim(task.attempt >= 1, `${name} was granted`);
  claim(task.losses <= nodeLossesMax, `${name} was not lost too often`);
  claim(task.charges >= 0, `${name}: charges are not negative`);
  claim(new Set(task.killedOn).size === task.killedOn.length, `${name}: killedOn has no doubles`);
  const holder = state.nodes.get(task.node);
  const isHeld = task.place.kind === 'held';
  claim((holder?.held.get(task.key) === task) === isHeld, `${name} is held when its node says so`);
  claim((group.waiting.get(task.key) === task) === !isHeld, `${name} waits when it is not held`);
  const isRunnable = task.place.kind === 'runnable';
  claim(
    truth.retries.get(group)?.has(task) === isRunnable,
    `${name} is among the retries when runnable`,
  );
  claim(task.place.kind !== 'settled', `${name} is open`);
}

function checkNode(claim: Claim, state: CoordinatorState, node: CoreNode): void {
  const name = `node ${node.id}`;
  claim(!state.departed.has(node.id), `${name} is not also departed`);
  const byGroup = new Map<Group, number>();
  for (const [key, task] of node.held) {
    claim(task.key === key && state.tasks.get(key) === task, `${name} holds an open task`);
    claim(task.node === node.id && task.place.kind === 'held', `${name} holds what is its own`);
    byGroup.set(task.batch.group, (byGroup.get(task.batch.group) ?? 0) + 1);
  }
  claim(byGroup.size === node.heldByGroup.size, `${name}: heldByGroup has the groups of held`);
  for (const [group, count] of byGroup) {
    claim(node.heldByGroup.get(group) === count, `${name}: heldByGroup counts held`);
  }
  claim(
    (node.idleSinceMs === null) === node.held.size > 0,
    `${name} is idle when it holds nothing`,
  );
  claim(node.held.size <= heldAttemptsMax * 2, `${name} holds no more than the bound`);
  claim(node.heardAtMs <= state.nowMs, `${name} was heard in the past`);
  const isKnown = node.profile !== null && node.sessionLast !== null;
  claim(isKnown === (node.phase.kind !== 'lostContact') || isOrdered(node), `${name} said hello`);
  if (node.session !== null) {
    claim(node.session === node.sessionLast, `${name}: its latest session stands`);
  }
  if (node.reservedFor !== null) {
    claim(node.reservedFor.reservedOn === node, `${name} is kept for a group that knows it`);
  }
  let uniqueBytes = 0;
  for (const [asset, bytes] of node.holdings) {
    const holders = state.holders.get(asset);
    claim(holders?.has(node) === true, `${name}: it is a holder of what it holds`);
    if (holders?.size === 1) uniqueBytes += bytes;
  }
  claim(node.uniqueBytes === uniqueBytes, `${name}: bytes that no other holds are counted`);
  claim(node.story.length <= state.settings.storyMax, `${name}: its story is bounded`);
}

/** A node out of contact may be told to drain before it has said hello. */
function isOrdered(node: CoreNode): boolean {
  return node.profile === null && node.session === null && node.phase.kind !== 'ready';
}

function checkGroup(
  claim: Claim,
  state: CoordinatorState,
  of: { group: Group; truth: Truth },
): void {
  const { group, truth } = of;
  const name = `group ${group.id}`;
  const held = truth.held.get(group) ?? [];
  const waiting = truth.waiting.get(group) ?? [];
  const fresh = truth.fresh.get(group) ?? [];
  claim(
    state.namespaces.get(group.namespace.name) === group.namespace,
    `${name} has its namespace`,
  );
  claim(group.spec.group === group.id, `${name} has its own spec`);
  claim(group.running === held.length, `${name} counts ${group.running} of ${held.length} running`);
  const grantedAtSumMs = held.reduce((sum, task) => sum + task.grantedAtMs, 0);
  claim(group.grantedAtSumMs === grantedAtSumMs, `${name} sums up when its tasks were granted`);
  claim(group.waiting.size === waiting.length, `${name} knows its waiting tasks`);
  const freshCount = fresh.reduce((sum, batch) => sum + freshTasks(batch), 0);
  claim(
    group.freshCount === freshCount,
    `${name} counts ${group.freshCount} of ${freshCount} fresh`,
  );
  const listed = group.fresh.slice(group.freshHead).filter((batch) => freshTasks(batch) > 0);
  claim(
    listed.length === fresh.length && listed.every((batch, at) => batch === fresh[at]),
    `${name} lists its batches with fresh tasks in order`,
  );
  const assetBatches = group.fresh.slice(group.freshHead).filter((batch) => batch.assets !== null);
  claim(group.assetBatches === assetBatches.length, `${name} counts its batches with assets`);
  claim(group.window.length <= state.settings.windowTasks, `${name}: its window is bounded`);
  for (const one of group.window) {
    claim(one.overtaken <= state.settings.overtakenMax, `${name}: nobody is overtaken for ever`);
  }
  for (let at = 1; at < group.retries.length; at += 1) {
    const [before, after] = [group.retries[at - 1], group.retries[at]];
    claim(
      before !== undefined && after !== undefined && before.key < after.key,
      `${name}: retries are in order`,
    );
  }
  claim(
    group.namespace.busy.has(group) === group.running > 0,
    `${name} is busy when it runs tasks`,
  );
  claim(
    group.inReady === group.namespace.ready.includes(group),
    `${name} knows whether it is ready`,
  );
  if (grantableTasks(group) > 0) {
    claim(group.inReady && state.ready.has(group.namespace), `${name} is ready while it has work`);
  }
  if (group.state !== 'running' && queuedTasks(group) > 0) {
    const isSwept = state.sweeps.some((sweep) => sweep.kind === 'group' && sweep.group === group);
    claim(isSwept, `${name} does not forget to end its queued tasks`);
  }
  const isOver = group.running === 0 && queuedTasks(group) === 0;
  claim(
    state.ended.has(group) === (group.state === 'terminated' && isOver),
    `${name} ended or not`,
  );
  if (group.state === 'draining' && isOver) {
    const isSwept = state.sweeps.some((sweep) => sweep.group === group);
    claim(isSwept, `${name} is terminated once it is over`);
  }
  if (group.spec.queueTimeoutMs !== null && group.freshCount > 0) {
    claim(group.queueTimer, `${name}: its queue timeout is watched`);
  }
  if (group.queueTimer) {
    const timers = state.timers.filter((timer) => timer.kind === 'group' && timer.group === group);
    const sweeps = state.sweeps.filter((one) => one.kind === 'queueTimeout' && one.group === group);
    claim(timers.length + sweeps.length === 1, `${name}: one timer watches its queue timeout`);
  }
  if (group.reservedOn !== null) {
    claim(group.reservedOn.reservedFor === group, `${name} has a node that is kept for it`);
    claim(state.nodes.get(group.reservedOn.id) === group.reservedOn, `${name}: that node is there`);
  }
}

function checkNamespace(claim: Claim, state: CoordinatorState, namespace: Namespace): void {
  const name = `namespace ${namespace.name}`;
  claim(new Set(namespace.ready).size === namespace.ready.length, `${name}: ready has no doubles`);
  for (const group of namespace.busy) claim(group.running > 0, `${name}: busy groups run tasks`);
  claim(namespace.outcomeNumber >= 0, `${name} numbers outcomes from 1`);
  claim(state.namespaces.get(namespace.name) === namespace, `${name} is kept by its name`);
}

function checkTimers(claim: Claim, state: CoordinatorState): void {
  const { timers } = state;
  const watched = new Set<OpenTask>();
  for (let at = 0; at < timers.length; at += 1) {
    const timer = timers[at];
    const parent = timers[(at - 1) >> 1];
    if (timer === undefined) continue;
    if (at > 0 && parent !== undefined) {
      claim(parent.atMs <= timer.atMs, 'timers are a heap');
    }
    if (timer.kind === 'task' && !isStale(timer)) watched.add(timer.task);
  }
  for (const task of state.tasks.values()) {
    if (task.place.kind !== 'backoff') continue;
    claim(watched.has(task), `task ${task.batch.number}-${task.index} will end its pause`);
  }
}

function checkBounds(claim: Claim, state: CoordinatorState): void {
  const { settings } = state;
  let slots = 0;
  for (const node of state.nodes.values()) {
    if (isServing(node)) slots += node.profile?.capacity.slots ?? 0;
  }
  for (const [asset, holders] of state.holders) {
    claim(holders.size > 0, `asset ${asset} has a holder`);
    for (const node of holders) {
      claim(
        state.nodes.get(node.id) === node && node.holdings.has(asset),
        `${node.id} holds ${asset}`,
      );
    }
  }
  for (const node of state.nodes.values()) {
    const room = Math.min(node.heldMax, node.profile?.capacity.slots ?? 0);
    const isKnown = room <= node.held.size || state.roomy.has(node);
    claim(isKnown, `${node.id} has a free slot and is among those that may have`);
  }
  claim(state.readySlots === slots, `${state.readySlots} of ${slots} ready slots are counted`);
  claim(state.departed.size <= settings.departedNodesMax, 'departed nodes are bounded');
  claim(state.ended.size <= settings.terminatedGroupsMax, 'terminated groups are bounded');
}

function add<Key, Item>(lists: Map<Key, Item[]>, key: Key, item: Item): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [item]);
  else list.push(item);
}
