/** What the SDK throws besides `PerigeeError`: a task that failed, and a map that was cut short. */
import { type ErrorCode, PerigeeError } from '../../protocol/base/errors.ts';
import type { FailureCode } from '../../protocol/wire/task.ts';
import type { Task } from './task.ts';
import type { Value } from './value.ts';

/** How a task failed. */
export interface TaskFailure {
  guid: string;
  tuid: string;
  code: FailureCode;
  /** Class name of the remote exception, or a word for what ended the task. */
  remoteName: string;
  remoteMessage: string;
  /** The remote traceback; empty when there is none. */
  traceback: string;
  /** The end of the task's log, at most 4 KiB. */
  logTail: string;
  /** Tries that were made. */
  attempts: number;
  /** Where the recorded attempt ran; null when it never did. */
  node: string | null;
}

/** A task's function raised, or the task was ended; thrown by `task.result()`. */
export class TaskFailed extends Error implements TaskFailure {
  override name = 'TaskFailed';
  readonly guid: string;
  readonly tuid: string;
  readonly code: FailureCode;
  readonly remoteName: string;
  readonly remoteMessage: string;
  readonly traceback: string;
  readonly logTail: string;
  readonly attempts: number;
  readonly node: string | null;

  constructor(failure: TaskFailure) {
    const { remoteName, remoteMessage, tuid } = failure;
    super(`Task ${tuid} failed: ${remoteName}${remoteMessage === '' ? '' : `: ${remoteMessage}`}`);
    this.guid = failure.guid;
    this.tuid = tuid;
    this.code = failure.code;
    this.remoteName = remoteName;
    this.remoteMessage = remoteMessage;
    this.traceback = failure.traceback;
    this.logTail = failure.logTail;
    this.attempts = failure.attempts;
    this.node = failure.node;
  }
}

/** A map was cut short; `tasks` are on disk and run all the same, `cause` says why. */
export class MapError extends PerigeeError {
  override name = 'MapError';
  readonly tasks: readonly Task<Value>[];

  constructor(cause: Error, tasks: readonly Task<Value>[]) {
    const code: ErrorCode = cause instanceof PerigeeError ? cause.code : 'invalid_request';
    super(
      code,
      `The map was cut short, ${tasks.length} tasks are on disk and run: ${cause.message}`,
      { cause, ...(cause instanceof PerigeeError ? { fix: cause.fix } : {}) },
    );
    this.tasks = tasks;
  }
}
