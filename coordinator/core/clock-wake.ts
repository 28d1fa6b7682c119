/** How closely the core must be told the time: a query for the driver's clock. */
import type { CoordinatorState } from './entities.ts';
import { nextWakeMs } from './views.ts';

/**
 * Whether nothing waits for time before `untilMs`: no task is queued or held, no sweep goes on and no
 * timer or lease is due by then. What is left for a tick is that views show a silent node as suspect.
 */
export function isClockIdle(state: CoordinatorState, untilMs: number): boolean {
  if (state.batches.size > 0 || state.tasks.size > 0) return false;
  const wakeMs = nextWakeMs(state);
  return wakeMs === null || wakeMs > untilMs;
}
