/** Which node may run what. */
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import { isAtLeast } from '../../protocol/wire/task.ts';
import type { CoordinatorState, CoreNode, Group, NodeProfile } from './entities.ts';
import type { KnownImage } from './events.ts';

/** Sums of fractional cpus, such as ten tenths, may miss the whole by a hair. */
const cpuTolerance = 1e-6;

/** Why a node can never run a group's tasks as it is now; undefined when it can. */
export type Unfit =
  | 'namespace'
  | 'image'
  | 'processor'
  | 'isolation'
  | 'network'
  | 'cpus'
  | 'memory';

/** What stands between a node and a group for good; undefined when nothing does. */
export function findUnfit(
  state: CoordinatorState,
  node: CoreNode,
  group: Group,
): Unfit | undefined {
  const { profile } = node;
  const { spec } = group;
  if (profile === null) return 'image';
  if (!hasImage(node, group)) {
    if (isForAnother(state, profile, spec.imageDigest)) return 'processor';
    if (!canFetch(state, spec.imageDigest, profile)) return 'image';
  }
  if (node.namespaces !== null && !node.namespaces.has(spec.namespace)) return 'namespace';
  if (!isAtLeast(profile.isolation, spec.isolationMin)) return 'isolation';
  if (spec.network && !profile.network) return 'network';
  if (spec.cpus > profile.capacity.cpus + cpuTolerance) return 'cpus';
  if (spec.memoryBytes > profile.capacity.memoryBytes) return 'memory';
  return undefined;
}

/** Whether a node has a group's image already. */
export function hasImage(node: CoreNode, group: Group): boolean {
  return node.profile?.digests.has(group.spec.imageDigest) === true;
}

/** A node that ran a task has the task's image, whatever its hello said. */
export function learnImage(node: CoreNode, group: Group): void {
  node.profile?.digests.add(group.spec.imageDigest);
}

/**
 * An image that a node without it could fetch: from the coordinator, or, as it is, from a node that
 * works for every namespace and can be dialled.
 */
export function findFetchable(
  state: CoordinatorState,
  digest: ImageDigest,
): KnownImage | undefined {
  const known = state.images.get(digest);
  if (known !== undefined) return known;
  for (const { profile, session, namespaces } of state.nodes.values()) {
    if (profile === null || session === null || namespaces !== null) continue;
    if (profile.peerAddresses.length === 0 || !profile.digests.has(digest)) continue;
    // Layers have no names on nodes, and are the coordinator's to give.
    const image = profile.images.find((own) => own.digest === digest && own.names.length > 0);
    if (image !== undefined) return { ...image, base: null };
  }
  return undefined;
}

/** Whether an image is for another processor than the node's, as far as the node has said its own. */
function isForAnother(state: CoordinatorState, profile: NodeProfile, digest: ImageDigest): boolean {
  const image = findFetchable(state, digest);
  return image !== undefined && profile.arch !== null && profile.arch !== image.arch;
}

function canFetch(state: CoordinatorState, digest: ImageDigest, profile: NodeProfile): boolean {
  const image = findFetchable(state, digest);
  if (image === undefined) return false;
  return image.base === null || profile.digests.has(image.base) || state.images.has(image.base);
}

/** Whether a node takes new work at all: connected, heard lately, ready, not paused. */
export function isReceiving(state: CoordinatorState, node: CoreNode): boolean {
  return isServing(node) && !isSuspect(state, node);
}

/** Whether a node would take new work if it were heard. */
export function isServing(node: CoreNode): boolean {
  return node.phase.kind === 'ready' && node.session !== null && node.quarantine === null;
}

/** Whether a node has been silent for so long that it is given nothing new. */
export function isSuspect(state: CoordinatorState, node: CoreNode): boolean {
  return node.session === null || state.nowMs - node.heardAtMs > state.settings.suspectMs;
}

/** Whether another receiving node than this one could run the group's tasks. */
export function hasAlternative(state: CoordinatorState, node: CoreNode, group: Group): boolean {
  for (const other of state.nodes.values()) {
    if (other === node || !isReceiving(state, other)) continue;
    if (findUnfit(state, other, group) === undefined) return true;
  }
  return false;
}

/**
 * How many more tasks of a group fit on a node beside those of its held tasks that count: all of
 * them, or only those that occupy their place for long.
 */
export function placesBeside(
  node: CoreNode,
  group: Group,
  counts: (held: Group) => boolean,
): number {
  if (node.profile === null) return 0;
  const { capacity } = node.profile;
  let { slots, memoryBytes } = capacity;
  let cpus = capacity.cpus + cpuTolerance;
  for (const [held, count] of node.heldByGroup) {
    if (!counts(held)) continue;
    slots -= count;
    cpus -= held.spec.cpus * count;
    memoryBytes -= held.spec.memoryBytes * count;
  }
  const { spec } = group;
  const places = Math.min(
    slots,
    spec.cpus > 0 ? cpus / spec.cpus : Number.POSITIVE_INFINITY,
    spec.memoryBytes > 0 ? memoryBytes / spec.memoryBytes : Number.POSITIVE_INFINITY,
  );
  return Math.max(0, Math.floor(places));
}

/** Counts a node's slots again, alone; called whenever it may have begun or ceased to serve. */
export function countReadySlots(state: CoordinatorState, node: CoreNode): void {
  const isThere = state.nodes.get(node.id) === node;
  const slots = isThere && isServing(node) ? (node.profile?.capacity.slots ?? 0) : 0;
  state.readySlots += slots - node.slotsCounted;
  node.slotsCounted = slots;
}
