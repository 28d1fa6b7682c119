/**
 * How many tasks a node is given: what fits its free places, and, of short tasks, as much ahead as
 * covers the round trip, by measured time. The agent starts attempts in the order of granting, so
 * what is short only delays what is granted behind it: a long task, or one never measured, may have
 * any place that no other such task occupies. Without that, one namespace's endless short tasks
 * would keep everybody else's first task out.
 */
import { heldAttemptsMax } from '../../protocol/wire/limits.ts';
import { placesBeside } from './eligibility.ts';
import type { CoordinatorState, CoreNode, Group } from './entities.ts';
import { grantableTasks } from './queue.ts';

/** A mean below this is the clock's grain; without a floor, one node would be promised everything. */
export const runtimeFloorMs = 0.01;

/** `spread`: free places only, and no more than the node's share of the group. `full`: all it may hold. */
export type FillMode = 'spread' | 'full';

/** How many more tasks of a group a node may be granted now; 0 when none. */
export function creditFor(
  state: CoordinatorState,
  node: CoreNode,
  options: { group: Group; mode: FillMode },
): number {
  const { group, mode } = options;
  const room = Math.min(node.heldMax, heldAttemptsMax) - node.held.size;
  const open = concurrencyLeft(group);
  if (room <= 0 || open <= 0) return 0;
  const free = placesBeside(node, group, () => true);
  const share = shareOf(state, node, group);
  const wanted =
    mode === 'spread'
      ? Math.min(free, share)
      : Math.max(free, Math.min(ahead(state, node, group), share));
  return Math.max(0, Math.min(wanted, room, open));
}

/** Places of a node for a group that no long task occupies. */
export function placesBesideLong(state: CoordinatorState, node: CoreNode, group: Group): number {
  return placesBeside(node, group, (held) => !isShort(state, held));
}

/** Attempts that a group may still start under its maximum_concurrency. */
export function concurrencyLeft(group: Group): number {
  const { maximumConcurrency } = group.spec;
  return maximumConcurrency === null
    ? Number.POSITIVE_INFINITY
    : Math.max(0, maximumConcurrency - group.running);
}

/** A group's typical runtime with its floor; undefined while nothing was measured. */
export function findRuntimeMs(group: Group): number | undefined {
  return group.typicalMs === null ? undefined : Math.max(group.typicalMs, runtimeFloorMs);
}

/** Whether a group's tasks are known to free their place so soon that others may be granted behind them. */
export function isShort(state: CoordinatorState, group: Group): boolean {
  return group.runtimeMs !== null && group.runtimeMs < state.settings.prefetchShortMs;
}

/** Tasks of a group that may be granted although what the node holds fills its places. */
function ahead(state: CoordinatorState, node: CoreNode, group: Group): number {
  const places = placesBesideLong(state, node, group);
  const runtimeMs = findRuntimeMs(group);
  if (runtimeMs === undefined || !isShort(state, group)) return places;
  let backlogMs = 0;
  let backlog = 0;
  for (const [held, count] of node.heldByGroup) {
    if (!isShort(state, held)) continue;
    backlogMs += (findRuntimeMs(held) ?? 0) * count;
    backlog += count;
  }
  const byTime = Math.floor((state.settings.prefetchMs * places - backlogMs) / runtimeMs);
  return Math.max(0, byTime, 2 * places - backlog);
}

/** What the node may still take of a group if nodes end together: near the end one must not have it all. */
function shareOf(state: CoordinatorState, node: CoreNode, group: Group): number {
  const slots = node.profile?.capacity.slots ?? 0;
  const unfinished = grantableTasks(group) + group.running;
  const share = Math.ceil((unfinished * slots) / Math.max(state.readySlots, slots, 1));
  return Math.max(0, share - (node.heldByGroup.get(group) ?? 0));
}
