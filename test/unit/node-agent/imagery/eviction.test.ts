import { describe, expect, it } from 'vitest';
import { createEviction } from '../../../../node-agent/imagery/eviction.ts';
import { hitRateOfLru, hitRateOfPolicy, makeTrace } from './traces.ts';

describe('S3-FIFO', () => {
  it('keeps at least 1.3 times the hits of LRU on a skewed trace with one-off scans', () => {
    for (const seed of [1, 2, 3]) {
      const trace = makeTrace(seed);
      const own = hitRateOfPolicy(trace, 1_000);
      expect(own).toBeGreaterThan(1.3 * hitRateOfLru(trace, 1_000));
    }
  });

  it('never takes a pinned piece, and says when only those are left', () => {
    const eviction = createEviction(100);
    for (const id of ['a', 'b', 'c']) eviction.add(id, 40);
    expect(eviction.takeVictim((id) => id === 'a')).toBe('b');
    expect(eviction.takeVictim((id) => id === 'a')).toBe('c');
    expect(eviction.takeVictim((id) => id === 'a')).toBeUndefined();
    expect(eviction.bytes).toBe(40);
  });

  it('counts the bytes of what it holds through any order of calls', () => {
    const eviction = createEviction(1_000);
    for (let at = 0; at < 500; at += 1) {
      eviction.add(String(at % 97), 10);
      eviction.touch(String(at % 13));
      if (at % 5 === 0) eviction.remove(String(at % 31));
      while (eviction.bytes > 300) eviction.takeVictim(() => false);
    }
    let left = 0;
    while (eviction.takeVictim(() => false) !== undefined) left += 10;
    expect(left).toBeGreaterThan(0);
    expect(eviction.bytes).toBe(0);
  });
});
