/**
 * Which node holds which assets. A node tells the whole once, then numbered changes; when a number is
 * missing it is asked for the whole again, and what was known stands until then: placement by it may be
 * worse for a moment, never wrong.
 */
import type { AssetId } from '../../protocol/wire/ids.ts';
import type { CoordinatorState, CoreNode } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import type { Turn } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

/** What the node holds now, or how that changed. */
export function takeHoldings(turn: Turn, node: CoreNode, event: Event<'holdingsTold'>): void {
  const { state } = turn;
  const follows =
    node.holdingsTold?.epoch === event.epoch && node.holdingsTold.sequence + 1 === event.sequence;
  if (!event.full && !follows) {
    const { session } = event;
    turn.effects.push({ kind: 'sendHoldingsAsked', node: node.id, session });
    return;
  }
  if (event.full) forgetHoldings(state, node);
  node.holdingsTold = { epoch: event.epoch, sequence: event.sequence };
  for (const asset of event.drop) drop(state, node, asset);
  for (const { asset, bytes } of event.add) {
    if (node.holdings.size >= state.settings.nodeHoldingsMax && !node.holdings.has(asset)) break;
    node.holdings.set(asset, bytes);
    const holders = state.holders.get(asset);
    if (holders === undefined) state.holders.set(asset, new Set([node]));
    else holders.add(node);
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

function drop(state: CoordinatorState, node: CoreNode, asset: AssetId): void {
  if (!node.holdings.delete(asset)) return;
  const holders = state.holders.get(asset);
  holders?.delete(node);
  if (holders?.size === 0) state.holders.delete(asset);
}
