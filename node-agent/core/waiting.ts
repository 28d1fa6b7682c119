/** The order in which a group's attempts wait: that of their granting, also for those that come back. */
import { assert } from '../../protocol/base/assert.ts';
import { formatTaskId } from '../../protocol/wire/ids.ts';
import type { HeldAttempt } from './state.ts';

/** The attempt waits for a worker, in its place by `seq`. */
export function makeWaiting(attempt: HeldAttempt): void {
  const { waiting } = attempt.group;
  attempt.phase = { kind: 'waiting' };
  const last = waiting.at(-1);
  if (last === undefined || last.seq < attempt.seq) {
    waiting.push(attempt);
    return;
  }
  // Those that come back are older than most: the search from the front is short.
  const at = waiting.findIndex((other) => other.seq > attempt.seq);
  waiting.splice(at, 0, attempt);
}

/** The attempt stops waiting; its new phase is the caller's to set. */
export function leaveWaiting(attempt: HeldAttempt): void {
  const { waiting } = attempt.group;
  const at = waiting[0] === attempt ? 0 : waiting.lastIndexOf(attempt);
  assert(at >= 0, `attempt ${formatTaskId(attempt)} waits in its group`);
  waiting.splice(at, 1);
}
