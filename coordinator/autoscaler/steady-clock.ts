/**
 * The time of day as it was at the start, counted on by the machine's own ticking: somebody who sets
 * the clock must not make every machine look overdue.
 */
export function createSteadyClock(): { nowMs(): number } {
  const startedAtMs = Date.now();
  const startMs = performance.now();
  return { nowMs: () => startedAtMs + Math.round(performance.now() - startMs) };
}
