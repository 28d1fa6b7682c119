/** What became of blobs that were fetched and results that were stored. */
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { settleAttempt } from './attempts.ts';
import type { FileEvent } from './events.ts';
import { argumentFailure, failedOutcome, functionFailure, resultFailure } from './failures.ts';
import type { Turn } from './state.ts';
import { findAttempt, refOf } from './state.ts';
import { makeWaiting } from './waiting.ts';

export function onFileEvent(turn: Turn, event: FileEvent): void {
  switch (event.kind) {
    case 'blobReady':
      onBlobReady(turn, event.hash);
      break;
    case 'blobFailed':
      onBlobFailed(turn, event);
      break;
    case 'resultUploaded':
      onResultUploaded(turn, event);
      break;
    case 'resultUploadFailed':
      onResultUploadFailed(turn, event);
      break;
  }
}

/** Tries again to store the results that failed. */
export function retryUploads(turn: Turn, options: { atOnce: boolean }): void {
  for (const attempt of turn.state.attempts.values()) {
    const phase = attempt.phase;
    if (phase.kind !== 'storing' || phase.retryAtMs === null) continue;
    if (!options.atOnce && phase.retryAtMs > turn.now) continue;
    phase.retryAtMs = null;
    turn.effects.push({
      kind: 'uploadResult',
      attempt: refOf(attempt),
      path: phase.path,
      tag: phase.tag,
    });
  }
}

function onBlobReady(turn: Turn, hash: BlobHash): void {
  const blob = turn.state.blobs.get(hash);
  if (blob === undefined) return;
  blob.phase = { kind: 'ready' };
  for (const group of blob.groups.splice(0)) group.filesMissing.delete(hash);
  for (const attempt of blob.attempts.splice(0)) makeWaiting(attempt);
}

function onBlobFailed(turn: Turn, event: Extract<FileEvent, { kind: 'blobFailed' }>): void {
  const { state, now } = turn;
  const blob = state.blobs.get(event.hash);
  if (blob === undefined) return;
  blob.phase = { kind: 'failed', retryAtMs: now + state.settings.retryMs };
  if (event.retryable) return;
  for (const group of blob.groups) {
    group.broken = {
      untilMs: now + state.settings.unloadableMs,
      code: 'crash',
      failure: functionFailure(event.message),
    };
  }
  for (const attempt of [...blob.attempts]) {
    settleAttempt(turn, attempt, failedOutcome('crash', argumentFailure(event.message)));
  }
}

function onResultUploaded(turn: Turn, event: Extract<FileEvent, { kind: 'resultUploaded' }>): void {
  const attempt = findAttempt(turn.state, event.attempt);
  if (attempt === undefined || attempt.phase.kind !== 'storing') return;
  settleAttempt(turn, attempt, { ...attempt.phase.outcome, result: event.payload });
}

function onResultUploadFailed(
  turn: Turn,
  event: Extract<FileEvent, { kind: 'resultUploadFailed' }>,
): void {
  const { state, now } = turn;
  const attempt = findAttempt(state, event.attempt);
  if (attempt === undefined || attempt.phase.kind !== 'storing') return;
  const { phase } = attempt;
  if (event.retryable) {
    phase.retryAtMs = now + state.settings.retryMs;
    return;
  }
  settleAttempt(
    turn,
    attempt,
    failedOutcome('exception', resultFailure(event.message), phase.outcome),
  );
}
