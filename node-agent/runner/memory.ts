/**
 * The in-memory twin of the runner: workers are objects, a task is what `play` makes of its input.
 * It keeps the port's order of events, one task at a time, and ends workers as the real one does.
 */
import { assert } from '../../protocol/base/assert.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { Failure, IsolationLevel } from '../../protocol/wire/task.ts';
import type {
  Runner,
  RunnerEvent,
  TaskInput,
  TaskResult,
  WorkerEnd,
  WorkerNumber,
  WorkerStart,
} from './port.ts';

/** What a playing task may do; whatever comes after its end, or its worker's, is ignored. */
export interface TaskStage {
  readonly start: WorkerStart;
  readonly input: TaskInput;
  /** Aborted when the worker is killed. */
  readonly signal: AbortSignal;
  print(bytes: Uint8Array): void;
  succeed(payload: Uint8Array): void;
  /** A result in a spool file. */
  succeedInFile(path: string, tag: number): void;
  fail(failure: Failure, status?: 'exception' | 'version_mismatch'): void;
  /** The worker dies of the task. */
  die(end: Exclude<WorkerEnd, { kind: 'asked' | 'unstartable' | 'unloadable' }>): void;
}

export interface MemoryRunnerOptions {
  isolation?: IsolationLevel;
  /** Plays one task; may end it at once or later. */
  play(stage: TaskStage): void;
  /** How a start goes: undefined when the worker becomes ready. */
  startEnd?(start: WorkerStart): WorkerEnd | undefined;
  /** The clock of the runtimes, in ms. */
  now(): number;
}

/** The twin, and what a test looks at. */
export interface MemoryRunner extends Runner {
  /** Workers that live, in order of their start. */
  readonly workers: readonly WorkerNumber[];
}

interface MemoryWorker {
  start: WorkerStart;
  queue: TaskInput[];
  running: RunningTask | null;
  isReady: boolean;
}

interface RunningTask {
  input: TaskInput;
  abort: AbortController;
  startedAtMs: number;
  logBytes: number;
}

/** A runner without processes. */
export function createMemoryRunner(options: MemoryRunnerOptions): MemoryRunner {
  const workers = new Map<WorkerNumber, MemoryWorker>();
  const listeners: ((event: RunnerEvent) => void)[] = [];
  const emit = (event: RunnerEvent): void => {
    for (const listener of listeners) listener(event);
  };

  const endWorker = (worker: MemoryWorker, end: WorkerEnd): void => {
    const { start, running } = worker;
    if (workers.get(start.worker) !== worker) return;
    workers.delete(start.worker);
    running?.abort.abort();
    emit({
      kind: 'workerEnded',
      worker: start.worker,
      end,
      running:
        running === null
          ? null
          : {
              ...refOf(running.input),
              runtimeMs: options.now() - running.startedAtMs,
              logBytes: running.logBytes,
            },
    });
  };
  const playNext = (worker: MemoryWorker): void => {
    if (worker.running !== null || workers.get(worker.start.worker) !== worker) return;
    const input = worker.queue.shift();
    if (input === undefined) return;
    const running: RunningTask = {
      input,
      abort: new AbortController(),
      startedAtMs: options.now(),
      logBytes: 0,
    };
    worker.running = running;
    emit({ kind: 'taskStarted', worker: worker.start.worker, task: refOf(input) });
    options.play(stageOf(worker, running));
  };
  const finish = (
    worker: MemoryWorker,
    running: RunningTask,
    result: Pick<TaskResult, 'status' | 'result' | 'resultPath' | 'resultTag' | 'failure'>,
  ): void => {
    if (worker.running !== running || workers.get(worker.start.worker) !== worker) return;
    worker.running = null;
    emit({
      kind: 'taskEnded',
      worker: worker.start.worker,
      task: {
        ...refOf(running.input),
        ...result,
        runtimeMs: options.now() - running.startedAtMs,
        peakMemoryBytes: 0,
        logBytes: running.logBytes,
      },
    });
    playNext(worker);
  };
  const stageOf = (worker: MemoryWorker, running: RunningTask): TaskStage => {
    const none = { result: new Uint8Array(0), resultPath: null, resultTag: 0, failure: null };
    return {
      start: worker.start,
      input: running.input,
      signal: running.abort.signal,
      print(bytes) {
        if (worker.running !== running) return;
        const offset = running.logBytes;
        running.logBytes += bytes.length;
        const task = refOf(running.input);
        emit({ kind: 'taskOutput', worker: worker.start.worker, task, offset, bytes });
      },
      succeed: (payload) =>
        finish(worker, running, {
          ...none,
          status: 'success',
          result: payload,
          resultTag: payload[0] ?? 0,
        }),
      succeedInFile: (path, tag) =>
        finish(worker, running, { ...none, status: 'success', resultPath: path, resultTag: tag }),
      fail: (failure, status = 'exception') =>
        finish(worker, running, { ...none, status, failure }),
      die: (end) => {
        if (worker.running === running) endWorker(worker, end);
      },
    };
  };
  const getWorker = (number: WorkerNumber): MemoryWorker => {
    const worker = workers.get(number);
    assert(worker !== undefined, `worker ${number} lives`);
    return worker;
  };

  return {
    isolation: options.isolation ?? 'none',
    get workers() {
      return [...workers.keys()];
    },
    start(start) {
      assert(!workers.has(start.worker), 'worker numbers are never used twice');
      const worker: MemoryWorker = { start, queue: [], running: null, isReady: false };
      workers.set(start.worker, worker);
      // As with a process, nothing is heard of a worker within the call that starts it.
      queueMicrotask(() => {
        if (workers.get(start.worker) !== worker) return;
        const end = options.startEnd?.(start);
        if (end !== undefined) {
          endWorker(worker, end);
          return;
        }
        worker.isReady = true;
        emit({ kind: 'workerReady', worker: start.worker });
      });
    },
    feed(number, tasks) {
      const worker = workers.get(number);
      // It may have died a moment ago; `workerEnded` is on its way to the core.
      if (worker === undefined) return;
      assert(worker.isReady, 'only ready workers are fed');
      worker.queue.push(...tasks);
      queueMicrotask(() => playNext(worker));
    },
    retract(number, tasks) {
      const worker = workers.get(number);
      if (worker === undefined) return [];
      const wanted = new Set(tasks.map(keyOf));
      const taken = worker.queue.filter((task) => wanted.has(keyOf(task)));
      worker.queue = worker.queue.filter((task) => !wanted.has(keyOf(task)));
      return taken.map(refOf);
    },
    stop(number) {
      const worker = workers.get(number);
      if (worker === undefined) return;
      assert(worker.running === null, 'only idle workers are stopped');
      queueMicrotask(() => endWorker(worker, { kind: 'asked' }));
    },
    kill(number) {
      if (!workers.has(number)) return;
      const worker = getWorker(number);
      queueMicrotask(() => endWorker(worker, { kind: 'asked' }));
    },
    onEvent(listener) {
      listeners.push(listener);
    },
    close() {
      for (const worker of [...workers.values()]) endWorker(worker, { kind: 'asked' });
      return Promise.resolve();
    },
  };
}

function keyOf(ref: AttemptRef): string {
  return `${ref.batch}-${ref.index}#${ref.attempt}`;
}

function refOf(ref: AttemptRef): AttemptRef {
  return { batch: ref.batch, index: ref.index, attempt: ref.attempt };
}
