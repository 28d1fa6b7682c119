/** One call of a function on the mesh, now or later. */
import type { AttemptView, TaskView } from '../../protocol/wire/api.ts';
import type { OutcomeRecord } from '../../protocol/wire/outcome-record.ts';
import type { FailureCode, TaskState } from '../../protocol/wire/task.ts';
import type { WaitOptions } from './deadline.ts';
import { fetchPayload, readLog } from './task-bytes.ts';
import { TaskFailed } from './task-failed.ts';
import { findOutcome, lookUpTask, type TaskHandle, waitForOutcome } from './task-handle.ts';
import { TaskOutput } from './task-output.ts';
import { decodePayload, type Value } from './value.ts';

/** How a task ended, in DLRun's words. */
export type TaskStatus = 'SUCCESS' | 'FAILURE';

/**
 * A task. `result`, `error`, `status`, `log`, `wait` and what is measured wait for its end; `state`,
 * `attempts` and `explain` do not. Ending a wait never ends the task; `cancel` does.
 */
export class Task<Result = Value> {
  readonly #handle: TaskHandle;
  #value: { is: unknown } | undefined;

  /** Tasks come from `call`, `map` and `mesh.task`. */
  constructor(handle: TaskHandle) {
    this.#handle = handle;
  }

  /** For `asCompleted`, which waits for many at once. */
  static getHandle(task: Task<unknown>): TaskHandle {
    return task.#handle;
  }

  /** Id of its group: with `tuid`, what `mesh.task` takes in any process. */
  get guid(): string {
    return this.#handle.batch?.group ?? this.#handle.guid;
  }

  /** Its own id, for example `17-3`. */
  get tuid(): string {
    return this.#handle.tuid;
  }

  /**
   * What the function returned.
   * @throws TaskFailed when it failed; PerigeeError timed_out, unreachable; or the signal's reason.
   */
  async result(options: WaitOptions = {}): Promise<Result> {
    const outcome = await waitForOutcome(this.#handle, options);
    if (outcome.status !== 'success') throw this.#failure(outcome, outcome.status);
    if (this.#value === undefined) {
      const payload = outcome.result ?? (await fetchPayload(this.#handle, 'tasks.result', options));
      this.#value = { is: decodePayload(payload) };
      // Of no more use: the value is kept.
      outcome.result = null;
    }
    // What a function returns is the caller's to say; the mesh does not know types.
    return this.#value.is as Result;
  }

  /** The error that `result` throws; null on success. */
  async error(options: WaitOptions = {}): Promise<TaskFailed | null> {
    const outcome = await waitForOutcome(this.#handle, options);
    return outcome.status === 'success' ? null : this.#failure(outcome, outcome.status);
  }

  async status(options: WaitOptions = {}): Promise<TaskStatus> {
    const { status } = await waitForOutcome(this.#handle, options);
    return status === 'success' ? 'SUCCESS' : 'FAILURE';
  }

  /** Waits for its end, whatever that is; answers the task itself. */
  async wait(options: WaitOptions = {}): Promise<this> {
    await waitForOutcome(this.#handle, options);
    return this;
  }

  /** Everything that it printed, bytes that are not UTF-8 replaced. */
  async log(options: WaitOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.logBytes(options));
  }

  /** Everything that it printed, at most 8 MiB; a cut is said in it. */
  async logBytes(options: WaitOptions = {}): Promise<Uint8Array> {
    const { logBytes } = await waitForOutcome(this.#handle, options);
    if (logBytes === 0) return new Uint8Array(0);
    const parts: Uint8Array[] = [];
    for await (const part of readLog(this.#handle, { ...options, follow: false })) parts.push(part);
    return Buffer.concat(parts);
  }

  /** What it prints, as it is printed, until it is done. */
  followLog(options: WaitOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    return readLog(this.#handle, { ...options, follow: true });
  }

  /** The files that it gave out, by name; none when it failed. */
  async outputs(options: WaitOptions = {}): Promise<TaskOutput[]> {
    const { link } = this.#handle.context;
    const outcome = await waitForOutcome(this.#handle, options);
    if (outcome.status !== 'success') return [];
    const { items } = await link.call('tasks.outputs', { id: this.tuid }, options);
    return items.map((view) => new TaskOutput(link, view));
  }

  /** Seconds in the function, by the node's clock. */
  async runtimeSeconds(options: WaitOptions = {}): Promise<number> {
    return (await waitForOutcome(this.#handle, options)).runtimeSeconds;
  }

  /** `queued`, `running` or `done`. */
  async state(options: WaitOptions = {}): Promise<TaskState> {
    if (findOutcome(this.#handle) !== undefined) return 'done';
    return (await this.describe(options)).state;
  }

  /** Every try, in order: the ledger. */
  async attempts(options: WaitOptions = {}): Promise<readonly AttemptView[]> {
    return (await this.describe(options)).attempts;
  }

  /** Everything that the coordinator says of it. */
  describe(options: WaitOptions = {}): Promise<TaskView> {
    return lookUpTask(this.#handle, options);
  }

  /** One sentence: why it waits, or how it ended. */
  async explain(options: WaitOptions = {}): Promise<string> {
    const { link } = this.#handle.context;
    return (await link.call('tasks.explain', { id: this.tuid }, options)).sentence;
  }

  /** Ends it as `cancelled`; a running one is killed within a second. False when it was done already. */
  async cancel(options: WaitOptions = {}): Promise<boolean> {
    const { link } = this.#handle.context;
    return (await link.call('tasks.cancel', { id: this.tuid }, options)).state !== 'done';
  }

  #failure(outcome: OutcomeRecord, code: FailureCode): TaskFailed {
    const { failure } = outcome;
    return new TaskFailed({
      guid: this.guid,
      tuid: this.tuid,
      code,
      remoteName: failure?.exception || code,
      remoteMessage: failure?.message ?? '',
      traceback: failure?.traceback ?? '',
      logTail: failure?.logTail ?? '',
      attempts: outcome.attempt,
      node: failure?.node ?? null,
    });
  }
}
