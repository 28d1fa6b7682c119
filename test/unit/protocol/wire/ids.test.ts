import { describe, expect, it } from 'vitest';
import type { BatchNumber } from '../../../../protocol/wire/ids.ts';
import {
  findTaskRef,
  formatTaskId,
  isNamespaceName,
  taskIndexMax,
  taskKey,
  taskOfKey,
} from '../../../../protocol/wire/ids.ts';

const batch = (number: number) => number as BatchNumber;

describe('a task id', () => {
  it('names its batch and its place in it', () => {
    expect(formatTaskId({ batch: batch(17), index: 3 })).toBe('17-3');
    expect(findTaskRef('17-3')).toEqual({ batch: 17, index: 3 });
  });

  it.each(['', '17', '17-', '-3', '0-1', '01-1', '1-01', '1-65536', '1-2-3', ' 1-2'])(
    'is not read from %j',
    (text) => {
      expect(findTaskRef(text)).toBeUndefined();
    },
  );

  it('has a key in order of submission that leads back to it', () => {
    const task = { batch: batch(2_000_000_000), index: taskIndexMax };
    expect(taskOfKey(taskKey(task))).toEqual(task);
    expect(taskKey({ batch: batch(2), index: 0 })).toBeGreaterThan(
      taskKey({ batch: batch(1), index: taskIndexMax }),
    );
  });
});

describe('a namespace name', () => {
  it('is 1 to 63 of a-z, 0-9 and inner hyphens', () => {
    for (const good of ['a', 'team-7', 'x'.repeat(63)]) expect(isNamespaceName(good)).toBe(true);
    for (const bad of ['', '-a', 'a-', 'A', 'a_b', 'x'.repeat(64), 'a/b']) {
      expect(isNamespaceName(bad)).toBe(false);
    }
  });
});
