/** Why a task waits, in one sentence, with what the sentence rests on. */
import type { TaskRef } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import { concurrencyLeft } from './credit.ts';
import type { Unfit } from './eligibility.ts';
import { findUnfit, isReceiving, isSuspect } from './eligibility.ts';
import type { CoordinatorState, Group, OpenTask } from './entities.ts';
import { findHeldBack } from './nearness.ts';
import { grantableTasks } from './queue.ts';
import { findBatchOfFresh } from './views.ts';

/** What keeps a task; a program may switch on it. */
export type WaitReason =
  | 'running'
  | 'waitsOnNode'
  | 'cancelling'
  | 'groupEnds'
  | 'backoff'
  | 'noNode'
  | 'noFit'
  | 'noneReady'
  | 'maximumConcurrency'
  /** Kept for a node that has what it reads. */
  | 'heldBack'
  | 'noCapacity'
  | 'next';

export interface Explanation {
  reason: WaitReason;
  sentence: string;
  /** Numbers and names behind the sentence. */
  inputs: Readonly<Record<string, unknown>>;
}

/**
 * Explains a task without an outcome; undefined when memory does not have it. That a node is being
 * booted for it is known to the fleet alone: its caller adds it to `noNode`, `noFit` and `noCapacity`.
 */
export function explainTask(
  state: CoordinatorState,
  ref: TaskRef,
  now: number,
): Explanation | undefined {
  const task = state.tasks.get(taskKey(ref));
  if (task !== undefined) return explainOpen(state, task, now);
  const batch = findBatchOfFresh(state, ref);
  return batch === undefined ? undefined : explainQueued(state, batch.group, ref);
}

function explainOpen(state: CoordinatorState, task: OpenTask, now: number): Explanation {
  const { group } = task.batch;
  const { attempt, node } = task;
  if (task.place.kind === 'held') {
    const inputs = { attempt, node, grantedAtMs: task.grantedAtMs, startedAtMs: task.startedAtMs };
    if (task.place.cancelAsked) {
      return { reason: 'cancelling', sentence: `It is being cancelled on node ${node}.`, inputs };
    }
    if (task.startedAtMs === null) {
      const sentence = `It has been granted to node ${node} and waits there for a worker.`;
      return { reason: 'waitsOnNode', sentence, inputs };
    }
    const sentence = `It has been running on node ${node} for ${seconds(now - task.startedAtMs)}.`;
    return { reason: 'running', sentence, inputs };
  }
  if (task.place.kind === 'backoff') {
    const { notBeforeMs } = task.place;
    const sentence = `Attempt ${attempt} failed; the next begins in ${seconds(notBeforeMs - now)}.`;
    return { reason: 'backoff', sentence, inputs: { attempt, notBeforeMs, charges: task.charges } };
  }
  return explainQueued(state, group, { batch: task.batch.number, index: task.index });
}

function explainQueued(state: CoordinatorState, group: Group, ref: TaskRef): Explanation {
  if (group.state !== 'running') {
    const sentence = 'Its group was terminated: it is about to end as cancelled.';
    return { reason: 'groupEnds', sentence, inputs: { groupState: group.state } };
  }
  return (
    explainNodes(state, group) ??
    explainLimit(group) ??
    explainHeldBack(state, group, ref) ??
    explainCapacity(state, group, ref)
  );
}

function explainHeldBack(
  state: CoordinatorState,
  group: Group,
  ref: TaskRef,
): Explanation | undefined {
  const waiting = findHeldBack(state, group, ref);
  if (waiting === null) return undefined;
  const leftMs = waiting.untilMs - state.nowMs;
  const sentence =
    `It waits for node ${waiting.node}, which has what it reads, for at most ` +
    `${seconds(leftMs)} more; then any node may have it.`;
  return { reason: 'heldBack', sentence, inputs: { node: waiting.node, untilMs: waiting.untilMs } };
}

function explainNodes(state: CoordinatorState, group: Group): Explanation | undefined {
  const nodes = [...state.nodes.values()].filter((node) => node.profile !== null);
  if (nodes.length === 0) {
    return { reason: 'noNode', sentence: 'No node has joined the mesh yet.', inputs: { nodes: 0 } };
  }
  const unfit: Partial<Record<Unfit, number>> = {};
  const fit = nodes.filter((node) => {
    const why = findUnfit(state, node, group);
    if (why !== undefined) unfit[why] = (unfit[why] ?? 0) + 1;
    return why === undefined;
  });
  const inputs = { nodes: nodes.length, fit: fit.length, unfit };
  if (fit.length === 0) {
    const causes = [
      ...(['image', 'processor', 'namespace'] as const),
      ...(['isolation', 'network', 'cpus', 'memory'] as const),
    ];
    const parts = causes
      .filter((why) => unfit[why] !== undefined)
      .map((why) => `${unfit[why]} ${unfitTexts(state, group)[why]}`);
    const sentence = `None of the ${nodes.length} nodes can run it: ${parts.join(', ')}.`;
    return { reason: 'noFit', sentence, inputs };
  }
  if (fit.some((node) => isReceiving(state, node))) return undefined;
  const paused = fit.filter((node) => node.quarantine !== null).length;
  const draining = fit.filter((node) => node.phase.kind === 'draining').length;
  const silent = fit.filter((node) => isSuspect(state, node)).length;
  const sentence =
    `None of the ${fit.length} nodes that could run it takes work: ` +
    `${draining} draining, ${paused} paused, ${silent} silent.`;
  return { reason: 'noneReady', sentence, inputs: { ...inputs, paused, draining, silent } };
}

function explainLimit(group: Group): Explanation | undefined {
  if (concurrencyLeft(group) > 0) return undefined;
  const { maximumConcurrency } = group.spec;
  const sentence = `Its group runs ${group.running} tasks, its maximum concurrency is ${maximumConcurrency}.`;
  return {
    reason: 'maximumConcurrency',
    sentence,
    inputs: { running: group.running, maximumConcurrency },
  };
}

function explainCapacity(state: CoordinatorState, group: Group, ref: TaskRef): Explanation {
  const ahead = countAhead(state, group, ref);
  const slots = state.readySlots;
  const inputs = { ahead, slots, running: group.running };
  if (ahead === 0) {
    const sentence = `It is next: every node that could run it is full (${slots} slots in all).`;
    return { reason: 'next', sentence, inputs };
  }
  const sentence = `It waits for room: ${ahead} tasks of its namespace go first, on ${slots} slots in all.`;
  return { reason: 'noCapacity', sentence, inputs };
}

/** Grantable tasks of the namespace with a larger priority, or as large and an older place. */
function countAhead(state: CoordinatorState, group: Group, ref: TaskRef): number {
  let ahead = 0;
  for (const other of group.namespace.ready) {
    if (other.spec.priority > group.spec.priority) ahead += grantableTasks(other);
    if (other.spec.priority !== group.spec.priority || other.state !== 'running') continue;
    for (const task of other.retries) if (task.key < taskKey(ref)) ahead += 1;
    for (let at = other.freshHead; at < other.fresh.length; at += 1) {
      const batch = other.fresh[at];
      if (batch === undefined || batch.number > ref.batch) break;
      const end = batch.number === ref.batch ? Math.max(batch.next, ref.index) : batch.count;
      ahead += end - batch.next;
      for (const done of batch.takenAhead) if (done < end) ahead -= 1;
    }
  }
  return state.ready.has(group.namespace) ? ahead : 0;
}

function unfitTexts(state: CoordinatorState, group: Group): Record<Unfit, string> {
  const { spec } = group;
  const arch = state.images.get(spec.imageDigest)?.arch;
  return {
    image: `without its image ${spec.imageName}`,
    processor: `of another processor than its image ${spec.imageName}, which is for ${arch}`,
    namespace: `not open to namespace ${spec.namespace}`,
    isolation: `isolating less than ${spec.isolationMin}`,
    network: 'that give tasks no network (--allow-network)',
    cpus: `with fewer than ${spec.cpus} cpus`,
    memory: `with less than ${spec.memoryBytes} bytes of memory`,
  };
}

function seconds(durationMs: number): string {
  return `${(Math.max(0, durationMs) / 1000).toFixed(1)} s`;
}
