/** What the shell reads from the state, between steps. */
import type { AttemptRef, ImageDigest } from '../../protocol/wire/ids.ts';
import type { AgentState } from './state.ts';
import { isBusy, refOf } from './state.ts';

/** Every attempt that the node still has: waiting, running, or ended and not acknowledged. */
export function listHeld(state: AgentState): AttemptRef[] {
  const held: AttemptRef[] = [...state.attempts.values()].map(refOf);
  for (const outcome of state.outbox) held.push(refOf(outcome));
  for (const report of state.reports.values()) {
    for (const outcome of report.outcomes) held.push(refOf(outcome));
  }
  return held;
}

/** Whether attempts that the node has need an image. */
export function isImageWanted(state: AgentState, digest: ImageDigest): boolean {
  for (const group of state.groups.values()) {
    if (group.heldCount > 0 && group.spec.imageDigest === digest) return true;
  }
  return false;
}

/** Numbers for people and for the heartbeat. */
export function summarize(state: AgentState): {
  held: number;
  busy: number;
  workers: number;
  unacknowledged: number;
  draining: boolean;
} {
  const workers = [...state.workers.values()];
  return {
    held: state.attempts.size,
    busy: workers.filter(isBusy).length,
    workers: workers.length,
    unacknowledged: state.outbox.length + state.unacknowledgedCount,
    draining: state.draining,
  };
}
