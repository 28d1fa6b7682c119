/** Cancels of single tasks. A success that its node reports before it hears of the cancel stands. */
import type { TaskRef } from '../../protocol/wire/ids.ts';
import { formatTaskId, taskKey } from '../../protocol/wire/ids.ts';
import type { OpenTask } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { refOf } from './nodes.ts';
import type { Verdict } from './outcomes.ts';
import { endFreshAt, endWaiting } from './outcomes.ts';
import type { Turn } from './turn.ts';
import { refuse } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

const verdict: Verdict = {
  status: 'cancelled',
  name: 'Cancelled',
  message: 'It was cancelled while it was queued.',
};

/** Ends a queued task, asks for the end of a running one, does nothing to a done one. */
export function takeCancel(turn: Turn, event: Event<'taskCancelled'>): void {
  if (!isKnown(turn, event.task)) {
    const message = `There is no task ${formatTaskId(event.task)}.`;
    refuse(turn, event.request, { code: 'not_found', message });
    return;
  }
  const state = cancel(turn, event.task);
  turn.effects.push({
    kind: 'respond',
    request: event.request,
    answer: { kind: 'cancelTaken', state },
  });
}

function cancel(turn: Turn, ref: TaskRef): 'queued' | 'running' | 'done' {
  const task = turn.state.tasks.get(taskKey(ref));
  if (task !== undefined) return cancelOpen(turn, task);
  const batch = turn.state.batches.get(ref.batch);
  if (batch === undefined || ref.index < batch.next || batch.takenAhead.has(ref.index))
    return 'done';
  endFreshAt(turn, batch, { index: ref.index, verdict });
  return 'queued';
}

function cancelOpen(turn: Turn, task: OpenTask): 'queued' | 'running' {
  if (task.place.kind !== 'held') {
    endWaiting(turn, task, verdict);
    return 'queued';
  }
  const node = turn.state.nodes.get(task.node);
  if (!task.place.cancelAsked) {
    const { batch, index } = refOf(task);
    turn.effects.push({ kind: 'saveCancelAsked', batch, index, atMs: turn.now });
  }
  task.place.cancelAsked = true;
  if (node !== undefined && node.session !== null) {
    const attempts = [refOf(task)];
    turn.effects.push({ kind: 'sendCancel', node: node.id, session: node.session, attempts });
  }
  return 'running';
}

/** Batches that memory has forgotten are done; the gateway has checked that they are there. */
function isKnown(turn: Turn, ref: TaskRef): boolean {
  if (!Number.isInteger(ref.index) || ref.index < 0) return false;
  const batch = turn.state.batches.get(ref.batch);
  if (batch !== undefined) return ref.index < batch.count;
  return ref.batch >= 1 && ref.batch < turn.state.nextBatch;
}
