/**
 * A task that needs most of a node would be passed for ever by small ones that fit beside what runs.
 * When it has been passed for too long, one node is kept for it: it takes nothing else until then.
 */
import { concurrencyLeft, placesBesideLong } from './credit.ts';
import { isServing } from './eligibility.ts';
import type { CoordinatorState, CoreNode, Group } from './entities.ts';
import { findFreshHead, grantableTasks } from './queue.ts';
import type { Turn } from './turn.ts';
import { tell } from './turn.ts';

/** Whether a group's task has no place on this node only because of what runs there. */
export function lacksRoom(state: CoordinatorState, node: CoreNode, group: Group): boolean {
  return concurrencyLeft(group) > 0 && placesBesideLong(state, node, group) === 0;
}

/** Another group was granted although it was this one's turn: too often, and the node is kept for it. */
export function passOver(turn: Turn, node: CoreNode, group: Group): void {
  if (group.reservedOn !== null || node.reservedFor !== null) return;
  // Something of its own runs: it is not starved, it has its share.
  if (group.running > 0) return;
  const since = findFreshHead(group)?.submittedAtMs ?? retriedSince(group);
  if (since === undefined || turn.now - since <= turn.state.settings.reserveAfterMs) return;
  node.reservedFor = group;
  group.reservedOn = node;
  tell(turn, node, `Kept free for a task of ${group.spec.name} that needs more room.`);
}

/** The group got its task, or wants none any more. */
export function releaseReservation(group: Group): void {
  if (group.reservedOn === null) return;
  group.reservedOn.reservedFor = null;
  group.reservedOn = null;
}

/** Ends reservations that have lost their reason: no node is kept for nothing. */
export function checkReservation(turn: Turn, node: CoreNode): void {
  const group = node.reservedFor;
  if (group === null) return;
  if (grantableTasks(group) > 0 && isServing(node) && concurrencyLeft(group) > 0) return;
  releaseReservation(group);
  turn.wakeNodes.add(node);
}

function retriedSince(group: Group): number | undefined {
  const place = group.retries[0]?.place;
  return place?.kind === 'runnable' ? place.sinceMs : undefined;
}
