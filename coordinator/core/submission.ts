/** Batches of tasks are taken, or refused with what to do about it. */
import type { BatchNumber } from '../../protocol/wire/ids.ts';
import { batchTasksMax } from '../../protocol/wire/limits.ts';
import type { Batch } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { addFresh } from './queue.ts';
import { armQueueTimer } from './timers.ts';
import type { Turn } from './turn.ts';
import { refuse } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

/** A client's batch: on disk before it is answered, granted from the same step on. */
export function takeBatch(turn: Turn, event: Event<'batchSubmitted'>): void {
  const { state } = turn;
  const group = state.groups.get(event.group);
  if (group === undefined) {
    refuse(turn, event.request, {
      code: 'not_found',
      message: `There is no group ${event.group}.`,
    });
    return;
  }
  const { namespace } = group;
  if (group.state !== 'running') {
    const message = `Group ${group.spec.name} takes no more tasks: it was terminated.`;
    refuse(turn, event.request, { code: 'group_terminated', message });
    return;
  }
  if (!Number.isInteger(event.count) || event.count < 1 || event.count > batchTasksMax) {
    const message = `A batch has 1 to ${batchTasksMax} tasks, not ${event.count}.`;
    refuse(turn, event.request, { code: 'invalid_request', message });
    return;
  }
  if (state.batches.size >= state.settings.openBatchesMax) {
    const message = `The mesh holds ${state.batches.size} unfinished batches, as many as it may.`;
    refuse(turn, event.request, { code: 'queue_full', message });
    return;
  }
  const batch: Batch = {
    number: state.nextBatch as BatchNumber,
    group,
    count: event.count,
    submittedAtMs: turn.now,
    next: 0,
    doneCount: 0,
    takenAhead: new Set(),
    assets: event.assets,
  };
  state.nextBatch += 1;
  state.batches.set(batch.number, batch);
  addFresh(state, batch);
  armQueueTimer(state, group);
  turn.wakeAll = true;
  const submittedAfter = namespace.outcomeNumber;
  turn.effects.push(
    {
      kind: 'saveBatch',
      batch: batch.number,
      namespace: namespace.name,
      group: group.id,
      clientBatch: event.clientBatch,
      blockHash: event.blockHash,
      count: event.count,
      block: event.block,
      assets: event.assets,
      atMs: turn.now,
      submittedAfter,
    },
    {
      kind: 'respond',
      request: event.request,
      answer: { kind: 'batchTaken', batch: batch.number, count: event.count, submittedAfter },
    },
  );
}
