/** From the core's state to what the plan looks at. */
import type { ImageDigest, InstanceId } from '../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import type { CoordinatorState, CoreNode, DepartedNode } from '../core/entities.ts';
import type { StoredInstance } from '../store/port.ts';
import type { FleetInstance, FleetNode, OtherCapacity } from './plan.ts';

/** The instances of the store with their nodes. */
export function listFleetInstances(
  state: CoordinatorState,
  rows: readonly StoredInstance[],
): FleetInstance[] {
  const nodes = new Map<InstanceId, FleetNode>();
  for (const node of state.departed.values()) {
    const instance = node.profile?.instance;
    if (instance != null) nodes.set(instance, departedNode(node));
  }
  for (const node of state.nodes.values()) {
    const instance = node.profile?.instance;
    if (instance != null) nodes.set(instance, presentNode(node));
  }
  return rows.map((row) => {
    const instance = row.instance as InstanceId;
    return {
      instance,
      pool: row.pool,
      // After a restart a node has as long to come back as a new one has to join.
      requestedAtMs: Math.max(row.requestedAtMs, state.startedAtMs),
      node: nodes.get(instance) ?? null,
    };
  });
}

/** Nodes that no instance of these rows made: work that fits there needs no machine. */
export function listOtherCapacity(
  state: CoordinatorState,
  rows: readonly StoredInstance[],
): OtherCapacity[] {
  const made = new Set<string>(rows.map((row) => row.instance));
  const others: OtherCapacity[] = [];
  for (const { profile, phase, session, quarantine, namespaces } of state.nodes.values()) {
    if (profile === null || phase.kind !== 'ready' || session === null) continue;
    if (quarantine !== null || (profile.instance !== null && made.has(profile.instance))) continue;
    const { slots, cpus, memoryBytes } = profile.capacity;
    others.push({
      slots,
      cpus,
      memoryBytes,
      isolation: profile.isolation,
      images: profile.images.map((image): ImageDigest => image.digest),
      namespaces: namespaces === null ? null : [...namespaces],
    });
  }
  return others;
}

/** How well a node of these rows isolates; undefined while none is there. */
export function findIsolation(
  state: CoordinatorState,
  rows: readonly StoredInstance[],
): IsolationLevel | undefined {
  const made = new Set<string>(rows.map((row) => row.instance));
  for (const { profile } of state.nodes.values()) {
    if (profile?.instance != null && made.has(profile.instance)) return profile.isolation;
  }
  return undefined;
}

function presentNode(node: CoreNode): FleetNode {
  const { phase } = node;
  return {
    node: node.id,
    state: phase.kind === 'lostContact' ? 'joining' : phase.kind,
    drainingBy: phase.kind === 'draining' ? phase.by : null,
    held: node.held.size,
    idleSinceMs: node.idleSinceMs,
    sinceMs: phase.kind === 'draining' ? phase.sinceMs : node.joinedAtMs,
    isPaused: node.quarantine !== null,
  };
}

function departedNode(node: DepartedNode): FleetNode {
  return {
    node: node.id,
    state: node.phase,
    drainingBy: null,
    held: 0,
    idleSinceMs: node.atMs,
    sinceMs: node.atMs,
    isPaused: node.quarantine !== null,
  };
}
