/** What others may know of the state. Read-only and pure; `step` alone changes anything. */
import type {
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
  NodeId,
  TaskRef,
} from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { IsolationLevel, NodeImage } from '../../protocol/wire/task.ts';
import { concurrencyLeft } from './credit.ts';
import { isServing, isSuspect } from './eligibility.ts';
import type {
  Batch,
  CoordinatorState,
  CoreNode,
  DepartedNode,
  Group,
  NodeProfile,
  OpenTask,
  StoryLine,
} from './entities.ts';
import { grantableTasks, queuedTasks } from './queue.ts';
import { findQuantileMs } from './runtimes.ts';

/** Decision 16's states; a node out of contact since a restart counts as joining. */
export type NodeState = 'joining' | 'ready' | 'draining' | 'lost' | 'gone';

export interface NodeView {
  id: NodeId;
  /** Empty, as all that its hello tells, for a node out of contact since a restart. */
  name: string;
  state: NodeState;
  /** Not heard of for so long, or disconnected, that it is given nothing new. */
  suspect: boolean;
  connected: boolean;
  isolation: IsolationLevel | null;
  slots: number;
  /** Slots that have something to run. */
  busy: number;
  cpus: number;
  memoryBytes: number;
  diskBytes: number;
  images: readonly NodeImage[];
  mounts: readonly string[];
  /** Where other nodes reach it; empty when it only dials. */
  peerAddresses: readonly string[];
  /** What its imagery cache held by its latest word. */
  holdings: { assets: number; bytes: number };
  namespaces: readonly NamespaceName[] | null;
  instance: InstanceId | null;
  pid: number | null;
  software: string;
  joinedAtMs: number;
  heardAtMs: number;
  /** Attempts, running and waiting on the node. */
  held: number;
  /** Since when it holds nothing; null while it holds something or is no more. */
  idleSinceMs: number | null;
  drainingBy: 'node' | 'operator' | 'autoscaler' | null;
  /** Why it drains, as whoever asked has said; null when it does not drain. */
  drainReason: string | null;
  /** Why it is paused as a black hole; null when it is not. */
  quarantined: string | null;
  load: number;
  memoryFreeBytes: number;
  diskFreeBytes: number;
  story: readonly StoryLine[];
}

/** Every node that is, then the latest that were, in order of joining and of leaving. */
export function describeNodes(state: CoordinatorState): NodeView[] {
  const present = [...state.nodes.values()].map((node) => describeNode(state, node));
  return [...present, ...[...state.departed.values()].map(describeDeparted)];
}

/** The live part of a task that has no outcome yet. */
export type TaskView =
  | {
      state: 'queued';
      group: GroupId;
      submittedAtMs: number;
      /** Attempts made so far. */
      attempts: number;
      /** When its next attempt may begin, when it pauses between attempts; else null. */
      notBeforeMs: number | null;
    }
  | {
      state: 'running';
      group: GroupId;
      submittedAtMs: number;
      attempt: number;
      node: NodeId;
      grantedAtMs: number;
      /** Null while it waits in its node's queue. */
      startedAtMs: number | null;
      cancelAsked: boolean;
    };

/** What a task is doing; undefined when it is done or never was (the store knows which). */
export function describeTask(state: CoordinatorState, ref: TaskRef): TaskView | undefined {
  const task = state.tasks.get(taskKey(ref));
  if (task !== undefined) return describeOpenTask(task);
  const batch = findBatchOfFresh(state, ref);
  if (batch === undefined) return undefined;
  const { group, submittedAtMs } = batch;
  return { state: 'queued', group: group.id, submittedAtMs, attempts: 0, notBeforeMs: null };
}

export interface GroupCounts {
  queued: number;
  running: number;
  succeeded: number;
  failed: number;
}

/** A group's counters; undefined when only the store knows it. */
export function groupCounts(state: CoordinatorState, id: GroupId): GroupCounts | undefined {
  const group = state.groups.get(id);
  if (group === undefined) return undefined;
  const { running, succeeded, failed } = group;
  return { queued: queuedTasks(group), running, succeeded, failed };
}

export interface MeshCounts {
  tasks: GroupCounts;
  /** Groups that take tasks. */
  groups: number;
}

/** Counters of one namespace, or of all; counts of terminated groups leave with them. */
export function meshCounts(state: CoordinatorState, namespace: NamespaceName | null): MeshCounts {
  const tasks: GroupCounts = { queued: 0, running: 0, succeeded: 0, failed: 0 };
  let groups = 0;
  for (const group of state.groups.values()) {
    if (namespace !== null && group.namespace.name !== namespace) continue;
    if (group.state === 'running') groups += 1;
    tasks.queued += queuedTasks(group);
    tasks.running += group.running;
    tasks.succeeded += group.succeeded;
    tasks.failed += group.failed;
  }
  return { tasks, groups };
}

/** What one group would like to have of the mesh. */
export interface DemandRow {
  group: GroupId;
  namespace: NamespaceName;
  priority: number;
  imageDigest: ImageDigest;
  isolationMin: IsolationLevel;
  network: boolean;
  cpus: number;
  memoryBytes: number;
  /** Queued tasks that could run now if there were room: no pause, no limit of the group in the way. */
  runnable: number;
  /** Queued tasks that only the group's own limit may keep from running: none that pauses. */
  ready: number;
  /** All queued tasks. */
  queued: number;
  running: number;
  /** Mean runtime; null while nothing was measured. */
  runtimeMs: number | null;
  /** `runnable` in seconds of work; null while nothing was measured. */
  workSeconds: number | null;
  /** Quantiles of its runtimes; null while nothing was measured. */
  runtimeP50Ms: number | null;
  runtimeP90Ms: number | null;
  /** How long its running attempts have been granted, on average; 0 when none is. */
  runningForMs: number;
  /** How many tasks the group may run at once in all; null for any number. */
  maximumConcurrency: number | null;
}

/** What the queue asks for, group by group, for the autoscaler; groups with nothing to do are left out. */
export function demand(state: CoordinatorState): DemandRow[] {
  const rows: DemandRow[] = [];
  for (const group of state.groups.values()) {
    const queued = queuedTasks(group);
    if (queued === 0 && group.running === 0) continue;
    const ready = grantableTasks(group);
    const runnable = Math.min(ready, concurrencyLeft(group));
    const { spec, runtimeMs } = group;
    rows.push({
      group: group.id,
      namespace: group.namespace.name,
      priority: spec.priority,
      imageDigest: spec.imageDigest,
      isolationMin: spec.isolationMin,
      network: spec.network,
      cpus: spec.cpus,
      memoryBytes: spec.memoryBytes,
      runnable,
      ready,
      queued,
      running: group.running,
      runtimeMs,
      runtimeP50Ms: findQuantileMs(group.runtimes, 0.5),
      runtimeP90Ms: findQuantileMs(group.runtimes, 0.9),
      runningForMs:
        group.running === 0 ? 0 : Math.max(0, state.nowMs - group.grantedAtSumMs / group.running),
      workSeconds: runtimeMs === null ? null : (runnable * runtimeMs) / 1000,
      maximumConcurrency: spec.maximumConcurrency,
    });
  }
  return rows;
}

/** When `clockTicked` is due at the latest, in the past when it is; null when nothing waits for time. */
export function nextWakeMs(state: CoordinatorState): number | null {
  if (state.sweeps.length > 0) return state.nowMs;
  const timerMs = state.timers[0]?.atMs ?? Number.POSITIVE_INFINITY;
  const leaseMs = state.nodes.size > 0 ? state.leaseCheckMs : Number.POSITIVE_INFINITY;
  const wakeMs = Math.min(timerMs, leaseMs);
  return Number.isFinite(wakeMs) ? wakeMs : null;
}

/** The batch of a task that was never granted and has no outcome. */
export function findBatchOfFresh(state: CoordinatorState, ref: TaskRef): Batch | undefined {
  const batch = state.batches.get(ref.batch);
  if (batch === undefined || ref.index < batch.next || ref.index >= batch.count) return undefined;
  return batch.takenAhead.has(ref.index) ? undefined : batch;
}

/** Slots of nodes that take work, and how many of them have some; for status lines. */
export function countSlots(state: CoordinatorState): { total: number; busy: number } {
  let busy = 0;
  for (const node of state.nodes.values()) {
    if (isServing(node)) busy += busySlots(node, node.profile);
  }
  return { total: state.readySlots, busy };
}

function describeNode(state: CoordinatorState, node: CoreNode): NodeView {
  return {
    ...describeProfile(node.profile),
    id: node.id,
    state: node.phase.kind === 'lostContact' ? 'joining' : node.phase.kind,
    suspect: isSuspect(state, node),
    connected: node.session !== null,
    busy: busySlots(node, node.profile),
    namespaces: node.namespaces === null ? null : [...node.namespaces],
    joinedAtMs: node.joinedAtMs,
    heardAtMs: node.heardAtMs,
    held: node.held.size,
    idleSinceMs: node.idleSinceMs,
    drainingBy: node.phase.kind === 'draining' ? node.phase.by : null,
    drainReason: node.phase.kind === 'draining' ? node.phase.reason : null,
    quarantined: node.quarantine?.text ?? null,
    load: node.load,
    memoryFreeBytes: node.memoryFreeBytes,
    diskFreeBytes: node.diskFreeBytes,
    holdings: describeHoldings(node),
    story: node.story,
  };
}

function describeDeparted(node: DepartedNode): NodeView {
  return {
    ...describeProfile(node.profile),
    id: node.id,
    state: node.phase,
    suspect: false,
    connected: false,
    busy: 0,
    namespaces: node.namespaces === null ? null : [...node.namespaces],
    joinedAtMs: node.joinedAtMs,
    heardAtMs: node.heardAtMs,
    held: 0,
    idleSinceMs: null,
    drainingBy: null,
    drainReason: null,
    quarantined: node.quarantine?.text ?? null,
    load: 0,
    memoryFreeBytes: 0,
    diskFreeBytes: 0,
    holdings: { assets: 0, bytes: 0 },
    story: node.story,
  };
}

function describeProfile(profile: NodeProfile | null) {
  return {
    name: profile?.name ?? '',
    isolation: profile?.isolation ?? null,
    slots: profile?.capacity.slots ?? 0,
    cpus: profile?.capacity.cpus ?? 0,
    memoryBytes: profile?.capacity.memoryBytes ?? 0,
    diskBytes: profile?.capacity.diskBytes ?? 0,
    images: profile?.images ?? [],
    mounts: profile?.mounts ?? [],
    peerAddresses: profile?.peerAddresses ?? [],
    instance: profile?.instance ?? null,
    pid: profile?.pid ?? null,
    software: profile?.software ?? '',
  };
}

/** What the node's imagery cache holds, in all. */
export function describeHoldings(node: CoreNode): NodeView['holdings'] {
  let bytes = 0;
  for (const held of node.holdings.values()) bytes += held;
  return { assets: node.holdings.size, bytes };
}

function busySlots(node: CoreNode, profile: NodeProfile | null): number {
  return Math.min(node.held.size, profile?.capacity.slots ?? 0);
}

function describeOpenTask(task: OpenTask): TaskView {
  const group: Group = task.batch.group;
  const { submittedAtMs } = task.batch;
  if (task.place.kind === 'held') {
    return {
      state: 'running',
      group: group.id,
      submittedAtMs,
      attempt: task.attempt,
      node: task.node,
      grantedAtMs: task.grantedAtMs,
      startedAtMs: task.startedAtMs,
      cancelAsked: task.place.cancelAsked,
    };
  }
  const notBeforeMs = task.place.kind === 'backoff' ? task.place.notBeforeMs : null;
  return { state: 'queued', group: group.id, submittedAtMs, attempts: task.attempt, notBeforeMs };
}
