import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClockRhythm } from '../../../coordinator/clock-rhythm.ts';
import { createClockRhythm } from '../../../coordinator/clock-rhythm.ts';

let isIdle = false;
let ticks = 0;
let rests = 0;
let clock: ClockRhythm;

beforeEach(() => {
  vi.useFakeTimers();
  isIdle = false;
  ticks = 0;
  rests = 0;
  clock = createClockRhythm({
    tick() {
      ticks += 1;
      clock.look(true);
    },
    isIdle(withinMs) {
      expect(withinMs).toBe(1_000);
      return isIdle;
    },
    onRested() {
      rests += 1;
    },
    tickMs: 100,
  });
  clock.start();
});
afterEach(() => {
  clock.stop();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("the driver's clock", () => {
  it('ticks a tenth as often while nothing waits for time', () => {
    vi.advanceTimersByTime(1_000);
    expect(ticks).toBe(10);
    isIdle = true;
    vi.advanceTimersByTime(100);
    ticks = 0;
    vi.advanceTimersByTime(10_000);
    expect(ticks).toBe(10);
  });

  it('is slowed down by a tick alone, and as fast as before from the first event on that needs it', () => {
    isIdle = true;
    clock.look(false);
    vi.advanceTimersByTime(100);
    expect(ticks).toBe(1);
    isIdle = false;
    clock.look(false);
    vi.advanceTimersByTime(300);
    expect(ticks).toBe(4);
  });

  it('does nothing any more once it is stopped', () => {
    clock.stop();
    clock.look(true);
    vi.advanceTimersByTime(10_000);
    expect(ticks).toBe(0);
  });

  it('says once when it has been slow for three ticks', () => {
    isIdle = true;
    vi.advanceTimersByTime(3_000);
    expect(rests).toBe(0);
    vi.advanceTimersByTime(3_600_000);
    expect(rests).toBe(1);
    isIdle = false;
    clock.look(false);
    isIdle = true;
    vi.advanceTimersByTime(3_600_000);
    expect(rests).toBe(2);
  });
});
