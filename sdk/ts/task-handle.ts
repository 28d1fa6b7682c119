/** How a `Task` gets at its outcome; shared with `asCompleted`, and not part of the public API. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { TaskView } from '../../protocol/wire/api.ts';
import { findTaskRef, formatTaskId, type TaskId, type TaskRef } from '../../protocol/wire/ids.ts';
import type { OutcomeRecord } from '../../protocol/wire/outcome-record.ts';
import { createDeadline, untilAborted, type WaitOptions } from './deadline.ts';
import type { MeshLink } from './mesh-link.ts';
import type { OutcomeFollower } from './outcome-follower.ts';
import { type OutcomeWatcher, recordOutcome, type TaskBatch } from './task-batch.ts';

/** What tasks and functions speak through. */
export interface MeshContext {
  readonly link: MeshLink;
  readonly follower: OutcomeFollower;
}

/** A task by its ids, and its batch once that is known. */
export interface TaskHandle {
  readonly context: MeshContext;
  /** As the caller gave it; it may be the beginning of the group's id. */
  readonly guid: string;
  readonly ref: TaskRef;
  readonly tuid: TaskId;
  /** Undefined for a task by its ids, until it has been looked up. */
  batch: TaskBatch | undefined;
}

/**
 * A handle of a task by its ids; nothing is asked yet.
 * @throws PerigeeError invalid_request when the text is not a task's id.
 */
export function createTaskHandle(
  context: MeshContext,
  ids: { guid: string; tuid: string },
): TaskHandle {
  const ref = findTaskRef(ids.tuid);
  if (ref === undefined || ids.guid === '') {
    throw new PerigeeError(
      'invalid_request',
      `"${ids.guid}", "${ids.tuid}" are not ids of a task.`,
      {
        fix: 'Give both as the task had them: a guid of 12 hexadecimal digits, a tuid like 17-3.',
      },
    );
  }
  return { context, guid: ids.guid, ref, tuid: formatTaskId(ref), batch: undefined };
}

/** The outcome, if it is known here. */
export function findOutcome(handle: TaskHandle): OutcomeRecord | undefined {
  return handle.batch?.outcomes.get(handle.ref.index);
}

/**
 * Asks the coordinator, and learns from the answer.
 * @throws PerigeeError not_found when there is no such task, or it is of another group.
 */
export async function lookUpTask(handle: TaskHandle, options: WaitOptions): Promise<TaskView> {
  const { link, follower } = handle.context;
  const view = await link.call('tasks.get', { id: handle.tuid }, options);
  if (!view.group.startsWith(handle.guid)) {
    throw new PerigeeError(
      'not_found',
      `Task ${handle.tuid} is not of group ${handle.guid} but of ${view.group}.`,
      { fix: 'Use the ids as the task had them.' },
    );
  }
  handle.batch ??= follower.describe({
    batch: handle.ref.batch,
    group: view.group,
    submittedAfter: view.submittedAfter,
    count: null,
  });
  const record = findRecord(handle.ref, view);
  if (record !== undefined) recordOutcome(handle.batch, record);
  return view;
}

/** The batch, looked up unless it is known. */
export async function getBatch(handle: TaskHandle, options: WaitOptions): Promise<TaskBatch> {
  if (handle.batch === undefined) await lookUpTask(handle, options);
  if (handle.batch === undefined)
    throw new PerigeeError('internal', 'A looked-up task has a batch.');
  return handle.batch;
}

/**
 * Waits for the outcome.
 * @throws PerigeeError timed_out, unreachable; or the signal's reason.
 */
export async function waitForOutcome(
  handle: TaskHandle,
  options: WaitOptions,
): Promise<OutcomeRecord> {
  const known = findOutcome(handle);
  if (known !== undefined) return known;
  using deadline = createDeadline(options, `Task ${handle.tuid}`);
  const batch = await getBatch(handle, { signal: deadline.signal });
  const { index } = handle.ref;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const watcher: OutcomeWatcher = { onOutcome: () => resolve(), onFail: reject };
  if (findOutcome(handle) === undefined) {
    handle.context.follower.watch(batch, index, watcher);
    try {
      await untilAborted(promise, deadline.signal);
    } finally {
      handle.context.follower.unwatch(batch, index, watcher);
    }
  }
  const outcome = findOutcome(handle);
  if (outcome === undefined) throw new PerigeeError('internal', 'A watched task has an outcome.');
  return outcome;
}

function findRecord(ref: TaskRef, view: TaskView): OutcomeRecord | undefined {
  if (view.state !== 'done' || view.outcomeNumber === null) return undefined;
  return {
    kind: 'outcome',
    ...ref,
    outcomeNumber: view.outcomeNumber,
    status: view.code ?? 'success',
    attempt: view.attempts.at(-1)?.attempt ?? 0,
    runtimeSeconds: view.runtimeSeconds ?? 0,
    peakMemoryBytes: view.peakMemoryBytes ?? 0,
    logBytes: view.logBytes ?? 0,
    failure:
      view.code === null
        ? null
        : {
            exception: view.exception ?? '',
            message: view.message ?? '',
            traceback: view.traceback ?? '',
            logTail: view.logTail ?? '',
            node: view.node,
          },
    result: null,
  };
}
