/**
 * The driver's clock: ticks as often as the core needs to see the time, and a tenth as often while
 * nothing waits for it. A wake-up of a sleeping process costs more than the look itself.
 */

export interface ClockRhythm {
  start(): void;
  /** After each tick of the driver; `ticked` when the clock was in it. */
  look(ticked: boolean): void;
  stop(): void;
}

/** Ticks of the clock that are left out, but one, while nothing waits for time. */
const idleTicks = 10;
/** Ticks in such a rhythm after which it counts as rest: work often comes in bursts a second apart. */
const restedTicks = 3;

export function createClockRhythm(deps: {
  tick(): void;
  /** Whether nothing waits for the time within so many ms. */
  isIdle(withinMs: number): boolean;
  /** Nothing has waited for time for a few seconds; once until something does again. */
  onRested(): void;
  tickMs: number;
}): ClockRhythm {
  const { tick, tickMs } = deps;
  const idleMs = tickMs * idleTicks;
  let timer: NodeJS.Timeout | undefined;
  let everyMs = 0;
  let rests = 0;
  const beat = (ms: number): void => {
    clearInterval(timer);
    everyMs = ms;
    rests = 0;
    timer = setInterval(tick, ms);
  };
  const rest = (): void => {
    rests += 1;
    if (rests === restedTicks) deps.onRested();
  };
  return {
    start: () => beat(tickMs),
    look(ticked) {
      if (timer === undefined) return;
      // Slowed down by the clock's own ticks alone, so that calls one after another change nothing.
      if (everyMs === tickMs && !ticked) return;
      const wantedMs = deps.isIdle(idleMs) ? idleMs : tickMs;
      if (wantedMs !== everyMs) beat(wantedMs);
      else if (wantedMs === idleMs && ticked) rest();
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
    },
  };
}
