/**
 * Ends queued tasks in bounded numbers a step: a terminated group's as `cancelled`, those that
 * waited too long as `timeout`. What a step leaves over is due at once, so the driver ticks again.
 * A restart goes on where it stopped: the group's state, and the time, are on disk.
 */
import type { Group } from './entities.ts';
import type { Verdict } from './outcomes.ts';
import { endFresh, endGroupWhenDone, endWaiting } from './outcomes.ts';
import { findFreshHead } from './queue.ts';
import { armQueueTimer } from './timers.ts';
import type { Turn } from './turn.ts';

const groupEnded: Verdict = {
  status: 'cancelled',
  name: 'Cancelled',
  message: 'Its group was terminated before it ran.',
};

/** Does what the bound of one step allows; later sweeps wait behind earlier ones. */
export function passSweeps(turn: Turn): void {
  let left = turn.state.settings.sweepTasksMax;
  while (left > 0) {
    const sweep = turn.state.sweeps[0];
    if (sweep === undefined) return;
    const ended =
      sweep.kind === 'group'
        ? sweepGroup(turn, sweep.group, left)
        : sweepTimeouts(turn, sweep.group, left);
    left -= ended;
    if (left <= 0) return;
    turn.state.sweeps.shift();
    if (sweep.kind === 'queueTimeout') {
      sweep.group.queueTimer = false;
      armQueueTimer(turn.state, sweep.group);
    }
  }
}

function sweepGroup(turn: Turn, group: Group, limit: number): number {
  let ended = 0;
  for (const task of group.waiting.values()) {
    if (ended === limit) return ended;
    endWaiting(turn, task, groupEnded);
    ended += 1;
  }
  while (ended < limit) {
    const head = findFreshHead(group);
    if (head === undefined) break;
    ended += endFresh(turn, head, { limit: limit - ended, verdict: groupEnded });
  }
  endGroupWhenDone(turn, group);
  return ended;
}

function sweepTimeouts(turn: Turn, group: Group, limit: number): number {
  const { queueTimeoutMs } = group.spec;
  if (queueTimeoutMs === null) return 0;
  const message = `It waited longer than the group's queue timeout of ${queueTimeoutMs / 1000} s.`;
  const verdict: Verdict = { status: 'timeout', name: 'QueueTimeout', message };
  let ended = 0;
  while (ended < limit) {
    const head = findFreshHead(group);
    if (head === undefined || head.submittedAtMs + queueTimeoutMs > turn.now) break;
    ended += endFresh(turn, head, { limit: limit - ended, verdict });
  }
  return ended;
}
