/** The error of a map of which only a part is on disk. */
import { type ErrorCode, PerigeeError } from '../../protocol/base/errors.ts';
import type { Task } from './task.ts';

/** A map was cut short; `tasks` are on disk and run all the same, `cause` says why. */
export class MapError extends PerigeeError {
  override name = 'MapError';
  readonly tasks: readonly Task<unknown>[];

  constructor(cause: Error, tasks: readonly Task<unknown>[]) {
    const code: ErrorCode = cause instanceof PerigeeError ? cause.code : 'invalid_request';
    super(
      code,
      `The map was cut short, ${tasks.length} tasks are on disk and run: ${cause.message}`,
      { cause, ...(cause instanceof PerigeeError ? { fix: cause.fix } : {}) },
    );
    this.tasks = tasks;
  }
}
