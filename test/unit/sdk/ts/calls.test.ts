import { describe, expect, it } from 'vitest';
import { zipCalls } from '../../../../sdk/ts/calls.ts';

async function collect(inputs: Parameters<typeof zipCalls>[0]): Promise<unknown[]> {
  const calls: unknown[] = [];
  for await (const args of zipCalls(inputs)) calls.push(args);
  return calls;
}

describe('the calls of a map', () => {
  it('are one for each element, an array being one argument', async () => {
    expect(await collect([[1, [2, 3], 'x']])).toEqual([[1], [[2, 3]], ['x']]);
    expect(await collect([[]])).toEqual([]);
  });

  it('are as many as the longest input has, filled up with null', async () => {
    expect(await collect([[1], [2, 3, 4], []])).toEqual([
      [1, 2, null],
      [null, 3, null],
      [null, 4, null],
    ]);
  });

  it('keep a null of the input, and end all inputs when the reader leaves', async () => {
    const closed: string[] = [];
    function* source(name: string): Generator<null> {
      try {
        for (;;) yield null;
      } finally {
        closed.push(name);
      }
    }
    for await (const args of zipCalls([source('one'), source('two'), [null]])) {
      expect(args).toEqual([null, null, null]);
      break;
    }
    expect(closed).toEqual(['one', 'two']);
  });

  it('read nothing before it is asked for', async () => {
    let reads = 0;
    function* source(): Generator<number> {
      for (;;) {
        reads += 1;
        yield reads;
      }
    }
    const calls = zipCalls([source()]);
    expect(reads).toBe(0);
    await calls.next();
    await calls.next();
    expect(reads).toBe(2);
    await calls.return();
  });
});
