/** What no rule can beat. */

export interface SimTask {
  readonly atMs: number;
  readonly runMs: number;
}

/** The formula of `boundSeconds`, for people. */
export const boundFormula =
  'max over times t of arrival: max(t, R) + max(work that arrives at t or later ÷ capacity, its longest task), where R = first arrival + least boot';

/**
 * The least time at which all can be done. Nothing runs before `readyMs`, when the first machine can
 * have booted; what arrives at a time or later cannot be begun before, has only so many places, and
 * no task is shared. A fleet that foresees everything, and has all its machines warm, does no better.
 */
export function boundSeconds(
  tasks: readonly SimTask[],
  options: { capacity: number; bootMsMin: number; isWarm: boolean },
): number {
  const { capacity, bootMsMin, isWarm } = options;
  const firstMs = Math.min(...tasks.map(({ atMs }) => atMs));
  // Spares are asked for at the beginning, whatever arrives when.
  const readyMs = (isWarm ? 0 : firstMs) + bootMsMin;
  let workMs = 0;
  let longestMs = 0;
  let boundMs = 0;
  for (const task of [...tasks].sort((one, other) => other.atMs - one.atMs)) {
    workMs += task.runMs;
    longestMs = Math.max(longestMs, task.runMs);
    const beginMs = Math.max(task.atMs, readyMs);
    boundMs = Math.max(boundMs, beginMs + Math.max(workMs / capacity, longestMs));
  }
  return boundMs / 1000;
}
