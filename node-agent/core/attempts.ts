/** The moves of an attempt between its phases that several events share. */
import { assert } from '../../protocol/base/assert.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import { formatTaskId, taskKey } from '../../protocol/wire/ids.ts';
import type { AttemptOutcome } from '../../protocol/wire/task.ts';
import { releaseArgument } from './blobs.ts';
import type { HeldAttempt, ReportedOutcome, Turn } from './state.ts';
import { refOf } from './state.ts';
import { isShort } from './task-length.ts';
import { leaveWaiting } from './waiting.ts';

/** The attempt has its outcome: it leaves the attempts and waits in the outbox to be reported. */
export function settleAttempt(turn: Turn, attempt: HeldAttempt, outcome: AttemptOutcome): void {
  const { state, now } = turn;
  const { group } = attempt;
  const isFirst = state.outbox.length === 0;
  releaseAttempt(turn, attempt);
  queueOutcome(turn, attempt, outcome);
  const mayWait = isShort(group) && group.waiting.length > 0 && outcome.status === 'success';
  if (!mayWait) state.outboxSinceMs = null;
  else if (isFirst) state.outboxSinceMs = now;
}

/** An outcome for the outbox, also of attempts that were never held. */
export function queueOutcome(turn: Turn, ref: AttemptRef, outcome: AttemptOutcome): void {
  const reported: ReportedOutcome = {
    batch: ref.batch,
    index: ref.index,
    attempt: ref.attempt,
    status: outcome.status,
    result: outcome.result,
    failure: outcome.failure,
    runtimeMs: outcome.runtimeMs,
    peakMemoryBytes: outcome.peakMemoryBytes,
    logBytes: outcome.logBytes,
    ...(outcome.outputs === undefined ? {} : { outputs: outcome.outputs }),
  };
  if (turn.state.outbox.length === 0) turn.state.outboxSinceMs = null;
  turn.state.outbox.push(reported);
  turn.state.heldBytes += outcomeBytes(reported);
}

/** The attempt goes back to the coordinator unrun. */
export function returnAttempt(turn: Turn, attempt: HeldAttempt): void {
  releaseAttempt(turn, attempt);
  turn.state.returnedNow.push(refOf(attempt));
}

/** The attempt is not the node's any more, and nobody wants to hear of it. */
export function dropAttempt(turn: Turn, attempt: HeldAttempt): void {
  releaseAttempt(turn, attempt);
  turn.effects.push({ kind: 'forgetLogs', attempts: [refOf(attempt)] });
}

/** What an outcome costs in memory and on the wire, about. */
export function outcomeBytes(outcome: AttemptOutcome): number {
  const failure = outcome.failure;
  const text =
    failure === null ? 0 : failure.name.length + failure.message.length + failure.traceback.length;
  let outputs = 0;
  for (const { metadata } of outcome.outputs ?? []) outputs += metadata.length + outputBytes;
  return outcome.result.length + text + outputs + 100;
}

/** Name, hash and media type of one output. */
const outputBytes = 400;

/** Takes an attempt out of the phase that it is in and out of the state. */
function releaseAttempt(turn: Turn, attempt: HeldAttempt): void {
  const { state, effects } = turn;
  const phase = attempt.phase;
  assert(phase.kind !== 'gone', `attempt ${formatTaskId(attempt)} ends once`);
  if (phase.kind === 'waiting') leaveWaiting(attempt);
  if (phase.kind === 'storing') {
    if (phase.result !== null) effects.push({ kind: 'removeResult', path: phase.result.path });
    for (const { path } of phase.outputs) effects.push({ kind: 'removeResult', path });
  }
  if (attempt.blob !== null) releaseArgument(turn, attempt);
  attempt.phase = { kind: 'gone' };
  attempt.group.heldCount -= 1;
  state.heldBytes -= attempt.payload.length;
  state.attempts.delete(taskKey(attempt));
}
