/** Tasks end here, once each: the outcome is numbered, counted and saved, and memory forgets them. */
import type { NodeId } from '../../protocol/wire/ids.ts';
import type { AttemptOutcome, FailureCode } from '../../protocol/wire/task.ts';
import type { Batch, Group, OpenTask } from './entities.ts';
import { settle } from './places.ts';
import { freshTasks, queuedTasks, takeFreshAhead, takeFreshIndex } from './queue.ts';
import type { Turn } from './turn.ts';
import { tell } from './turn.ts';

/** A failure that the coordinator itself decided. */
export interface Verdict {
  status: FailureCode;
  name: string;
  message: string;
}

const nothing = new Uint8Array(0);

/** Ends an open task with the outcome of its latest attempt. */
export function endByAttempt(turn: Turn, task: OpenTask, outcome: AttemptOutcome): void {
  settle(turn, task);
  record(turn, task.batch, {
    index: task.index,
    attempt: task.attempt,
    node: task.node,
    startedAtMs: task.startedAtMs,
    outcome,
  });
}

/** Ends an open task between attempts: no attempt settled it. */
export function endWaiting(turn: Turn, task: OpenTask, verdict: Verdict): void {
  settle(turn, task);
  recordUnrun(turn, task.batch, { index: task.index, verdict });
}

/** Ends one never-granted task, wherever it stands in its batch. */
export function endFreshAt(
  turn: Turn,
  batch: Batch,
  options: { index: number; verdict: Verdict },
): void {
  takeFreshAhead(batch, options.index);
  recordUnrun(turn, batch, options);
}

/** Ends up to `limit` never-granted tasks of a batch in order; answers how many. */
export function endFresh(
  turn: Turn,
  batch: Batch,
  options: { limit: number; verdict: Verdict },
): number {
  const { limit, verdict } = options;
  const count = Math.min(limit, freshTasks(batch));
  for (let done = 0; done < count; done += 1) {
    recordUnrun(turn, batch, { index: takeFreshIndex(batch), verdict });
  }
  return count;
}

/** The outcome of a verdict, for an attempt that could not report one. */
export function verdictOutcome(verdict: Verdict): AttemptOutcome {
  return {
    status: verdict.status,
    result: nothing,
    failure: { name: verdict.name, message: verdict.message, traceback: '' },
    runtimeMs: 0,
    peakMemoryBytes: 0,
    logBytes: 0,
  };
}

/** A group that ends is terminated once its last task is; forgets the oldest of too many. */
export function endGroupWhenDone(turn: Turn, group: Group): void {
  if (group.state === 'running' || group.running > 0 || queuedTasks(group) > 0) return;
  if (group.state === 'draining') {
    group.state = 'terminated';
    tell(turn, group, 'Terminated: its last task is done.');
    turn.effects.push({
      kind: 'saveGroupState',
      group: group.id,
      state: 'terminated',
      atMs: turn.now,
    });
  }
  const { ended, groups, settings } = turn.state;
  ended.add(group);
  if (ended.size <= settings.terminatedGroupsMax) return;
  const [oldest] = ended;
  if (oldest === undefined) return;
  ended.delete(oldest);
  groups.delete(oldest.id);
}

function recordUnrun(turn: Turn, batch: Batch, options: { index: number; verdict: Verdict }): void {
  record(turn, batch, {
    index: options.index,
    attempt: 0,
    node: null,
    startedAtMs: null,
    outcome: verdictOutcome(options.verdict),
  });
}

function record(
  turn: Turn,
  batch: Batch,
  end: {
    index: number;
    attempt: number;
    node: NodeId | null;
    startedAtMs: number | null;
    outcome: AttemptOutcome;
  },
): void {
  const { group } = batch;
  const { namespace } = group;
  namespace.outcomeNumber += 1;
  batch.doneCount += 1;
  if (end.outcome.status === 'success') group.succeeded += 1;
  else group.failed += 1;
  turn.effects.push({
    kind: 'saveOutcome',
    namespace: namespace.name,
    outcomeNumber: namespace.outcomeNumber,
    group: group.id,
    batch: batch.number,
    index: end.index,
    attempt: end.attempt,
    node: end.node,
    outcome: end.outcome,
    submittedAtMs: batch.submittedAtMs,
    startedAtMs: end.startedAtMs,
    atMs: turn.now,
  });
  if (batch.doneCount === batch.count) turn.state.batches.delete(batch.number);
  endGroupWhenDone(turn, group);
}
