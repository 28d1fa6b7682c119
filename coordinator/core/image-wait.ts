/**
 * Images that a node would have to fetch first. Nodes that have a group's image are preferred for a
 * bounded while: as long as the fetch takes at most, counted from the submission of the group's oldest
 * task, so that a queue that does not get shorter spreads to other nodes and none waits for ever.
 */
import { findFetchable, hasImage, isReceiving } from './eligibility.ts';
import type { CoreNode, Group } from './entities.ts';
import { findFreshHead } from './queue.ts';
import { addPlacementTimer } from './timers.ts';
import type { Turn } from './turn.ts';

/** Whether a node lacks a group's image while others that have it may still do. */
export function isFetchPremature(turn: Turn, node: CoreNode, group: Group): boolean {
  if (hasImage(node, group)) return false;
  const { state, now } = turn;
  const head = findFreshHead(group);
  if (head === undefined || !isElsewhere(turn, group)) return false;
  const { fetchBytesPerMs, imageWaitMsMax } = state.settings;
  const sizeBytes = findFetchable(state, group.spec.imageDigest)?.sizeBytes ?? 0;
  const untilMs = head.submittedAtMs + Math.min(imageWaitMsMax, sizeBytes / fetchBytesPerMs);
  if (untilMs <= now) return false;
  addPlacementTimer(state, group, untilMs);
  return true;
}

function isElsewhere(turn: Turn, group: Group): boolean {
  for (const node of turn.state.nodes.values()) {
    if (hasImage(node, group) && isReceiving(turn.state, node)) return true;
  }
  return false;
}
