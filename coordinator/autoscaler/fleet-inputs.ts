/** From the core's state to what the fleet looks at. */
import type { ImageDigest, InstanceId } from '../../protocol/wire/ids.ts';
import type { CoordinatorState, CoreNode, DepartedNode } from '../core/entities.ts';
import type { SeenNode } from './lifecycle/state.ts';
import type { OtherCapacity } from './plan/inputs.ts';

/** Every node that names an instance; times are moved from the core's clock to the fleet's. */
export function listInstanceNodes(
  state: CoordinatorState,
  nowMs: number,
): { instance: InstanceId; node: SeenNode }[] {
  const shiftMs = nowMs - state.nowMs;
  const nodes: { instance: InstanceId; node: SeenNode }[] = [];
  for (const node of state.departed.values()) {
    const instance = node.profile?.instance;
    if (instance != null) nodes.push({ instance, node: departedNode(node, shiftMs) });
  }
  for (const node of state.nodes.values()) {
    const instance = node.profile?.instance;
    if (instance != null) nodes.push({ instance, node: presentNode(node, shiftMs) });
  }
  return nodes;
}

/** Nodes that no instance of these made: work that fits there needs no machine. */
export function listOtherCapacity(
  state: CoordinatorState,
  made: ReadonlySet<string>,
): OtherCapacity[] {
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
      network: profile.network,
      images: profile.images.map((image): ImageDigest => image.digest),
      namespaces: namespaces === null ? null : [...namespaces],
    });
  }
  return others;
}

function presentNode(node: CoreNode, shiftMs: number): SeenNode {
  const { phase } = node;
  return {
    node: node.id,
    state: phase.kind === 'lostContact' ? 'joining' : phase.kind,
    drainingBy: phase.kind === 'draining' ? phase.by : null,
    held: node.held.size,
    idleSinceMs: node.idleSinceMs === null ? null : node.idleSinceMs + shiftMs,
    sinceMs: (phase.kind === 'draining' ? phase.sinceMs : node.joinedAtMs) + shiftMs,
    isPaused: node.quarantine !== null,
    uniqueCacheBytes: node.uniqueBytes,
  };
}

function departedNode(node: DepartedNode, shiftMs: number): SeenNode {
  return {
    node: node.id,
    state: node.phase,
    drainingBy: null,
    held: 0,
    idleSinceMs: null,
    sinceMs: node.atMs + shiftMs,
    isPaused: node.quarantine !== null,
    uniqueCacheBytes: 0,
  };
}
