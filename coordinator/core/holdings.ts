/**
 * Which node holds which assets. A node tells the whole once, then numbered changes; when a number is
 * missing it is asked for the whole again, and what was known stands until then: placement by it may be
 * worse for a moment, never wrong.
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

/** What the node holds now, or how that changed. */
export function takeHoldings(turn: Turn, node: CoreNode, event: Event<'holdingsTold'>): void {
  const { state } = turn;
  const follows =
    node.holdingsTold?.epoch === event.epoch && node.holdingsTold.sequence + 1 === event.sequence;
  if (!event.full && !follows) {
    // Asked once: until everything has come, further changes are of no use.
    if (node.holdingsTold === null) return;
    node.holdingsTold = null;
    turn.effects.push({ kind: 'sendHoldingsAsked', node: node.id, session: event.session });
    return;
  }
  if (event.full) forgetHoldings(state, node);
  node.holdingsTold = { epoch: event.epoch, sequence: event.sequence };
  for (const asset of event.drop) drop(state, node, asset);
  for (const { asset, bytes } of event.add) {
    if (node.holdings.size >= state.settings.nodeHoldingsMax && !node.holdings.has(asset)) break;
    hold(state, node, { asset, bytes });
  }
}

/** Nothing is known of what the node holds; it is no more, or tells the whole again. */
export function forgetHoldings(state: CoordinatorState, node: CoreNode): void {
  for (const asset of [...node.holdings.keys()]) drop(state, node, asset);
  node.holdingsTold = null;
}

/**
 * Bytes that a node would fetch to run a task that reads these assets. What more than half of the nodes
 * hold tells no node from another, and counts for nothing.
 */
export function missingBytes(
  state: CoordinatorState,
  node: CoreNode,
  assets: readonly AssetId[],
): number {
  let missing = 0;
  for (const asset of assets) {
    if (node.holdings.has(asset)) continue;
    const holders = state.holders.get(asset);
    if (holders !== undefined && holders.size * 2 > state.nodes.size) continue;
    missing += assetBytes(state, holders, asset);
  }
  return missing;
}

function assetBytes(
  state: CoordinatorState,
  holders: ReadonlySet<CoreNode> | undefined,
  asset: AssetId,
): number {
  const [holder] = holders ?? [];
  return holder?.holdings.get(asset) ?? state.settings.assetBytesGuess;
}

function hold(
  state: CoordinatorState,
  node: CoreNode,
  held: { asset: AssetId; bytes: number },
): void {
  const { asset, bytes } = held;
  drop(state, node, asset);
  node.holdings.set(asset, bytes);
  const holders = state.holders.get(asset);
  if (holders === undefined) {
    state.holders.set(asset, new Set([node]));
    node.uniqueBytes += bytes;
    return;
  }
  const [first] = holders;
  if (holders.size === 1 && first !== undefined) first.uniqueBytes -= bytesOf(first, asset);
  holders.add(node);
}

function drop(state: CoordinatorState, node: CoreNode, asset: AssetId): void {
  const bytes = bytesOf(node, asset);
  if (!node.holdings.delete(asset)) return;
  const holders = state.holders.get(asset);
  holders?.delete(node);
  const [first] = holders ?? [];
  if (holders === undefined || first === undefined) {
    state.holders.delete(asset);
    node.uniqueBytes -= bytes;
  } else if (holders.size === 1) first.uniqueBytes += bytesOf(first, asset);
}

function bytesOf(node: CoreNode, asset: AssetId): number {
  return node.holdings.get(asset) ?? 0;
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
