/**
 * Leases. A node holds its attempts for as long as it is heard; `leaseMs` of silence, its machine's
 * end, or its goodbye end them all. A closed connection alone ends nothing: agents reconnect.
 */
import type { InstanceId, NodeId } from '../../protocol/wire/ids.ts';
import { drainEndMs, endLateDrain } from './drain.ts';
import { countReadySlots } from './eligibility.ts';
import type { CoreNode, DepartedNode } from './entities.ts';
import { chargeUsage } from './fair-share.ts';
import { forgetHoldings } from './holdings.ts';
import { releaseReservation } from './reservations.ts';
import { loseAttempt } from './retries.ts';
import type { Turn } from './turn.ts';
import { tell } from './turn.ts';

/** Renews a node's lease: it was heard. */
export function hear(turn: Turn, node: CoreNode): void {
  node.heardAtMs = turn.now;
  node.graceGiven = false;
}

/** Ends the leases, and the drains, that have run out. */
export function checkLeases(turn: Turn): void {
  const { state } = turn;
  if (turn.now < state.leaseCheckMs) return;
  let next = Number.POSITIVE_INFINITY;
  for (const node of [...state.nodes.values()]) {
    if (!isLeaseOver(turn, node)) {
      endLateDrain(turn, node);
      const isHeld = node.held.size > 0;
      const drainMs = isHeld ? drainEndMs(turn, node) : Number.POSITIVE_INFINITY;
      next = Math.min(next, node.heardAtMs + state.settings.leaseMs, drainMs);
      continue;
    }
    const silentMs = turn.now - node.heardAtMs;
    loseNode(turn, node, `nothing was heard of it for ${Math.round(silentMs / 1000)} s`);
  }
  state.leaseCheckMs = Math.min(next, turn.now + state.settings.leaseMs);
}

/** The provider saw the machine end. A node that has not been heard since a restart is known by its id alone. */
export function endInstance(
  turn: Turn,
  ended: { instance: InstanceId; node: NodeId | null },
): void {
  for (const node of [...turn.state.nodes.values()]) {
    const { profile } = node;
    const isOnIt = profile === null ? node.id === ended.node : profile.instance === ended.instance;
    if (isOnIt) loseNode(turn, node, 'its machine ended');
  }
}

/** Forgets a node as lost; everything it held is tried elsewhere. */
export function loseNode(turn: Turn, node: CoreNode, why: string): void {
  tell(turn, node, `Lost: ${why}.`);
  if (node.session !== null) {
    turn.effects.push({
      kind: 'endSession',
      node: node.id,
      session: node.session,
      code: 'unreachable',
      message: `The coordinator gave this node up: ${why}. Connect again.`,
    });
  }
  removeNode(turn, node, { phase: 'lost', why });
}

/** The node said goodbye. What it still held, against its word, is lost. */
export function leaveNode(turn: Turn, node: CoreNode): void {
  tell(turn, node, node.held.size === 0 ? 'Left.' : `Left with ${node.held.size} attempts.`);
  removeNode(turn, node, { phase: 'gone', why: 'it left' });
}

/** An attempt that its node does not have any more. */
export function loseHeld(turn: Turn, node: CoreNode, why: string): void {
  for (const task of [...node.held.values()]) {
    chargeUsage(task.batch.group, turn.now - task.grantedAtMs);
    loseAttempt(turn, task, why);
  }
}

function removeNode(
  turn: Turn,
  node: CoreNode,
  end: { phase: DepartedNode['phase']; why: string },
): void {
  const { state } = turn;
  // It must not be given back what it is losing.
  node.session = null;
  loseHeld(turn, node, end.why);
  if (node.reservedFor !== null) releaseReservation(node.reservedFor);
  forgetHoldings(state, node);
  state.nodes.delete(node.id);
  state.roomy.delete(node);
  state.departed.set(node.id, {
    id: node.id,
    phase: end.phase,
    atMs: turn.now,
    namespaces: node.namespaces,
    profile: node.profile,
    sessionLast: node.sessionLast,
    joinedAtMs: node.joinedAtMs,
    heardAtMs: node.heardAtMs,
    quarantine: node.quarantine,
    story: node.story,
  });
  const [oldest] = state.departed.keys();
  if (state.departed.size > state.settings.departedNodesMax && oldest !== undefined) {
    state.departed.delete(oldest);
  }
  countReadySlots(state, node);
}

/**
 * When a lease is found over much too late, the coordinator itself was asleep (a stopped process, a
 * slow disk) and heartbeats may be waiting in its sockets: the node gets the suspect time once more.
 */
function isLeaseOver(turn: Turn, node: CoreNode): boolean {
  const { leaseMs, suspectMs } = turn.state.settings;
  const lateMs = turn.now - (node.heardAtMs + leaseMs);
  if (lateMs < 0) return false;
  if (lateMs <= suspectMs || node.graceGiven) return true;
  node.graceGiven = true;
  node.heardAtMs = turn.now - leaseMs + suspectMs;
  return false;
}
