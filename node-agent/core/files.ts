/** What became of blobs that were fetched, and of results and outputs that were stored. */
import type { BlobHash } from '../../protocol/wire/ids.ts';
import type { AttemptOutcome, Failure } from '../../protocol/wire/task.ts';
import { settleAttempt } from './attempts.ts';
import type { FileEvent, SpooledOutput } from './events.ts';
import {
  argumentFailure,
  failedOutcome,
  functionFailure,
  outputFailure,
  resultFailure,
} from './failures.ts';
import type { AttemptPhase, HeldAttempt, Turn } from './state.ts';
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
      onUploadFailed(turn, event, resultFailure(event.message));
      break;
    case 'outputUploaded':
      onOutputUploaded(turn, event);
      break;
    case 'outputUploadFailed':
      onUploadFailed(turn, event, outputFailure(event.name, event.message));
      break;
  }
}

/** Ends an attempt once its files are stored: at once when there are none. */
export function storeFiles(
  turn: Turn,
  attempt: HeldAttempt,
  ended: {
    outcome: AttemptOutcome;
    result: { path: string; tag: number } | null;
    outputs: readonly SpooledOutput[];
  },
): void {
  if (ended.result === null && ended.outputs.length === 0) {
    settleAttempt(turn, attempt, ended.outcome);
    return;
  }
  attempt.phase = { kind: 'storing', ...ended, retryAtMs: null };
  storeNext(turn, attempt, attempt.phase);
}

/** Tries again to store what could not be stored. */
export function retryUploads(turn: Turn, options: { atOnce: boolean }): void {
  for (const attempt of turn.state.attempts.values()) {
    const phase = attempt.phase;
    if (phase.kind !== 'storing' || phase.retryAtMs === null) continue;
    if (!options.atOnce && phase.retryAtMs > turn.now) continue;
    phase.retryAtMs = null;
    storeNext(turn, attempt, phase);
  }
}

type StoringPhase = Extract<AttemptPhase, { kind: 'storing' }>;

/** The result first, then the outputs in order: what was stored is not sent again. */
function storeNext(turn: Turn, attempt: HeldAttempt, phase: StoringPhase): void {
  const [output] = phase.outputs;
  if (phase.result !== null) {
    turn.effects.push({ kind: 'uploadResult', attempt: refOf(attempt), ...phase.result });
  } else if (output !== undefined) {
    turn.effects.push({ kind: 'uploadOutput', attempt: refOf(attempt), output });
  } else {
    settleAttempt(turn, attempt, phase.outcome);
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
  const { phase } = attempt;
  phase.result = null;
  phase.outcome = { ...phase.outcome, result: event.payload };
  storeNext(turn, attempt, phase);
}

function onOutputUploaded(turn: Turn, event: Extract<FileEvent, { kind: 'outputUploaded' }>): void {
  const attempt = findAttempt(turn.state, event.attempt);
  if (attempt === undefined || attempt.phase.kind !== 'storing') return;
  const { phase } = attempt;
  if (phase.outputs[0]?.name !== event.name) return;
  phase.outputs = phase.outputs.slice(1);
  storeNext(turn, attempt, phase);
}

function onUploadFailed(
  turn: Turn,
  event: Extract<FileEvent, { kind: 'resultUploadFailed' | 'outputUploadFailed' }>,
  failure: Failure,
): void {
  const { state, now } = turn;
  const attempt = findAttempt(state, event.attempt);
  if (attempt === undefined || attempt.phase.kind !== 'storing') return;
  const { phase } = attempt;
  if (event.retryable) {
    phase.retryAtMs = now + state.settings.retryMs;
    return;
  }
  settleAttempt(turn, attempt, failedOutcome('exception', failure, phase.outcome));
}
