/** Sessions, draining and stopping, and everything that waits for time to pass. */

import type { AttemptRef } from '../../protocol/wire/ids.ts';
import { returnAttempt } from './attempts.ts';
import { retryBlobs } from './blobs.ts';
import { expectedTaskMs, heldMaxWanted, runningMs } from './credit.ts';
import type { ExitReason } from './effects.ts';
import { retryUploads } from './files.ts';
import { forgetIdleGroups, onDropped, returnUnstarted } from './grants.ts';
import { retryImages } from './images.ts';
import { takeBackReports } from './reports.ts';
import type { HeldGroup, Turn } from './state.ts';
import { findRunning, isBusy } from './state.ts';
import { longTaskMs } from './task-length.ts';
import { endWorker, killWorkerOf, retractFrom } from './workers.ts';

export function onSessionOpened(turn: Turn, drop: readonly AttemptRef[]): void {
  const { state } = turn;
  takeBackReports(turn);
  state.session = { kind: 'open', pulled: null };
  onDropped(turn, drop);
  forgetIdleGroups(turn);
  retryBlobs(turn, { atOnce: true });
  retryImages(turn, { atOnce: true });
  retryUploads(turn, { atOnce: true });
  // Told again, for the coordinator may have restarted in between.
  for (const attempt of state.attempts.values()) {
    if (attempt.phase.kind === 'running') state.startedNow.push(attempt);
  }
  if (state.stopping) turn.effects.push({ kind: 'sendDrainAsked', reason: state.stopReason });
}

export function onSessionLost(turn: Turn): void {
  const { state } = turn;
  if (state.session.kind === 'none') return;
  state.session = { kind: 'none', sinceMs: turn.now };
  takeBackReports(turn);
}

/** The coordinator wants nothing of this node any more; so it stops what it runs for it. */
export function onSessionRefused(
  turn: Turn,
  refusal: { code: string; message: string; fix: string },
): void {
  const { code, message, fix } = refusal;
  leave(turn, { kind: 'refused', code, message, fix });
}

export function onDrainOrdered(turn: Turn): void {
  if (turn.state.draining) return;
  turn.state.draining = true;
  returnUnstarted(turn);
}

/** A node that stops by its own will goes on stopping. */
export function onUndrainOrdered(turn: Turn): void {
  if (!turn.state.stopping) turn.state.draining = false;
}

export function onStopAsked(turn: Turn, reason: string): void {
  const { state } = turn;
  if (state.stopping) return;
  state.stopping = true;
  state.stopReason = reason;
  if (state.session.kind === 'open') turn.effects.push({ kind: 'sendDrainAsked', reason });
  onDrainOrdered(turn);
}

/**
 * Everything that only time brings about. When a process wakes from a pause (SIGSTOP, a suspended
 * machine) its timers come first: that tick is left out, so that what workers said meanwhile is heard
 * before any task is taken to be overdue.
 */
export function onClockTicked(turn: Turn): void {
  const sinceMs = turn.now - turn.state.tickedAtMs;
  turn.state.tickedAtMs = turn.now;
  if (sinceMs >= turn.state.settings.pausedMs) return;
  stopOverdue(turn);
  stopIdle(turn);
  retryBlobs(turn, { atOnce: false });
  retryImages(turn, { atOnce: false });
  if (turn.state.session.kind === 'open') retryUploads(turn, { atOnce: false });
  spreadLongTasks(turn);
  leaveWhenOrphaned(turn);
}

/** Says how much to hold, when that changed. */
export function sendPull(turn: Turn): void {
  const { session } = turn.state;
  if (session.kind !== 'open') return;
  const heldMax = heldMaxWanted(turn);
  if (session.pulled === heldMax) return;
  session.pulled = heldMax;
  turn.effects.push({ kind: 'sendPull', heldMax });
}

/** A node that drains leaves when nothing is held and nothing remains to be told. */
export function leaveWhenDrained(turn: Turn): void {
  const { state } = turn;
  if (!state.draining || state.session.kind !== 'open') return;
  if (state.attempts.size > 0 || state.outbox.length > 0 || state.reports.size > 0) return;
  turn.effects.push({ kind: 'sendGoodbye' });
  leave(turn, { kind: 'stopped' });
}

function leave(turn: Turn, reason: ExitReason): void {
  turn.state.exited = true;
  turn.effects.push({ kind: 'exit', reason });
}

function stopOverdue(turn: Turn): void {
  for (const worker of turn.state.workers.values()) {
    const running = findRunning(worker);
    if (running === undefined || worker.phase.kind === 'ending') continue;
    if (runningMs(worker, turn.now) < worker.group.spec.taskTimeoutMs) continue;
    killWorkerOf(turn, running, 'timeout');
  }
}

function stopIdle(turn: Turn): void {
  const { state, now } = turn;
  for (const worker of state.workers.values()) {
    if (isBusy(worker) || worker.phase.kind !== 'ready') continue;
    if (now - worker.idleSinceMs < state.settings.workerIdleMs) continue;
    endWorker(turn, worker, { kind: 'idle' });
  }
}

/** Tasks that turn out long do not wait behind one another while slots, here or elsewhere, are free. */
function spreadLongTasks(turn: Turn): void {
  const { state, now } = turn;
  for (const worker of state.workers.values()) {
    const running = findRunning(worker);
    if (running === undefined || worker.phase.kind !== 'ready') continue;
    if (runningMs(worker, now) < longTaskMs || worker.askedBackFor === running) continue;
    const behind = worker.queue.filter((attempt) => attempt.phase.kind === 'fed');
    worker.askedBackFor = running;
    if (behind.length > 0) retractFrom(turn, worker, behind);
  }
  for (const group of state.groups.values()) returnSurplus(turn, group);
}

function returnSurplus(turn: Turn, group: HeldGroup): void {
  const { state, now } = turn;
  const { slots } = state.capacity;
  if (group.waiting.length <= slots * 2) return;
  if ((expectedTaskMs(group, now) ?? 0) < longTaskMs) return;
  for (const attempt of group.waiting.slice(slots).reverse()) returnAttempt(turn, attempt);
  // The coordinator may give them right back: each time this happens, credit stays small for longer.
  state.cautiousMs = Math.min(Math.max(state.cautiousMs * 2, 1_000), 60_000);
  state.cautiousUntilMs = now + state.cautiousMs;
}

function leaveWhenOrphaned(turn: Turn): void {
  const { state, now } = turn;
  if (state.session.kind === 'open') return;
  const aloneMs = now - state.session.sinceMs;
  const { orphanedMs, stopOrphanedMs } = state.settings;
  if (orphanedMs !== null && aloneMs >= orphanedMs) {
    leave(turn, { kind: 'orphaned' });
    return;
  }
  if (!state.stopping) return;
  const isRunning = [...state.attempts.values()].some(
    (attempt) => attempt.phase.kind === 'running',
  );
  const holdsNothing = state.attempts.size === 0 && state.outbox.length === 0;
  if (holdsNothing || (!isRunning && aloneMs >= stopOrphanedMs)) leave(turn, { kind: 'stopped' });
}
