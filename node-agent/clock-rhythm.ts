/**
 * The driver's clock: ticks while the core waits for time, rests while it does not. An idle agent
 * that wakes twenty times a second for nothing uses half a hundredth of a core.
 */

export interface ClockRhythm {
  /** Whether it does not tick: the core then must see the time before whatever comes next. */
  readonly isResting: boolean;
  /** After each turn of the core; `ticked` when the clock was in it. */
  look(ticked: boolean): void;
  stop(): void;
}

/** Longer waits are waited for in parts: a timer takes 2^31 - 1 ms at most. */
const restMsMax = 3_600_000;
/** A rest is a rest after so long: work often comes in bursts a second apart. */
const restedMs = 3_000;

/** A clock that ticks until `nextTickMs` says that it may rest. */
export function createClockRhythm(deps: {
  tick(): void;
  /** When the core wants to see the time next; in the past for at once. */
  nextTickMs(nowMs: number): number;
  now(): number;
  /** It has rested for a few seconds; once a rest. */
  onRested(): void;
  tickMs: number;
}): ClockRhythm {
  const { tick, tickMs } = deps;
  let interval: NodeJS.Timeout | undefined;
  let wake: NodeJS.Timeout | undefined;
  let wakeAtMs = Number.POSITIVE_INFINITY;
  let rested: NodeJS.Timeout | undefined;
  const go = (): void => {
    clearTimeout(rested);
    clearTimeout(wake);
    wake = undefined;
    interval ??= setInterval(tick, tickMs);
  };
  const rest = (untilMs: number): void => {
    if (interval !== undefined) rested = setTimeout(deps.onRested, restedMs);
    clearInterval(interval);
    interval = undefined;
    if (wake !== undefined && untilMs === wakeAtMs) return;
    clearTimeout(wake);
    wakeAtMs = untilMs;
    const restMs = Math.min(untilMs - deps.now(), restMsMax);
    wake = Number.isFinite(untilMs) ? setTimeout(wakeUp, restMs) : undefined;
  };
  const wakeUp = (): void => {
    wake = undefined;
    tick();
  };
  go();
  return {
    get isResting() {
      return interval === undefined;
    },
    look(ticked) {
      // Put to rest by its own ticks alone, so that calls one after another change nothing.
      if (interval !== undefined && !ticked) return;
      const nowMs = deps.now();
      const nextMs = deps.nextTickMs(nowMs);
      if (nextMs <= nowMs) go();
      else rest(nextMs);
    },
    stop() {
      clearInterval(interval);
      clearTimeout(rested);
      clearTimeout(wake);
    },
  };
}
