/**
 * How often a cloud takes an offer's machines back, as lately seen: an average of what happened to them,
 * in which what is long ago counts less and less.
 */

/** What happened until `atMs`, faded to then. */
export interface Interruptions {
  /** Times that a machine was taken back; one of forty counts as a fortieth of one. */
  readonly count: number;
  /** How long machines were there. */
  readonly exposedMs: number;
  readonly atMs: number;
}

export const neverInterrupted: Interruptions = { count: 0, exposedMs: 0, atMs: 0 };

/** The same later; `presentSinceMs`: machines have been there ever since, null when none are. */
export function fadeInterruptions(
  history: Interruptions,
  options: { nowMs: number; presentSinceMs: number | null; halfLifeMs: number },
): Interruptions {
  const { nowMs, presentSinceMs, halfLifeMs } = options;
  const half = (ageMs: number): number => 0.5 ** (Math.max(0, ageMs) / halfLifeMs);
  const presentMs =
    presentSinceMs === null
      ? 0
      : // Of a time that goes on, too, the older part counts less.
        (halfLifeMs / Math.LN2) * (1 - half(nowMs - presentSinceMs));
  const faded = half(nowMs - history.atMs);
  return {
    count: history.count * faded,
    exposedMs: history.exposedMs * faded + presentMs,
    atMs: nowMs,
  };
}

/** Expected time until a machine is taken back; the guess counts as so much time seen. */
export function findLifeMs(
  history: Interruptions,
  guess: { spotLifeMsGuess: number; spotGuessWeightMs: number },
): number {
  const { spotLifeMsGuess, spotGuessWeightMs } = guess;
  const count = history.count + spotGuessWeightMs / spotLifeMsGuess;
  return (history.exposedMs + spotGuessWeightMs) / count;
}
