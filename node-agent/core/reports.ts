/** Outcomes on their way to the coordinator: cut into reports, kept until each is acknowledged. */
import { outcomeBytes } from './attempts.ts';
import type { HeldAttempt, SentReport, Turn } from './state.ts';
import { findAttempt, refOf } from './state.ts';
import { shortTaskMs } from './task-length.ts';

/** With so many reports not acknowledged a small one waits: the coordinator is committing, and takes it next. */
const smallReportsInFlightMax = 2;
/** So many outcomes are no small report. */
const smallReportOutcomes = 250;

/**
 * Sends what the outbox holds, as far as the bytes in flight permit: at once when the coordinator has
 * nothing to acknowledge, else in larger reports, so that short tasks share frames and commits.
 */
export function sendReports(turn: Turn): void {
  const { state, effects } = turn;
  if (state.session.kind !== 'open') return;
  while (state.outbox.length > 0) {
    if (state.reportBytesInFlight >= state.settings.reportBytesInFlightMax) return;
    const isSmall = state.outbox.length < smallReportOutcomes;
    if (isSmall && (state.reports.size >= smallReportsInFlightMax || mayWait(turn))) return;
    const report = cutReport(turn);
    const number = state.nextReport;
    state.nextReport += 1;
    state.reports.set(number, report);
    state.unacknowledgedCount += report.outcomes.length;
    state.reportBytesInFlight += report.bytes;
    effects.push({ kind: 'sendReport', report: number, outcomes: report.outcomes });
  }
}

/**
 * Whether outcomes of short tasks may wait for the next ones: each report costs both ends a message, a
 * commit and an acknowledgement, some 2 ms of processor for a task of 10 ms. Not while the node might
 * run out of work for it.
 */
function mayWait({ state, now }: Turn): boolean {
  const { outboxSinceMs, attempts, capacity, lastGroup, settings } = state;
  if (outboxSinceMs === null || now - outboxSinceMs >= settings.reportDelayMs) return false;
  if (state.draining) return false;
  const taskMs = lastGroup?.taskMs ?? 0;
  return (attempts.size / capacity.slots - 1) * taskMs >= settings.windowMs;
}

/** The coordinator has it on disk: outcomes and their output are forgotten. */
export function onAcknowledged(turn: Turn, number: number): void {
  const { state } = turn;
  const report = state.reports.get(number);
  if (report === undefined) return;
  state.reports.delete(number);
  state.unacknowledgedCount -= report.outcomes.length;
  state.reportBytesInFlight -= report.bytes;
  state.heldBytes -= report.bytes;
  turn.effects.push({ kind: 'forgetLogs', attempts: report.outcomes.map(refOf) });
}

/** Without a session nothing is on its way any more: all goes back to the outbox, oldest first. */
export function takeBackReports(turn: Turn): void {
  const { state } = turn;
  const outcomes = [...state.reports.values()].flatMap((report) => report.outcomes);
  state.reports.clear();
  state.unacknowledgedCount = 0;
  state.reportBytesInFlight = 0;
  state.outbox.unshift(...outcomes);
  state.outboxSinceMs = null;
}

/**
 * Tells which attempts have begun; those that have ended are in the report. Of a group whose tasks are
 * short it is not worth a message in every turn: the next tick of the clock tells what still runs.
 */
export function sendStarted(turn: Turn): void {
  const { state, effects } = turn;
  const isDue = (attempt: HeldAttempt): boolean => {
    const { taskMs } = attempt.group;
    const { phase } = attempt;
    return (
      taskMs === null ||
      taskMs >= shortTaskMs ||
      phase.kind !== 'running' ||
      turn.now - phase.startedAtMs >= shortTaskMs
    );
  };
  const begun = state.startedNow.filter(isDue);
  if (begun.length === 0) return;
  state.startedNow = state.startedNow.filter((attempt) => !isDue(attempt));
  if (state.session.kind !== 'open') return;
  const attempts = begun
    .filter(
      (attempt) => attempt.phase.kind === 'running' && findAttempt(state, attempt) === attempt,
    )
    .map(refOf);
  if (attempts.length > 0) effects.push({ kind: 'sendStarted', attempts });
}

/**
 * Tells which attempts go back; without a session they wait for one. A hello leaves them out, but the one
 * that is on its way may still name them, and nobody else would ever tell.
 */
export function sendReturned(turn: Turn): void {
  if (turn.state.session.kind !== 'open') return;
  const attempts = turn.state.returnedNow.splice(0);
  if (attempts.length === 0) return;
  turn.effects.push({ kind: 'sendReturned', attempts });
}

function cutReport(turn: Turn): SentReport {
  const { outbox, settings } = turn.state;
  let count = 0;
  let bytes = 0;
  for (const outcome of outbox) {
    const size = outcomeBytes(outcome);
    // At least one: a single outcome is bounded far below a frame.
    if (count > 0 && bytes + size > settings.reportBytesMax) break;
    if (count === settings.reportOutcomesMax) break;
    bytes += size;
    count += 1;
  }
  return { outcomes: outbox.splice(0, count), bytes };
}
