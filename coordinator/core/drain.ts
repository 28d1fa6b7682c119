/** Drains: the node takes nothing new, returns what has not started, finishes the rest and leaves. */
import type { AttemptRef, NodeId } from '../../protocol/wire/ids.ts';
import { countReadySlots } from './eligibility.ts';
import type { CoreNode } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { chargeUsage } from './fair-share.ts';
import { liftQuarantine } from './quarantine.ts';
import { releaseReservation } from './reservations.ts';
import { giveBackAttempt } from './retries.ts';
import type { Turn } from './turn.ts';
import { refuse, respondDone, tell } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

/** Someone wants the node to stop. */
export function takeDrain(turn: Turn, event: Event<'nodeDrainAsked'>): void {
  const node = turn.state.nodes.get(event.node);
  if (node === undefined) {
    refuseUnknown(turn, event);
    return;
  }
  respondDone(turn, event.request);
  // The node's own wish outlasts everybody else's: its process is going to exit.
  if (node.phase.kind === 'draining' && (node.phase.by === 'node' || event.by !== 'node')) return;
  const { by, reason } = event;
  node.phase = { kind: 'draining', by, reason, sinceMs: turn.now };
  if (node.reservedFor !== null) releaseReservation(node.reservedFor);
  countReadySlots(turn.state, node);
  tell(
    turn,
    node,
    reason === '' ? `Draining, asked by the ${by}.` : `Draining, asked by the ${by}: ${reason}`,
  );
  // A drain in its last moments may find the time over already.
  turn.state.leaseCheckMs = Math.min(
    turn.state.leaseCheckMs,
    turn.now + turn.state.settings.drainMsMax,
  );
  if (node.session === null) return;
  turn.effects.push({ kind: 'sendDrain', node: node.id, session: node.session, reason });
}

/**
 * What a draining node has not finished in time is run elsewhere: nobody waits for ever for a machine
 * that is to go. The attempt is not charged, and the node is told to end it.
 */
export function endLateDrain(turn: Turn, node: CoreNode): void {
  if (!isDrainLate(turn, node) || node.held.size === 0) return;
  const why = `its node drained for ${Math.round(turn.state.settings.drainMsMax / 1000)} s`;
  tell(turn, node, `Gives back ${node.held.size} attempts: ${why}.`);
  const attempts: AttemptRef[] = [];
  for (const task of [...node.held.values()]) {
    attempts.push({ batch: task.batch.number, index: task.index, attempt: task.attempt });
    chargeUsage(task.batch.group, turn.now - task.grantedAtMs);
    giveBackAttempt(turn, task, why);
  }
  if (node.session === null) return;
  turn.effects.push({ kind: 'sendCancel', node: node.id, session: node.session, attempts });
}

/** When a drain of the node is over at the latest; infinite for one that does not drain. */
export function drainEndMs(turn: Turn, node: CoreNode): number {
  if (node.phase.kind !== 'draining') return Number.POSITIVE_INFINITY;
  return node.phase.sinceMs + turn.state.settings.drainMsMax;
}

function isDrainLate(turn: Turn, node: CoreNode): boolean {
  return turn.now >= drainEndMs(turn, node);
}

/** The drain is off, and a pause as a black hole with it. */
export function takeUndrain(turn: Turn, event: Event<'nodeUndrainAsked'>): void {
  const node = turn.state.nodes.get(event.node);
  if (node === undefined) {
    refuseUnknown(turn, event);
    return;
  }
  if (node.phase.kind === 'draining' && node.phase.by === 'node') {
    refuse(turn, event.request, {
      code: 'conflict',
      message: 'The node itself is stopping; that cannot be called off from here.',
      fix: 'Start the agent again on its machine.',
    });
    return;
  }
  respondDone(turn, event.request);
  liftQuarantine(turn, node);
  if (node.phase.kind === 'draining') undrain(turn, node);
  turn.wakeNodes.add(node);
}

function undrain(turn: Turn, node: CoreNode): void {
  // What it pulled last still stands: it says so when that changes, and a pull of nothing that is
  // on its way is followed by one of something. A node that never pulled goes on joining.
  node.phase = { kind: node.heldMax > 0 ? 'ready' : 'joining' };
  countReadySlots(turn.state, node);
  tell(turn, node, 'The drain was called off.');
  if (node.session === null) return;
  turn.effects.push({ kind: 'sendUndrain', node: node.id, session: node.session });
}

function refuseUnknown(turn: Turn, event: { request: number | null; node: NodeId }): void {
  const departed = turn.state.departed.get(event.node);
  refuse(turn, event.request, {
    code: departed === undefined ? 'not_found' : 'conflict',
    message:
      departed === undefined
        ? `There is no node ${event.node}.`
        : `Node ${event.node} is ${departed.phase} already.`,
  });
}
