/**
 * What nodes have: images, and the imagery in their caches. Holdings are told whole once a session,
 * then by numbered changes; where one is missing, the node is asked for all of it again.
 */
import type { AssetId, ImageDigest, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import { locatedNodesMax } from '../../protocol/wire/limits.ts';
import type { LocatedNode } from '../../protocol/wire/messages.ts';
import type { CoordinatorState, CoreNode } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import type { Turn } from './turn.ts';
import { tell } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

/** The node has other images: what waits for one of them may go there now. */
export function takeImages(turn: Turn, node: CoreNode, event: Event<'imagesChanged'>): void {
  if (node.profile === null) return;
  const digests = new Set(event.images.map((image) => image.digest));
  node.profile = { ...node.profile, images: event.images, digests };
  tell(turn, node, `Has ${event.images.length} images.`);
  turn.wakeAll = true;
}

/** The node's cache has changed. */
export function takeHoldings(turn: Turn, node: CoreNode, event: Event<'holdingsTold'>): void {
  const { epoch, sequence } = event;
  if (event.full) node.holdings.clear();
  else if (!continues(node, event)) {
    // Asked once: until everything has come, further changes are of no use.
    if (node.holdingsAt === null || node.session === null) return;
    node.holdingsAt = null;
    turn.effects.push({ kind: 'sendHoldingsAsked', node: node.id, session: node.session });
    return;
  }
  for (const asset of event.drop) node.holdings.delete(asset);
  for (const { asset, bytes } of event.add) node.holdings.set(asset, bytes);
  node.holdingsAt = { epoch, sequence };
}

function continues(node: CoreNode, event: Event<'holdingsTold'>): boolean {
  const at = node.holdingsAt;
  return at !== null && at.epoch === event.epoch && at.sequence + 1 === event.sequence;
}

/** What a node may ask for. */
export interface LocateQuery {
  readonly images: readonly ImageDigest[];
  readonly assets: readonly AssetId[];
  readonly peers: readonly NodeId[];
}

/**
 * Nodes that are there, share a namespace with the asking one, and have something of what it asks
 * for or are asked for by name; the least loaded first, at most `locatedNodesMax`. A pure look.
 */
export function locateNodes(
  state: CoordinatorState,
  from: NodeId,
  query: LocateQuery,
): LocatedNode[] {
  const asking = state.nodes.get(from);
  if (asking === undefined) return [];
  const peers = new Set(query.peers);
  const found: { node: CoreNode; located: LocatedNode }[] = [];
  for (const node of state.nodes.values()) {
    const { profile } = node;
    if (node === asking || node.session === null || profile === null) continue;
    if (!sharesNamespace(asking.namespaces, node.namespaces)) continue;
    const images = query.images.filter((digest) => profile.digests.has(digest));
    const assets = query.assets.filter((asset) => node.holdings.has(asset));
    if (images.length === 0 && assets.length === 0 && !peers.has(node.id)) continue;
    const namespaces = node.namespaces === null ? null : [...node.namespaces];
    const addresses = [...profile.peerAddresses];
    found.push({ node, located: { node: node.id, addresses, namespaces, images, assets } });
  }
  return found
    .sort((one, other) => one.node.load - other.node.load)
    .slice(0, locatedNodesMax)
    .map(({ located }) => located);
}

function sharesNamespace(
  one: ReadonlySet<NamespaceName> | null,
  other: ReadonlySet<NamespaceName> | null,
): boolean {
  if (one === null || other === null) return true;
  for (const namespace of one) if (other.has(namespace)) return true;
  return false;
}
