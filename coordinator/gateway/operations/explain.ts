/** Why a task waits, or how it ended, in words. */
import type { ExplainView } from '../../../protocol/wire/api.ts';
import type { NodeId, TaskRef } from '../../../protocol/wire/ids.ts';
import { formatTaskId, taskKey } from '../../../protocol/wire/ids.ts';
import type { Unfit } from '../../core/eligibility.ts';
import { findUnfit, isSuspect } from '../../core/eligibility.ts';
import type { CoordinatorState, CoreNode, Group, OpenTask } from '../../core/entities.ts';
import { findHeldBack } from '../../core/nearness.ts';
import type { StoredOutcome } from '../../store/port.ts';
import { readNamespace } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readText } from '../input/fields.ts';
import { formatMemorySize } from '../input/memory-size.ts';
import type { Context } from '../services.ts';
import { servesNamespace } from '../views/nodes.ts';
import { getTask } from './find-group.ts';
import { findState } from './tasks.ts';

/** Explains one task. */
export async function explainTask(context: Context, input: Input): Promise<ExplainView> {
  const namespace = readNamespace(context.caller, input);
  const { task, batch } = await getTask(context, namespace, readText(input, 'id', 200));
  const { open, outcome } = await findState(context, task);
  const state = context.deps.driver.state();
  const id = formatTaskId(task);
  const booting = context.deps.fleet.booting();
  const group = state.groups.get(batch.group);
  if (outcome !== undefined) {
    return { id, state: 'done', sentence: describeOutcome(id, outcome), reasons: [], booting };
  }
  if (open?.state !== 'queued' || group === undefined) {
    return { id, state: 'running', ...describeRunning(state, task, open?.node ?? null), booting };
  }
  return { id, state: 'queued', ...describeQueued(context, task, group), booting };
}

function describeOutcome(id: string, { outcome, attempt, node }: StoredOutcome): string {
  const where =
    node === null ? 'without having run' : `in attempt ${attempt} on ${shortNode(node)}`;
  const seconds = (outcome.runtimeMs / 1000).toFixed(3);
  if (outcome.failure === null) return `Task ${id} succeeded ${where} after ${seconds} s.`;
  return `Task ${id} ended as ${outcome.status} ${where} after ${seconds} s: ${outcome.failure.name}.`;
}

function describeRunning(
  state: CoordinatorState,
  task: TaskRef,
  node: NodeId | null,
): { sentence: string; reasons: string[] } {
  const id = formatTaskId(task);
  if (node === null)
    return { sentence: `Task ${id} has just ended; it is being stored.`, reasons: [] };
  const open = state.tasks.get(taskKey(task));
  const name = nodeName(state, node);
  const attempt = open?.attempt ?? 1;
  const reasons: string[] = [];
  const silent = state.nodes.get(node);
  if (silent !== undefined && isSuspect(state, silent)) {
    const seconds = ((state.nowMs - silent.heardAtMs) / 1000).toFixed(0);
    const left = Math.max(0, state.settings.leaseMs - (state.nowMs - silent.heardAtMs)) / 1000;
    reasons.push(
      `${name} has not been heard for ${seconds} s; the task goes elsewhere in ${left.toFixed(0)} s.`,
    );
  }
  if (open === undefined || open.startedAtMs === null) {
    return {
      sentence: `Task ${id} is at ${name} (attempt ${attempt}) and starts there next.`,
      reasons,
    };
  }
  const seconds = Math.max(0, (state.nowMs - open.startedAtMs) / 1000).toFixed(1);
  return {
    sentence: `Task ${id} has been running on ${name} (attempt ${attempt}) for ${seconds} s.`,
    reasons,
  };
}

function describeQueued(
  context: Context,
  task: TaskRef,
  group: Group,
): { sentence: string; reasons: string[] } {
  const state = context.deps.driver.state();
  const id = formatTaskId(task);
  const waits = `Task ${id} waits`;
  const open = state.tasks.get(taskKey(task));
  if (open?.place.kind === 'backoff') {
    return { sentence: `${waits} to be tried again: ${retryText(state, open)}`, reasons: [] };
  }
  const { maximumConcurrency } = group.spec;
  if (maximumConcurrency !== null && group.running >= maximumConcurrency) {
    return {
      sentence: `${waits} because its group runs ${group.running} tasks at once, as many as maximum_concurrency allows.`,
      reasons: [],
    };
  }
  const heldBack = findHeldBack(state, group, task);
  if (heldBack !== null) {
    const seconds = ((heldBack.untilMs - state.nowMs) / 1000).toFixed(1);
    const where = nodeName(state, heldBack.node);
    return {
      sentence: `${waits} for ${where}, which has the imagery that it reads, for at most ${seconds} s more; then any node may have it.`,
      reasons: [],
    };
  }
  const nodes = [...state.nodes.values()].filter((node) =>
    servesNamespace(node, group.spec.namespace),
  );
  const reasons = nodes.map(
    (node) => `${nodeName(state, node.id)}: ${standing(state, node, group)}`,
  );
  const booting = context.deps.fleet.booting();
  const hold = context.deps.fleet.hold();
  if (hold !== null) reasons.push(`No machine is being made: ${hold}`);
  const fitting = nodes.filter((node) => findUnfit(state, node, group) === undefined);
  if (fitting.length === 0) {
    const sentence =
      booting > 0
        ? `${waits} for a machine to start: ${booting} on the way.`
        : `${waits} because ${whyNone(state, nodes, group)}.`;
    return { sentence, reasons };
  }
  const ahead = group.freshCount + group.waiting.size;
  return {
    sentence: `${waits} for a free place on ${fitting.length} node${fitting.length === 1 ? '' : 's'}; its group has ${ahead} tasks queued.`,
    reasons,
  };
}

function whyNone(state: CoordinatorState, nodes: readonly CoreNode[], group: Group): string {
  const isElse = (node: CoreNode): boolean => findUnfit(state, node, group) === 'processor';
  if (nodes.length === 0 || !nodes.every(isElse)) return 'no node that is there now can run it';
  const arch = state.images.get(group.spec.imageDigest)?.arch ?? 'another processor';
  const have = [...new Set(nodes.map((node) => node.profile?.arch))].join(', ');
  return `its image ${group.spec.imageName} is for ${arch}, and all nodes are ${have} machines`;
}

function retryText(state: CoordinatorState, task: OpenTask): string {
  const dueMs = task.place.kind === 'backoff' ? task.place.notBeforeMs - state.nowMs : 0;
  const seconds = (Math.max(0, dueMs) / 1000).toFixed(1);
  return `attempt ${task.attempt} failed, the next is due in ${seconds} s.`;
}

function standing(state: CoordinatorState, node: CoreNode, group: Group): string {
  const unfit = findUnfit(state, node, group);
  if (unfit === 'processor') {
    const { spec } = group;
    const arch = state.images.get(spec.imageDigest)?.arch ?? 'another';
    return `is an ${node.profile?.arch} machine; the image ${spec.imageName} is for ${arch}.`;
  }
  if (unfit !== undefined) return unfitText(unfit, node, group);
  if (isSuspect(state, node)) return 'has not been heard lately.';
  if (node.quarantine !== null) return `is paused: ${node.quarantine.text}`;
  if (node.phase.kind !== 'ready') return `is ${node.phase.kind}.`;
  return `holds ${node.held.size} tasks of at most ${node.heldMax}.`;
}

function unfitText(unfit: Unfit, node: CoreNode, group: Group): string {
  const { spec } = group;
  const capacity = node.profile?.capacity;
  switch (unfit) {
    case 'namespace':
      return `does not serve ${spec.namespace}.`;
    case 'image':
      return `does not have the image ${spec.imageName}.`;
    case 'isolation':
      return `isolates "${node.profile?.isolation ?? 'none'}", less than "${spec.isolationMin}".`;
    case 'network':
      return 'gives tasks no network; its agent would need --allow-network.';
    case 'cpus':
      return `has ${capacity?.cpus ?? 0} cpus, not ${spec.cpus}.`;
    case 'memory':
      return `has ${formatMemorySize(capacity?.memoryBytes ?? 0)} of memory, not ${formatMemorySize(spec.memoryBytes)}.`;
    default:
      return 'cannot run it.';
  }
}

function nodeName(state: CoordinatorState, node: NodeId): string {
  const name = state.nodes.get(node)?.profile?.name ?? '';
  return name === '' ? shortNode(node) : `${name} (${shortNode(node)})`;
}

/** Peer ids all begin alike. */
function shortNode(node: NodeId): string {
  return `…${node.slice(-8)}`;
}
