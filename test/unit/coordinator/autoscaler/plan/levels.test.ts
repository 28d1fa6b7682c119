import { describe, expect, it } from 'vitest';
import type { Level } from '../../../../../coordinator/autoscaler/plan/levels.ts';
import { noteLevels, waitUntilMs } from '../../../../../coordinator/autoscaler/plan/levels.ts';

const settings = { lullMsMin: 5, lullMsMax: 300 };

function follow(...uses: [nowMs: number, inUse: number][]): Level[] {
  const levels: Level[] = [];
  for (const [nowMs, inUse] of uses) noteLevels(levels, inUse, { nowMs, ...settings });
  return levels;
}

describe('levels of use', () => {
  it('note when work for so many machines came and when it was over', () => {
    expect(follow([10, 2], [20, 1])).toEqual([
      { sinceMs: 10, untilMs: null, everyMs: null },
      { sinceMs: 10, untilMs: 20, everyMs: null },
    ]);
  });

  it('measure from one coming to the next', () => {
    const levels = follow([0, 2], [50, 0], [100, 2], [130, 0], [200, 1]);
    expect(levels).toMatchObject([
      { sinceMs: 200, untilMs: null, everyMs: 100 },
      { sinceMs: 100, untilMs: 130, everyMs: 100 },
    ]);
  });

  it('take no flicker of an estimate for work that comes back', () => {
    expect(follow([0, 2], [50, 1], [54, 2])[1]).toEqual({
      ...{ sinceMs: 0, untilMs: null, everyMs: null },
    });
  });

  it('forget a rhythm after a long pause', () => {
    expect(follow([0, 1], [50, 0], [100, 1], [110, 0], [500, 1])[0]).toMatchObject({
      everyMs: null,
    });
  });

  it('let a shorter time count by half', () => {
    expect(follow([0, 1], [50, 0], [100, 1], [110, 0], [140, 1])[0]).toMatchObject({ everyMs: 70 });
  });
});

describe('waiting for work', () => {
  const level = { sinceMs: 1_000, untilMs: 1_200, everyMs: 400 };

  it('goes on a little past the time at which it came last time', () => {
    expect(waitUntilMs(level, { waitMsMax: 500, slack: 1.25 })).toBe(1_500);
  });

  it('is never longer than the longest, and is not begun when work would come later', () => {
    expect(waitUntilMs(level, { waitMsMax: 250, slack: 1.25 })).toBe(1_450);
    expect(waitUntilMs(level, { waitMsMax: 100, slack: 1.25 })).toBeNull();
  });

  it('needs work that has come back once', () => {
    expect(waitUntilMs(undefined, { waitMsMax: 500, slack: 1.25 })).toBeNull();
    expect(waitUntilMs({ ...level, everyMs: null }, { waitMsMax: 500, slack: 1.25 })).toBeNull();
  });
});
