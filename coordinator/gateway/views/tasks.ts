/** Tasks as the API shows them: from the core while they are open, from the store once they are done. */
import type { AttemptView, TaskView } from '../../../protocol/wire/api.ts';
import type { NodeId, TaskRef } from '../../../protocol/wire/ids.ts';
import { formatTaskId, taskKey } from '../../../protocol/wire/ids.ts';
import { findBlobReference } from '../../../protocol/wire/payload.ts';
import type { CoordinatorState } from '../../core/entities.ts';
import type { StoredAttempt, StoredBatch, StoredOutcome } from '../../store/port.ts';
import { formatTime, formatTimeOrNull } from './times.ts';

/** Where an open task is. */
export type OpenTaskState =
  | { state: 'queued'; node: null; startedAtMs: null }
  | { state: 'running'; node: NodeId; startedAtMs: number | null };

/** An open task's place; undefined when it has an outcome, or was never there. */
export function findOpenTask(state: CoordinatorState, task: TaskRef): OpenTaskState | undefined {
  const open = state.tasks.get(taskKey(task));
  if (open !== undefined && open.place.kind === 'held') {
    return { state: 'running', node: open.node, startedAtMs: open.startedAtMs };
  }
  const queued: OpenTaskState = { state: 'queued', node: null, startedAtMs: null };
  if (open !== undefined) return queued;
  const batch = state.batches.get(task.batch);
  if (batch === undefined || task.index < batch.next || task.index >= batch.count) return undefined;
  return batch.takenAhead.has(task.index) ? undefined : queued;
}

/** What a task's view is made of. */
export interface TaskSources {
  task: TaskRef;
  batch: StoredBatch;
  groupName: string;
  /** Undefined for a task that is done, or whose outcome is on its way to disk. */
  open: OpenTaskState | undefined;
  outcome: StoredOutcome | undefined;
  attempts: readonly StoredAttempt[];
  logTail: string | null;
  /** False for an operator of another namespace: messages and tracebacks hold what users wrote. */
  withContents: boolean;
}

/** The view of a task. */
export function viewTask(sources: TaskSources): TaskView {
  const { task, batch, open } = sources;
  return {
    id: formatTaskId(task),
    group: batch.group,
    namespace: batch.namespace,
    groupName: sources.groupName,
    ...(sources.outcome === undefined ? viewOpen(open) : viewDone(sources, sources.outcome)),
    attempts: sources.attempts.map((attempt) => viewAttempt(attempt, sources.withContents)),
    submittedAt: formatTime(batch.atMs),
    submittedAfter: batch.submittedAfter,
  };
}

type OutcomePart = Omit<
  TaskView,
  'id' | 'group' | 'namespace' | 'groupName' | 'attempts' | 'submittedAt' | 'submittedAfter'
>;

function viewOpen(open: OpenTaskState | undefined): OutcomePart {
  return {
    state: open?.state ?? 'running',
    status: null,
    code: null,
    exception: null,
    message: null,
    traceback: null,
    logTail: null,
    node: open?.node ?? null,
    startedAt: formatTimeOrNull(open?.startedAtMs ?? null),
    finishedAt: null,
    runtimeSeconds: null,
    peakMemoryBytes: null,
    logBytes: null,
    resultBytes: null,
    outcomeNumber: null,
    cancelable: open !== undefined,
  };
}

function viewDone(sources: TaskSources, stored: StoredOutcome): OutcomePart {
  const { outcome } = stored;
  const { failure } = outcome;
  const code = outcome.status === 'success' ? null : outcome.status;
  const shown = sources.withContents ? failure : null;
  return {
    state: 'done',
    status: code === null ? 'SUCCESS' : 'FAILURE',
    code,
    exception: failure?.name ?? null,
    message: shown?.message ?? null,
    traceback: shown?.traceback ?? null,
    logTail: sources.logTail,
    node: stored.node,
    startedAt: formatTimeOrNull(stored.startedAtMs),
    finishedAt: formatTime(stored.atMs),
    runtimeSeconds: outcome.runtimeMs / 1000,
    peakMemoryBytes: outcome.peakMemoryBytes,
    logBytes: outcome.logBytes,
    // A result that is not kept any more has no bytes, not even a tag.
    resultBytes: code === null && outcome.result.length > 0 ? resultBytes(outcome.result) : null,
    outcomeNumber: stored.outcomeNumber,
    cancelable: false,
  };
}

function resultBytes(result: Uint8Array): number {
  const reference = findBlobReference(result);
  return reference === undefined ? result.length : reference.sizeBytes + 1;
}

function viewAttempt(attempt: StoredAttempt, withContents: boolean): AttemptView {
  return {
    attempt: attempt.attempt,
    node: attempt.node,
    grantedAt: formatTime(attempt.grantedAtMs),
    end: attempt.end,
    charged: attempt.charged,
    message: withContents ? attempt.message : '',
    endedAt: formatTimeOrNull(attempt.endedAtMs),
  };
}
