/** When the core must be told the time: a query for the driver's clock. */
import type { AgentState } from './state.ts';

/**
 * When `clockTicked` is next of use: the past while anything is held, told, broken or lost; the time
 * when the first idle worker has waited for long enough, or when work may be taken again; infinity
 * when nothing waits for time.
 */
export function nextTickMs(state: AgentState, nowMs: number): number {
  if (isRestless(state)) return nowMs;
  let nextMs = Number.POSITIVE_INFINITY;
  for (const { phase, queue, idleSinceMs } of state.workers.values()) {
    if (phase.kind !== 'ready' || queue.length > 0) return nowMs;
    nextMs = Math.min(nextMs, idleSinceMs + state.settings.workerIdleMs);
  }
  for (const blob of state.blobs.values()) if (blob.phase.kind === 'failed') return nowMs;
  for (const image of state.images.values()) if (image.kind === 'failed') return nowMs;
  // How much is pulled changes then.
  for (const untilMs of [state.unhealthyUntilMs, state.cautiousUntilMs]) {
    if (untilMs > nowMs) nextMs = Math.min(nextMs, untilMs);
  }
  return nextMs;
}

function isRestless(state: AgentState): boolean {
  if (state.session.kind !== 'open' || state.draining || state.stopping) return true;
  return state.attempts.size > 0 || state.outbox.length > 0 || state.reports.size > 0;
}
