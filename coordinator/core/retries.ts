/** What becomes of a task whose attempt did not settle it. */
import { nextFloat } from '../../protocol/base/random.ts';
import { nodeLossesMax } from '../../protocol/wire/limits.ts';
import type { AttemptOutcome } from '../../protocol/wire/task.ts';
import type { AttemptEnd } from './effects.ts';
import type { OpenTask } from './entities.ts';
import { endByAttempt, endWaiting, verdictOutcome } from './outcomes.ts';
import { backOff, makeRunnable } from './places.ts';
import { takeDueTimer } from './timers.ts';
import type { Turn } from './turn.ts';

/** The attempt failed in the user's code or killed its worker: a retry, or the end of the task. */
export function retryCharged(turn: Turn, task: OpenTask, outcome: AttemptOutcome): void {
  const { status } = outcome;
  if (status !== 'exception' && status !== 'timeout' && status !== 'crash') {
    endByAttempt(turn, task, outcome);
    return;
  }
  if (mayNotGoOn(task) || task.charges >= task.batch.group.spec.retryCount) {
    endByAttempt(turn, task, outcome);
    return;
  }
  task.charges += 1;
  saveEnd(turn, task, { end: status, charged: true, message: outcome.failure?.message ?? '' });
  backOff(turn, task, turn.now + retryDelayMs(turn, task));
}

/** The worker died through the node's fault: tried elsewhere, counted as a loss so that it ends some day. */
export function retryUncharged(turn: Turn, task: OpenTask, outcome: AttemptOutcome): void {
  if (mayNotGoOn(task) || task.losses >= nodeLossesMax) {
    endByAttempt(turn, task, outcome);
    return;
  }
  task.losses += 1;
  saveEnd(turn, task, { end: 'crash', charged: false, message: outcome.failure?.message ?? '' });
  makeRunnable(turn, task, {
    avoidMs: turn.state.settings.retryElsewhereMs,
    avoidStrictly: false,
    adoptable: false,
  });
}

/** The attempt was lost with its node: again at once, uncharged, a bounded number of times. */
export function loseAttempt(turn: Turn, task: OpenTask, why: string): void {
  if (mayNotGoOn(task)) {
    const message = `It was being cancelled when its node was lost: ${why}`;
    endByAttempt(turn, task, verdictOutcome({ status: 'cancelled', name: 'Cancelled', message }));
    return;
  }
  if (task.losses >= nodeLossesMax) {
    const message = `It lost its node ${task.losses + 1} times; the last time: ${why}`;
    endByAttempt(turn, task, verdictOutcome({ status: 'lost', name: 'NodeLost', message }));
    return;
  }
  task.losses += 1;
  saveEnd(turn, task, { end: 'lost', charged: false, message: why });
  makeRunnable(turn, task, { avoidMs: 0, avoidStrictly: false, adoptable: true });
}

/** The attempt is taken from a node that is to go: elsewhere at once, counted as a loss, uncharged. */
export function giveBackAttempt(turn: Turn, task: OpenTask, why: string): void {
  if (mayNotGoOn(task) || task.losses >= nodeLossesMax) {
    loseAttempt(turn, task, why);
    return;
  }
  task.losses += 1;
  saveEnd(turn, task, { end: 'lost', charged: false, message: why });
  // What its node still says of it is the end that it was told to make of it.
  makeRunnable(turn, task, { avoidMs: 0, avoidStrictly: false, adoptable: false });
}

/** The node gave the attempt back unstarted: for another node, or later for the same. */
export function returnAttempt(turn: Turn, task: OpenTask): void {
  if (mayNotGoOn(task)) {
    const message = 'It was cancelled before it started.';
    endByAttempt(turn, task, verdictOutcome({ status: 'cancelled', name: 'Cancelled', message }));
    return;
  }
  saveEnd(turn, task, { end: 'returned', charged: false, message: '' });
  makeRunnable(turn, task, {
    avoidMs: turn.state.settings.returnedPauseMs,
    avoidStrictly: true,
    adoptable: false,
  });
}

/** Does what has become due: pauses end, queue timeouts strike. */
export function passTimers(turn: Turn): void {
  for (;;) {
    const timer = takeDueTimer(turn.state, turn.now);
    if (timer === undefined) return;
    if (timer.kind === 'placement') {
      timer.group.placementAtMs = null;
      turn.wakeAll = true;
    } else if (timer.kind === 'group') {
      turn.state.sweeps.push({ kind: 'queueTimeout', group: timer.group });
    } else passTaskTimer(turn, timer.task);
  }
}

/** Writes how an attempt ended without settling its task. */
export function saveEnd(
  turn: Turn,
  task: OpenTask,
  end: { end: AttemptEnd; charged: boolean; message: string },
): void {
  turn.effects.push({
    kind: 'saveAttemptEnd',
    batch: task.batch.number,
    index: task.index,
    attempt: task.attempt,
    node: task.node,
    ...end,
    atMs: turn.now,
  });
}

/** A task that was cancelled, or whose group ends, gets no further attempt. */
function mayNotGoOn(task: OpenTask): boolean {
  if (task.batch.group.state !== 'running') return true;
  return task.place.kind === 'held' && task.place.cancelAsked;
}

function passTaskTimer(turn: Turn, task: OpenTask): void {
  if (task.place.kind === 'backoff') {
    makeRunnable(turn, task, {
      avoidMs: turn.state.settings.retryElsewhereMs,
      avoidStrictly: false,
      adoptable: false,
    });
    return;
  }
  if (task.place.kind !== 'runnable') return;
  const { queueTimeoutMs } = task.batch.group.spec;
  if (queueTimeoutMs !== null && task.place.sinceMs + queueTimeoutMs <= turn.now) {
    const message = `It waited longer than the group's queue timeout of ${queueTimeoutMs / 1000} s.`;
    endWaiting(turn, task, { status: 'timeout', name: 'QueueTimeout', message });
    return;
  }
  // The node that it avoided may have it now.
  turn.wakeAll = true;
}

/** Doubles with every charge, from half to one and a half of it: retries of a batch spread out. */
function retryDelayMs(turn: Turn, task: OpenTask): number {
  const { retryDelayBaseMs, retryDelayMaxMs } = turn.state.settings;
  const full = Math.min(retryDelayMaxMs, retryDelayBaseMs * 2 ** Math.min(task.charges - 1, 30));
  return Math.round(full * (0.5 + nextFloat(turn.state.random)));
}
