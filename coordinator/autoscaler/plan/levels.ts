/**
 * How work comes and goes, level by level: level 3 is the third machine that it is worth. What came
 * back soon before is likely to again, and giving its machine back would only boot another.
 */

export interface Level {
  /** When work for so many machines last came, after a lull. */
  sinceMs: number;
  /** When it was last over; null while it is there. */
  untilMs: number | null;
  /** From one coming to the next, as lately seen; null when it has come only once, or long ago. */
  everyMs: number | null;
}

/** Notes how many machines are in use now; `levels` stay nested: those with work come first. */
export function noteLevels(
  levels: Level[],
  inUse: number,
  options: { nowMs: number; lullMsMin: number; lullMsMax: number },
): void {
  const { nowMs } = options;
  const ended = levels.findIndex(({ untilMs }) => untilMs !== null);
  const before = ended === -1 ? levels.length : ended;
  for (const level of levels.slice(inUse, before)) level.untilMs = nowMs;
  for (let at = before; at < inUse; at += 1) {
    const level = levels[at];
    if (level === undefined) levels.push({ sinceMs: nowMs, untilMs: null, everyMs: null });
    else comeBack(level, options);
  }
}

function comeBack(
  level: Level,
  options: { nowMs: number; lullMsMin: number; lullMsMax: number },
): void {
  const { nowMs, lullMsMin, lullMsMax } = options;
  const lullMs = nowMs - (level.untilMs ?? nowMs);
  level.untilMs = null;
  // Estimates go up and down while work is done; that is not work that comes and goes.
  if (lullMs < lullMsMin) return;
  const everyMs = nowMs - level.sinceMs;
  level.sinceMs = nowMs;
  // Yesterday's rhythm says nothing of today's.
  if (lullMs > lullMsMax) level.everyMs = null;
  // Shorter ones count by half: waiting a little too long is cheaper than a boot too many.
  else level.everyMs = Math.max(everyMs, ((level.everyMs ?? everyMs) + everyMs) / 2);
}

/** Until when work for this level may be waited for; null when waiting costs more than it saves. */
export function waitUntilMs(
  level: Level | undefined,
  options: { waitMsMax: number; slack: number },
): number | null {
  if (level === undefined || level.untilMs === null || level.everyMs === null) return null;
  const latestMs = level.untilMs + options.waitMsMax;
  if (level.sinceMs + level.everyMs > latestMs) return null;
  return Math.min(latestMs, level.sinceMs + options.slack * level.everyMs);
}
