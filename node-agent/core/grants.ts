/** What the coordinator gives and takes back: grants, cancels, and what it dropped meanwhile. */
import type { AttemptRef, GroupId } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { GroupSpec } from '../../protocol/wire/task.ts';
import {
  dropAttempt,
  outcomeBytes,
  queueOutcome,
  returnAttempt,
  settleAttempt,
} from './attempts.ts';
import { askArgument, askGroupFiles, releaseGroupFiles } from './blobs.ts';
import type { GrantedRun, GrantedTask } from './events.ts';
import { cancelledFailure, failedOutcome, findMisfit } from './failures.ts';
import type { HeldAttempt, HeldGroup, Turn } from './state.ts';
import { findAttempt, refOf } from './state.ts';
import { makeWaiting } from './waiting.ts';
import { killWorkerOf, retractFrom } from './workers.ts';

export function onGranted(
  turn: Turn,
  event: { groups: readonly GroupSpec[]; runs: readonly GrantedRun[] },
): void {
  for (const spec of event.groups) addGroup(turn, spec);
  for (const run of event.runs) {
    const group = turn.state.groups.get(run.group);
    if (group === undefined) refuseUnknown(turn, run);
    else for (const task of run.tasks) takeTask(turn, { group, run, task });
  }
}

/** Cancelled attempts are reported as such at once; only a running one costs its worker. */
export function onCancelled(turn: Turn, refs: readonly AttemptRef[]): void {
  for (const ref of refs) {
    const attempt = findAttempt(turn.state, ref);
    // Already ended or never here: the coordinator has or gets its outcome.
    if (attempt === undefined) continue;
    if (attempt.phase.kind === 'running') {
      killWorkerOf(turn, attempt, 'cancelled');
      continue;
    }
    const { phase } = attempt;
    settleAttempt(turn, attempt, failedOutcome('cancelled', cancelledFailure()));
    if (phase.kind === 'fed') retractFrom(turn, phase.worker, [attempt]);
  }
}

/** Attempts that are another node's by now: stopped and forgotten, with their outcomes. */
export function onDropped(turn: Turn, refs: readonly AttemptRef[]): void {
  const { state } = turn;
  for (const ref of refs) {
    const attempt = findAttempt(state, ref);
    if (attempt !== undefined) dropHeld(turn, attempt);
  }
  const dropped = new Map(refs.map((ref) => [taskKey(ref), ref.attempt]));
  const kept = state.outbox.filter((outcome) => {
    const isDropped = dropped.get(taskKey(outcome)) === outcome.attempt;
    if (!isDropped) return true;
    state.heldBytes -= outcomeBytes(outcome);
    turn.effects.push({ kind: 'forgetLogs', attempts: [refOf(outcome)] });
    return false;
  });
  state.outbox.splice(0, state.outbox.length, ...kept);
}

/** Stops and forgets one attempt, whatever it is doing. */
export function dropHeld(turn: Turn, attempt: HeldAttempt): void {
  const { phase } = attempt;
  if (phase.kind === 'running') killWorkerOf(turn, attempt, 'dropped');
  dropAttempt(turn, attempt);
  if (phase.kind === 'fed') retractFrom(turn, phase.worker, [attempt]);
}

/** Gives back everything that has not begun; what workers already have is asked back from them. */
export function returnUnstarted(turn: Turn): void {
  for (const attempt of [...turn.state.attempts.values()]) {
    if (attempt.phase.kind === 'waiting' || attempt.phase.kind === 'fetching') {
      returnAttempt(turn, attempt);
    }
  }
  for (const worker of turn.state.workers.values()) {
    const fed = worker.queue.filter((attempt) => attempt.phase.kind === 'fed');
    if (fed.length > 0 && worker.phase.kind === 'ready') retractFrom(turn, worker, fed);
  }
}

/** Forgets groups that nothing uses; called at each new session, which tells groups anew. */
export function forgetIdleGroups(turn: Turn): void {
  for (const group of turn.state.groups.values()) {
    if (group.heldCount === 0 && group.workers.size === 0) forgetGroup(turn, group);
  }
}

function addGroup(turn: Turn, spec: GroupSpec): void {
  const { state, now } = turn;
  if (state.groups.has(spec.group)) return;
  if (state.groups.size >= state.settings.groupsMax) forgetOldestGroup(turn);
  state.groups.set(spec.group, {
    spec,
    waiting: [],
    heldCount: 0,
    workers: new Set(),
    filesAsked: false,
    filesMissing: new Set(),
    taskMs: null,
    window: 1,
    fedAt: 0,
    broken: null,
    startFailures: 0,
    lastUsedAtMs: now,
  });
}

/** A grant of a forgotten group is given back, and a new session tells the groups anew. */
function refuseUnknown(turn: Turn, run: GrantedRun): void {
  for (const task of run.tasks) {
    turn.state.returnedNow.push({ batch: run.batch, index: task.index, attempt: run.attempt });
  }
  turn.effects.push({
    kind: 'resetSession',
    message: `A grant names group ${run.group}, which this session was not told.`,
  });
}

function takeTask(
  turn: Turn,
  granted: { group: HeldGroup; run: GrantedRun; task: GrantedTask },
): void {
  const { state, now } = turn;
  const { group, run, task } = granted;
  const ref: AttemptRef = { batch: run.batch, index: task.index, attempt: run.attempt };
  const older = state.attempts.get(taskKey(ref));
  if (older !== undefined) {
    // A repeated or late grant; the attempt number is the fencing token.
    if (older.attempt >= ref.attempt) return;
    dropHeld(turn, older);
  }
  const { cpus, memoryBytes } = state.capacity;
  const { allowNetwork } = state.settings;
  const misfit = findMisfit(group.spec, { cpus, memoryBytes, allowNetwork });
  if (misfit !== undefined) {
    queueOutcome(turn, ref, failedOutcome('crash', misfit));
    return;
  }
  // Past the bound, or while leaving: the coordinator's grant crossed what was said meanwhile.
  const heldCount = state.attempts.size + state.outbox.length + state.unacknowledgedCount;
  if (state.draining || heldCount >= state.settings.heldAttemptsMax) {
    state.returnedNow.push(ref);
    return;
  }
  const attempt: HeldAttempt = {
    batch: ref.batch,
    index: ref.index,
    attempt: ref.attempt,
    group,
    seq: state.nextSeq,
    payload: task.payload,
    blob: task.blob,
    phase: { kind: 'gone' },
    setbacks: 0,
  };
  state.nextSeq += 1;
  state.attempts.set(taskKey(ref), attempt);
  state.heldBytes += task.payload.length;
  group.heldCount += 1;
  group.lastUsedAtMs = now;
  askGroupFiles(turn, group);
  if (attempt.blob === null) makeWaiting(attempt);
  else askArgument(turn, attempt);
}

function forgetOldestGroup(turn: Turn): void {
  let oldest: HeldGroup | undefined;
  for (const group of turn.state.groups.values()) {
    if (group.heldCount > 0 || group.workers.size > 0) continue;
    if (oldest === undefined || group.lastUsedAtMs < oldest.lastUsedAtMs) oldest = group;
  }
  if (oldest !== undefined) forgetGroup(turn, oldest);
}

function forgetGroup(turn: Turn, group: HeldGroup): void {
  releaseGroupFiles(turn, group);
  const id: GroupId = group.spec.group;
  turn.state.groups.delete(id);
  if (turn.state.lastGroup === group) turn.state.lastGroup = null;
}
