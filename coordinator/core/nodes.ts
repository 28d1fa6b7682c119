/**
 * Nodes and their sessions.
 *
 * (hello) → joining. joining → ready: it pulled. joining, ready → draining: it, an operator or the
 * autoscaler asked. draining → ready: undrained; → joining when it last pulled nothing. ready →
 * joining: a new session, until it pulls in that. Any → lost: its lease ran out or its machine
 * ended. Any → gone: it said goodbye. lost, gone → joining: it is back. After a restart of the
 * coordinator nodes that hold attempts begin as lostContact: their hello makes them joining, their
 * lease runs from the restart. A node whose connection is cut keeps its phase.
 */
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { Hello } from '../../protocol/wire/messages.ts';
import { countReadySlots, isSuspect } from './eligibility.ts';
import type { CoordinatorState, CoreNode, NodeProfile, OpenTask } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { chargeUsage } from './fair-share.ts';
import { forgetHoldings } from './holdings.ts';
import { hear } from './leases.ts';
import { readopt } from './places.ts';
import { findAdoptable, findHeld } from './reports.ts';
import { loseAttempt } from './retries.ts';
import type { Turn } from './turn.ts';
import { tell } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;
type NodeId = CoreNode['id'];

/** The node that an event of a session is from; undefined when the session no longer stands. */
export function findBySession(
  state: CoordinatorState,
  from: Pick<Event<'nodePulled'>, 'node' | 'session'>,
): CoreNode | undefined {
  const node = state.nodes.get(from.node);
  return node?.session === from.session ? node : undefined;
}

/** A hello: the node is there, again or for the first time, with what it holds. */
export function takeHello(turn: Turn, event: Event<'nodeJoined'>): void {
  const { hello, session } = event;
  const { nodes, departed } = turn.state;
  const sessionLast = (nodes.get(event.node) ?? departed.get(event.node))?.sessionLast ?? null;
  if (sessionLast !== null && session <= sessionLast) {
    endSession(turn, { node: event.node, session });
    return;
  }
  const node = nodes.get(event.node) ?? returnOrCreate(turn, event.node);
  if (node.session !== null) endSession(turn, { node: node.id, session: node.session });
  node.session = session;
  node.sessionLast = session;
  node.profile = profileOf(hello);
  node.namespaces = event.namespaces === null ? null : new Set(event.namespaces);
  node.heldMax = 0;
  forgetHoldings(turn.state, node);
  hear(turn, node);
  enterSession(turn, node, hello);
  reconcileHeld(turn, node, hello.held);
  countReadySlots(turn.state, node);
}

/** The node's connection closed; its lease goes on. */
export function takeDisconnect(turn: Turn, node: CoreNode): void {
  node.session = null;
  tell(turn, node, 'Its connection closed.');
  countReadySlots(turn.state, node);
}

/** A sign of life; one that was suspect is given work again. */
export function takeHeartbeat(turn: Turn, node: CoreNode, event: Event<'heartbeatHeard'>): void {
  if (isSuspect(turn.state, node)) turn.wakeNodes.add(node);
  node.load = event.load;
  node.memoryFreeBytes = event.memoryFreeBytes;
  node.diskFreeBytes = event.diskFreeBytes;
  node.imageryReads = event.imageryReads ?? null;
}

/** How much the node is willing to hold; the first pull makes it ready. */
export function takePull(turn: Turn, node: CoreNode, event: Event<'nodePulled'>): void {
  node.heldMax = Math.max(0, Math.floor(event.heldMax));
  if (node.phase.kind === 'joining') {
    node.phase = { kind: 'ready' };
    tell(turn, node, 'Ready.');
    countReadySlots(turn.state, node);
    // Retries that had no other node to go to may prefer this one from now on.
    turn.wakeAll = true;
  }
  turn.wakeNodes.add(node);
}

function returnOrCreate(turn: Turn, id: NodeId): CoreNode {
  const { state } = turn;
  const departed = state.departed.get(id);
  state.departed.delete(id);
  const node = createNode(id, turn.now);
  if (departed !== undefined) {
    node.sessionLast = departed.sessionLast;
    node.quarantine = departed.quarantine;
    node.story = departed.story;
  }
  state.nodes.set(id, node);
  return node;
}

/** A node that nothing is known of but its id. */
export function createNode(id: NodeId, now: number): CoreNode {
  return {
    id,
    namespaces: null,
    profile: null,
    phase: { kind: 'lostContact' },
    session: null,
    sessionLast: null,
    joinedAtMs: now,
    heardAtMs: now,
    graceGiven: false,
    heldMax: 0,
    held: new Map(),
    slotsCounted: 0,
    heldByGroup: new Map(),
    idleSinceMs: now,
    quarantine: null,
    crashes: new Map(),
    reservedFor: null,
    holdings: new Map(),
    uniqueBytes: 0,
    holdingsTold: null,
    load: 0,
    memoryFreeBytes: 0,
    diskFreeBytes: 0,
    imageryReads: null,
    story: [],
  };
}

function profileOf(hello: Hello): NodeProfile {
  const { slots, cpus, memoryBytes, diskBytes } = hello.capacity;
  return {
    name: hello.nodeName,
    instance: hello.instance,
    capacity: { slots: Math.max(1, Math.floor(slots)), cpus, memoryBytes, diskBytes },
    images: hello.images,
    digests: new Set(hello.images.map((image) => image.digest)),
    isolation: hello.isolation,
    mounts: hello.mounts,
    peerAddresses: hello.peerAddresses,
    imagery: hello.imagery ?? 'none',
    network: hello.network ?? false,
    arch: hello.arch ?? hello.images[0]?.arch ?? null,
    pid: hello.pid,
    software: hello.software,
  };
}

/** A drain that the node does not know of any more is repeated; its own is believed. */
function enterSession(turn: Turn, node: CoreNode, hello: Hello): void {
  const isBack = node.phase.kind !== 'lostContact' || node.story.length > 0;
  tell(turn, node, isBack ? 'Connected again.' : `Joined as ${hello.nodeName}.`);
  if (hello.draining) {
    if (node.phase.kind !== 'draining' || node.phase.by !== 'node') {
      node.phase = { kind: 'draining', by: 'node', reason: '', sinceMs: turn.now };
    }
    return;
  }
  if (node.phase.kind === 'draining' && node.phase.by !== 'node') return;
  node.phase = { kind: 'joining' };
}

function reconcileHeld(turn: Turn, node: CoreNode, held: readonly AttemptRef[]): void {
  const kept = new Map<number, OpenTask>();
  const drop: AttemptRef[] = [];
  for (const attempt of held) {
    const task = findKept(turn, node, attempt);
    if (task === undefined) drop.push(attempt);
    else kept.set(taskKey(attempt), task);
  }
  const missing = [...node.held.values()].filter((task) => !kept.has(task.key));
  const { session } = node;
  if (session === null) return;
  turn.effects.push({
    kind: 'sendWelcome',
    node: node.id,
    session,
    drop,
    kept: [...kept.values()].map(refOf),
  });
  if (node.phase.kind === 'draining' && node.phase.by !== 'node') {
    const { reason } = node.phase;
    turn.effects.push({ kind: 'sendDrain', node: node.id, session, reason });
  }
  cancelAgain(turn, node, kept);
  for (const task of missing) {
    chargeUsage(task.batch.group, turn.now - task.grantedAtMs);
    loseAttempt(turn, task, 'the node came back without it');
  }
}

/** An attempt of the hello that is still the node's, taking back one that was declared lost. */
function findKept(turn: Turn, node: CoreNode, attempt: AttemptRef): OpenTask | undefined {
  const held = findHeld(node, attempt);
  if (held !== undefined) return held;
  const lost = findAdoptable(turn, node, attempt);
  if (lost !== undefined) readopt(lost, node);
  return lost;
}

/** The node may not have heard of cancels that were asked while it was away. */
function cancelAgain(turn: Turn, node: CoreNode, kept: ReadonlyMap<number, OpenTask>): void {
  const attempts: AttemptRef[] = [];
  for (const task of kept.values()) {
    if (task.place.kind !== 'held') continue;
    if (task.batch.group.state === 'terminated') task.place.cancelAsked = true;
    if (task.place.cancelAsked) attempts.push(refOf(task));
  }
  if (attempts.length === 0 || node.session === null) return;
  turn.effects.push({ kind: 'sendCancel', node: node.id, session: node.session, attempts });
}

/** The latest attempt of a task, as the wire has it. */
export function refOf(task: OpenTask): AttemptRef {
  return { batch: task.batch.number, index: task.index, attempt: task.attempt };
}

function endSession(turn: Turn, of: Pick<Event<'nodePulled'>, 'node' | 'session'>): void {
  turn.effects.push({
    kind: 'endSession',
    node: of.node,
    session: of.session,
    code: 'conflict',
    message: 'A newer session of this node has taken over.',
  });
}
