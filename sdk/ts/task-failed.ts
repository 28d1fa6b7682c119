/** The error that a failed task's result is. */
import type { FailureCode } from '../../protocol/wire/task.ts';

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
