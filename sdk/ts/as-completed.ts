/** Tasks in the order in which they end. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { createDeadline, untilAborted, type WaitOptions } from './deadline.ts';
import { Task } from './task.ts';
import type { OutcomeWatcher, TaskBatch } from './task-batch.ts';
import { findOutcome, lookUpTask, type TaskHandle } from './task-handle.ts';

/**
 * Each task once, as soon as it is done, failed ones too: `task.result()` throws for them.
 * `timeoutMs` counts from the first `next` to the last. Leaving the loop leaves the tasks running.
 * @throws PerigeeError timed_out; not_found, at once, when one of them does not exist; unreachable
 *   when the coordinator stays away; or the signal's reason.
 * @example
 * for await (const task of asCompleted(tasks, { timeoutMs: 60_000 })) {
 *   console.log(task.tuid, await task.result());
 * }
 */
export async function* asCompleted<Result>(
  tasks: Iterable<Task<Result>>,
  options: WaitOptions = {},
): AsyncGenerator<Task<Result>, void, undefined> {
  using deadline = createDeadline(options, 'asCompleted');
  const { signal } = deadline;
  signal.throwIfAborted();
  const open = new Map([...tasks].map((task) => [Task.getHandle(task), task]));
  const handles = uniqueHandles(open.keys());
  await lookUpUnknown(handles, signal);

  const done = handles.filter((handle) => findOutcome(handle) !== undefined);
  done.sort((one, other) => outcomeNumber(one) - outcomeNumber(other));
  const waiting = handles.filter((handle) => findOutcome(handle) === undefined);
  const watches = new WatchList(waiting);
  try {
    for (const handle of done) yield getTask(open, handle);
    for (let left = waiting.length; left > 0; left -= 1) {
      yield getTask(open, await watches.next(signal));
    }
  } finally {
    watches.stop();
  }
}

/** The tasks of one `asCompleted` that are not done, heard of in one queue. */
class WatchList {
  readonly #byBatch = new Map<TaskBatch, Map<number, TaskHandle>>();
  readonly #done: TaskHandle[] = [];
  #next = 0;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;
  readonly #watcher: OutcomeWatcher = {
    onOutcome: (batch, index) => {
      const handle = this.#byBatch.get(batch)?.get(index);
      if (handle === undefined) return;
      this.#byBatch.get(batch)?.delete(index);
      this.#done.push(handle);
      this.#wake();
    },
    onFail: (error) => {
      this.#failure = error;
      this.#wake();
    },
  };

  constructor(handles: readonly TaskHandle[]) {
    for (const handle of handles) {
      const { batch, ref, context } = handle;
      if (batch === undefined) throw new PerigeeError('internal', 'A watched task has a batch.');
      const indexes = this.#byBatch.get(batch) ?? new Map<number, TaskHandle>();
      indexes.set(ref.index, handle);
      this.#byBatch.set(batch, indexes);
      context.follower.watch(batch, ref.index, this.#watcher);
    }
  }

  async next(signal: AbortSignal): Promise<TaskHandle> {
    for (;;) {
      signal.throwIfAborted();
      const handle = this.#done[this.#next];
      if (handle !== undefined) {
        this.#next += 1;
        return handle;
      }
      if (this.#failure !== undefined) throw this.#failure;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await untilAborted(promise, signal);
    }
  }

  stop(): void {
    for (const [batch, indexes] of this.#byBatch) {
      for (const [index, handle] of indexes) {
        handle.context.follower.unwatch(batch, index, this.#watcher);
      }
    }
  }
}

/** One handle a task, though the caller may have two objects of it. */
function uniqueHandles(handles: Iterable<TaskHandle>): TaskHandle[] {
  const seen = new Map<object, Set<string>>();
  return [...handles].filter((handle) => {
    const ids = seen.get(handle.context) ?? new Set();
    seen.set(handle.context, ids);
    if (ids.has(handle.tuid)) return false;
    ids.add(handle.tuid);
    return true;
  });
}

/** Makes sure that tasks by their ids exist, with one call a batch: its indexes have no holes. */
async function lookUpUnknown(handles: readonly TaskHandle[], signal: AbortSignal): Promise<void> {
  const unknown = Map.groupBy(
    handles.filter((handle) => handle.batch === undefined),
    ({ ref, guid }) => `${ref.batch} ${guid}`,
  );
  for (const alike of unknown.values()) {
    const highest = alike.reduce((one, other) => (other.ref.index > one.ref.index ? other : one));
    await lookUpTask(highest, { signal });
    for (const handle of alike) handle.batch ??= highest.batch;
  }
}

function outcomeNumber(handle: TaskHandle): number {
  return findOutcome(handle)?.outcomeNumber ?? 0;
}

function getTask<Result>(
  open: ReadonlyMap<TaskHandle, Task<Result>>,
  handle: TaskHandle,
): Task<Result> {
  const task = open.get(handle);
  if (task === undefined) throw new PerigeeError('internal', 'A handle is of one of the tasks.');
  return task;
}
