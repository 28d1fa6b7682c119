import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClockRhythm } from '../../../node-agent/clock-rhythm.ts';
import { createClockRhythm } from '../../../node-agent/clock-rhythm.ts';

let nextMs = 0;
let ticks = 0;
let rests = 0;
let clock: ClockRhythm;

beforeEach(() => {
  vi.useFakeTimers();
  nextMs = 0;
  ticks = 0;
  rests = 0;
  clock = createClockRhythm({
    tick() {
      ticks += 1;
      // The driver's turn follows.
      clock.look(true);
    },
    nextTickMs: () => nextMs,
    now: () => Date.now(),
    onRested() {
      rests += 1;
    },
    tickMs: 50,
  });
});
afterEach(() => {
  clock.stop();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("the driver's clock", () => {
  it('ticks while the core waits for time, and rests while it does not', () => {
    vi.advanceTimersByTime(1_000);
    expect(ticks).toBe(20);
    nextMs = Number.POSITIVE_INFINITY;
    vi.advanceTimersByTime(3_600_000);
    expect(ticks).toBe(21);
    expect(clock.isResting).toBe(true);
  });

  it('is put to rest by a tick alone, not by calls that come and go', () => {
    nextMs = Number.POSITIVE_INFINITY;
    clock.look(false);
    expect(clock.isResting).toBe(false);
    vi.advanceTimersByTime(50);
    expect(clock.isResting).toBe(true);
  });

  it('ticks again from the first turn on that gives it a reason', () => {
    nextMs = Number.POSITIVE_INFINITY;
    vi.advanceTimersByTime(60_000);
    nextMs = 0;
    clock.look(false);
    expect(clock.isResting).toBe(false);
    ticks = 0;
    vi.advanceTimersByTime(200);
    expect(ticks).toBe(4);
  });

  it('wakes when the core said so, also far beyond the longest timer, and not twice', () => {
    const monthMs = 30 * 24 * 3_600_000;
    nextMs = Date.now() + monthMs;
    vi.advanceTimersByTime(50);
    ticks = 0;
    clock.look(false);
    clock.look(false);
    vi.advanceTimersByTime(monthMs - 3_700_000);
    expect(clock.isResting).toBe(true);
    vi.advanceTimersByTime(3_700_000);
    expect(clock.isResting).toBe(false);
    // An hour at most is waited for in one piece.
    expect(ticks).toBeLessThanOrEqual(30 * 24 + 1);
  });

  it('wakes earlier when the core wants it earlier', () => {
    nextMs = Date.now() + 100_000;
    vi.advanceTimersByTime(50);
    nextMs = Date.now() + 1_000;
    clock.look(false);
    ticks = 0;
    vi.advanceTimersByTime(1_000);
    expect(ticks).toBe(1);
    expect(clock.isResting).toBe(false);
  });

  it('says once when it has rested for three seconds, and not after a shorter rest', () => {
    nextMs = Number.POSITIVE_INFINITY;
    vi.advanceTimersByTime(2_000);
    nextMs = 0;
    clock.look(false);
    vi.advanceTimersByTime(10_000);
    expect(rests).toBe(0);
    nextMs = Number.POSITIVE_INFINITY;
    vi.advanceTimersByTime(3_050);
    clock.look(false);
    vi.advanceTimersByTime(3_600_000);
    expect(rests).toBe(1);
  });
});
