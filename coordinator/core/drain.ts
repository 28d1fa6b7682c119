/** Drains: the node takes nothing new, returns what has not started, finishes the rest and leaves. */
import type { NodeId } from '../../protocol/wire/ids.ts';
import { countReadySlots } from './eligibility.ts';
import type { CoreNode } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { liftQuarantine } from './quarantine.ts';
import { releaseReservation } from './reservations.ts';
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
  node.phase = { kind: 'draining', by: event.by, sinceMs: turn.now };
  if (node.reservedFor !== null) releaseReservation(node.reservedFor);
  countReadySlots(turn.state, node);
  tell(turn, node, `Draining, asked by the ${event.by}.`);
  if (node.session === null) return;
  turn.effects.push({ kind: 'sendDrain', node: node.id, session: node.session });
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
