/** What workers do, and what it means for the tasks that they have. */
import { assert } from '../../protocol/base/assert.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { AttemptOutcome, TaskOutput } from '../../protocol/wire/task.ts';
import { returnAttempt, settleAttempt } from './attempts.ts';
import { measureTask } from './credit.ts';
import type { EndedTask, SpooledOutput, WorkerEnd, WorkerEvent } from './events.ts';
import {
  cancelledFailure,
  deathOutcome,
  failedOutcome,
  loadDeath,
  setbackFailure,
  timeoutFailure,
  unstartableFailure,
} from './failures.ts';
import { storeFiles } from './files.ts';
import type { EndCause, HeldAttempt, HeldGroup, Turn, Worker } from './state.ts';
import { findRunning, refOf } from './state.ts';
import { makeWaiting } from './waiting.ts';

type WorkerEnded = Extract<WorkerEvent, { kind: 'workerEnded' }>;

export function onWorkerEvent(turn: Turn, event: WorkerEvent): void {
  const worker = turn.state.workers.get(event.worker);
  // The runner's last words of a worker may come after its end.
  if (worker === undefined) return;
  switch (event.kind) {
    case 'workerReady':
      onReady(turn, worker);
      break;
    case 'taskStarted':
      onTaskStarted(turn, worker, event.task);
      break;
    case 'taskEnded':
      onTaskEnded(turn, worker, event.task);
      break;
    case 'workerEnded':
      onEnded(turn, worker, event);
      break;
    case 'tasksRetracted':
      onRetracted(turn, worker, event.tasks);
      break;
  }
}

/** Ends the worker of a running attempt, for that attempt's sake. */
export function killWorkerOf(
  turn: Turn,
  attempt: HeldAttempt,
  kind: 'timeout' | 'cancelled' | 'dropped',
): void {
  assert(attempt.phase.kind === 'running', 'only a running attempt costs its worker');
  endWorker(turn, attempt.phase.worker, { kind, attempt });
}

/** Tells the runner to end a worker, once. */
export function endWorker(turn: Turn, worker: Worker, cause: EndCause): void {
  if (worker.phase.kind === 'ending') return;
  worker.phase = { kind: 'ending', cause };
  // An idle worker may leave in its own time, unless its place is wanted now.
  const kind = cause.kind === 'idle' ? 'stopWorker' : 'killWorker';
  turn.effects.push({ kind, worker: worker.number });
}

/** Asks a worker to give back tasks that it has not begun; `tasksRetracted` answers. */
export function retractFrom(turn: Turn, worker: Worker, attempts: readonly HeldAttempt[]): void {
  turn.effects.push({
    kind: 'retractTasks',
    worker: worker.number,
    tasks: attempts.map(refOf),
  });
}

function onReady(turn: Turn, worker: Worker): void {
  if (worker.phase.kind !== 'starting') return;
  worker.phase = { kind: 'ready' };
  worker.idleSinceMs = turn.now;
  worker.group.startFailures = 0;
  worker.group.broken = null;
  turn.state.unstartableInRow = 0;
}

function onTaskStarted(turn: Turn, worker: Worker, ref: AttemptRef): void {
  const attempt = findQueued(worker, ref);
  if (attempt === undefined) return;
  bringToFront(worker, attempt);
  if (attempt.phase.kind === 'gone') {
    // Cancelled or dropped while the worker already had it: nobody wants it run.
    endWorker(turn, worker, { kind: 'dropped', attempt });
    return;
  }
  attempt.phase = { kind: 'running', worker, startedAtMs: turn.now };
  turn.state.startedNow.push(attempt);
}

function onTaskEnded(turn: Turn, worker: Worker, task: EndedTask): void {
  const attempt = findQueued(worker, task);
  if (attempt === undefined) {
    discardResult(turn, task);
    return;
  }
  worker.queue.splice(worker.queue.indexOf(attempt), 1);
  if (worker.queue.length === 0) worker.idleSinceMs = turn.now;
  measureTask(turn.state, worker.group, task.runtimeMs);
  if (attempt.phase.kind === 'gone') {
    discardResult(turn, task);
    return;
  }
  const outcome: AttemptOutcome = {
    status: task.status,
    result: task.result,
    failure: task.failure,
    runtimeMs: task.runtimeMs,
    peakMemoryBytes: task.peakMemoryBytes,
    logBytes: task.logBytes,
    ...(task.outputs === undefined ? {} : { outputs: task.outputs.map(toldOutput) }),
  };
  const result = task.resultPath === null ? null : { path: task.resultPath, tag: task.resultTag };
  storeFiles(turn, attempt, { outcome, result, outputs: task.outputs ?? [] });
}

/** What the coordinator is told of an output: all but where it lies here. */
function toldOutput({ path: _path, ...output }: SpooledOutput): TaskOutput {
  return output;
}

function onRetracted(turn: Turn, worker: Worker, refs: readonly AttemptRef[]): void {
  for (const ref of refs) {
    const attempt = findQueued(worker, ref);
    if (attempt === undefined || findRunning(worker) === attempt) continue;
    worker.queue.splice(worker.queue.indexOf(attempt), 1);
    if (attempt.phase.kind !== 'fed') continue;
    makeWaiting(attempt);
    if (turn.state.draining) returnAttempt(turn, attempt);
  }
  if (worker.queue.length === 0) worker.idleSinceMs = turn.now;
}

function onEnded(turn: Turn, worker: Worker, event: WorkerEnded): void {
  const { state } = turn;
  const running = findRunning(worker);
  const left = worker.queue.splice(0).filter((attempt) => attempt !== running);
  state.workers.delete(worker.number);
  worker.group.workers.delete(worker);
  worker.group.lastUsedAtMs = turn.now;
  if (running !== undefined) settleRunning(turn, { worker, running, event });
  const blameless = worker.phase.kind === 'ending';
  for (const attempt of left) {
    if (attempt.phase.kind !== 'fed') continue;
    // The worker died between tasks, perhaps of reading the next one: not for ever.
    if (running === undefined && !blameless && attempt === left[0]) attempt.setbacks += 1;
    if (attempt.setbacks >= state.settings.setbacksMax) {
      settleAttempt(turn, attempt, failedOutcome('crash', setbackFailure(attempt.setbacks)));
      continue;
    }
    makeWaiting(attempt);
    if (state.draining) returnAttempt(turn, attempt);
  }
  if (worker.phase.kind !== 'ending') onFailedStart(turn, worker, event.end);
}

/** The outcome of the attempt that was running when its worker ended. */
function settleRunning(
  turn: Turn,
  ended: { worker: Worker; running: HeldAttempt; event: WorkerEnded },
): void {
  const { worker, running, event } = ended;
  const told = event.running;
  const startedAtMs = running.phase.kind === 'running' ? running.phase.startedAtMs : turn.now;
  const measured = {
    runtimeMs: told?.runtimeMs ?? turn.now - startedAtMs,
    logBytes: told?.logBytes ?? 0,
    peakMemoryBytes: 'peakMemoryBytes' in event.end ? event.end.peakMemoryBytes : 0,
  };
  const cause = worker.phase.kind === 'ending' ? worker.phase.cause : null;
  if (cause !== null && (!('attempt' in cause) || cause.attempt !== running)) {
    // The worker went on to this task before the kill for another one arrived: not its fault.
    makeWaiting(running);
    return;
  }
  if (cause?.kind === 'cancelled') {
    settleAttempt(turn, running, failedOutcome('cancelled', cancelledFailure(), measured));
    return;
  }
  if (cause?.kind === 'timeout') {
    const failure = timeoutFailure(running.group.spec);
    settleAttempt(turn, running, failedOutcome('timeout', failure, measured));
    return;
  }
  const { end } = event;
  if (end.kind === 'unstartable' || end.kind === 'unloadable') {
    const died = { kind: 'died', exitCode: null, signal: null, peakMemoryBytes: 0 } as const;
    settleAttempt(turn, running, deathOutcome(running.group.spec, died, measured));
    return;
  }
  settleAttempt(turn, running, deathOutcome(running.group.spec, end, measured));
}

/** A worker that never became ready tells of its group, or of this node. */
function onFailedStart(turn: Turn, worker: Worker, end: WorkerEnd): void {
  const { state, now } = turn;
  const { group } = worker;
  const untilMs = now + state.settings.unloadableMs;
  if (end.kind === 'unloadable') {
    group.broken = { untilMs, code: end.code, failure: end.failure };
    return;
  }
  if (end.kind === 'unstartable') {
    onUnstartable(turn, group, end.message);
    return;
  }
  if (worker.phase.kind === 'ready' || end.kind === 'asked') return;
  // It died while it loaded the function, before any task: every task of the group would meet that.
  const { status, failure } = loadDeath(group.spec, end);
  group.broken = { untilMs, code: status, failure };
}

function onUnstartable(turn: Turn, group: HeldGroup, message: string): void {
  const { state, now } = turn;
  group.startFailures += 1;
  state.unstartableInRow += 1;
  turn.effects.push({ kind: 'warn', message: `A sandbox could not be started: ${message}` });
  // Once may be chance (memory pressure, a slow disk); twice in a row is this node.
  if (group.startFailures < 2) return;
  // While another group's sandboxes stand, it is this group's that cannot.
  const worksForOthers = [...state.workers.values()].some(
    (worker) => worker.group !== group && worker.phase.kind === 'ready',
  );
  if (!worksForOthers) {
    const { unstartableBackoffMs, unstartableBackoffMsMax } = state.settings;
    const doublings = Math.min(Math.max(state.unstartableInRow - 2, 0), 20);
    state.unhealthyUntilMs =
      now + Math.min(unstartableBackoffMs * 2 ** doublings, unstartableBackoffMsMax);
  }
  const oldest = group.waiting[0];
  if (oldest === undefined) return;
  settleAttempt(turn, oldest, failedOutcome('crash', unstartableFailure(message)));
  for (const attempt of [...group.waiting]) returnAttempt(turn, attempt);
}

function findQueued(worker: Worker, ref: AttemptRef): HeldAttempt | undefined {
  return worker.queue.find(
    (attempt) =>
      attempt.index === ref.index && attempt.batch === ref.batch && attempt.attempt === ref.attempt,
  );
}

/** Workers run in the order fed; should a runner not, the one that runs still comes first. */
function bringToFront(worker: Worker, attempt: HeldAttempt): void {
  if (worker.queue[0] === attempt) return;
  worker.queue.splice(worker.queue.indexOf(attempt), 1);
  worker.queue.unshift(attempt);
}

function discardResult(turn: Turn, task: EndedTask): void {
  if (task.resultPath !== null) {
    turn.effects.push({ kind: 'removeResult', path: task.resultPath });
  }
  for (const { path } of task.outputs ?? []) turn.effects.push({ kind: 'removeResult', path });
  turn.effects.push({ kind: 'forgetLogs', attempts: [refOf(task)] });
}
