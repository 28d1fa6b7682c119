/**
 * What nodes say about attempts. A report is taken when its attempt is the task's latest: running, or
 * declared lost and not granted again since (decision 6). Everything else is late and changes
 * nothing, but is acknowledged all the same, so that the node stops repeating it.
 */
import { assertNever } from '../../protocol/base/assert.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { AttemptOutcome } from '../../protocol/wire/task.ts';
import { runtimeFloorMs } from './credit.ts';
import { learnImage } from './eligibility.ts';
import type { CoreNode, OpenTask } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { chargeUsage } from './fair-share.ts';
import { endByAttempt } from './outcomes.ts';
import { noteWorking, takeCrash } from './quarantine.ts';
import { loseAttempt, retryCharged, returnAttempt } from './retries.ts';
import { countRuntime } from './runtimes.ts';
import type { Turn } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

/** Outcomes arrived; the acknowledgement rests on the saves before it. */
export function takeReport(turn: Turn, node: CoreNode, event: Event<'reportReceived'>): void {
  for (const report of event.outcomes) {
    const task = findReportable(turn, node, report);
    if (task !== undefined)
      takeOutcome(turn, node, { task, outcome: outcomeOf(turn, task, report) });
  }
  const { session } = event;
  turn.effects.push({ kind: 'sendAck', node: node.id, session, report: event.report });
}

/** Workers have begun these. */
export function takeStarted(turn: Turn, node: CoreNode, event: Event<'attemptsStarted'>): void {
  for (const attempt of event.attempts) {
    const task = findHeld(node, attempt);
    if (task !== undefined && task.startedAtMs === null) task.startedAtMs = turn.now;
  }
}

/** The node gives these back unstarted. */
export function takeReturned(turn: Turn, node: CoreNode, event: Event<'attemptsReturned'>): void {
  for (const attempt of event.attempts) {
    const task = findHeld(node, attempt);
    if (task !== undefined) returnAttempt(turn, task);
  }
}

/** The task of an attempt when it is this node's and stands. */
export function findHeld(node: CoreNode, attempt: AttemptRef): OpenTask | undefined {
  const task = node.held.get(taskKey(attempt));
  return task?.attempt === attempt.attempt && task.batch.number === attempt.batch
    ? task
    : undefined;
}

/** The task of an attempt when it is this node's and was declared lost, and nobody has it since. */
export function findAdoptable(
  turn: Turn,
  node: CoreNode,
  attempt: AttemptRef,
): OpenTask | undefined {
  const task = turn.state.tasks.get(taskKey(attempt));
  if (task === undefined || task.attempt !== attempt.attempt || task.node !== node.id)
    return undefined;
  return task.place.kind === 'runnable' && task.place.adoptable ? task : undefined;
}

function findReportable(turn: Turn, node: CoreNode, attempt: AttemptRef): OpenTask | undefined {
  return findHeld(node, attempt) ?? findAdoptable(turn, node, attempt);
}

function takeOutcome(
  turn: Turn,
  node: CoreNode,
  options: { task: OpenTask; outcome: AttemptOutcome },
): void {
  const { task, outcome } = options;
  const { group } = task.batch;
  if (task.place.kind === 'held') chargeUsage(group, outcome.runtimeMs);
  switch (outcome.status) {
    case 'success':
      measure(turn, task, outcome.runtimeMs);
      group.lastSuccessOn = node.id;
      noteWorking(node);
      learnImage(node, group);
      endByAttempt(turn, task, outcome);
      return;
    case 'exception':
      measure(turn, task, outcome.runtimeMs);
      noteWorking(node);
      learnImage(node, group);
      retryCharged(turn, task, outcome);
      return;
    case 'timeout':
      retryCharged(turn, task, outcome);
      return;
    case 'crash':
      takeCrash(turn, { task, node, outcome });
      return;
    case 'oom':
    case 'cancelled':
    case 'version_mismatch':
      endByAttempt(turn, task, outcome);
      return;
    case 'lost':
      // Only the coordinator can say so; a node that does has lost the attempt, not the task.
      if (task.place.kind === 'held') loseAttempt(turn, task, 'the node gave it up');
      return;
    default:
      assertNever(outcome.status);
  }
}

/** The reported outcome alone, with a runtime that fits the coordinator's own clock (decision 20). */
function outcomeOf(turn: Turn, task: OpenTask, report: AttemptOutcome): AttemptOutcome {
  const { status, result, failure, runtimeMs, peakMemoryBytes, logBytes, outputs } = report;
  const possibleMs = turn.now - task.grantedAtMs;
  const known = Number.isFinite(runtimeMs) ? runtimeMs : possibleMs;
  return {
    status,
    result,
    failure,
    runtimeMs: Math.max(0, Math.min(known, possibleMs)),
    peakMemoryBytes,
    logBytes,
    ...(outputs === undefined ? {} : { outputs }),
  };
}

function measure(turn: Turn, task: OpenTask, runtimeMs: number): void {
  const { group } = task.batch;
  const { runtimeWeight } = turn.state.settings;
  countRuntime(group.runtimes, runtimeMs);
  group.runtimeMs =
    group.runtimeMs === null
      ? runtimeMs
      : group.runtimeMs + runtimeWeight * (runtimeMs - group.runtimeMs);
  const floored = Math.max(runtimeMs, runtimeFloorMs);
  group.typicalMs =
    group.typicalMs === null
      ? floored
      : group.typicalMs * (floored / Math.max(group.typicalMs, runtimeFloorMs)) ** runtimeWeight;
}
