import { describe, expect, it } from 'vitest';
import type { CoreBench } from './core-bench.ts';
import {
  benchWithWorker,
  ended,
  grant,
  groupSpec,
  ref,
  reported,
  resultPayload,
  started,
} from './core-bench.ts';

const spec = groupSpec();
const tenMs = { runtimeMs: 10 };

/** A bench whose worker holds tasks of 10 ms, numbers 0 to `count` - 1, the first of them running. */
function benchOfShortTasks(count: number): CoreBench {
  const bench = benchWithWorker(spec);
  for (let index = 0; index < 40; index += 1) {
    bench.turn(grant(spec, [index], { batch: 8 }));
    bench.turn(started(1, ref(index, { batch: 8 })));
    const report = bench
      .turn(ended(1, ref(index, { batch: 8 }), tenMs))
      .find((effect) => effect.kind === 'sendReport');
    if (report !== undefined) bench.turn({ kind: 'reportAcknowledged', report: report.report });
  }
  const indexes = Array.from({ length: count }, (_, index) => index);
  bench.turn(grant(spec, indexes));
  bench.turn(started(1, ref(0)));
  return bench;
}

/** Ends a task; the next one begins. */
function end(bench: CoreBench, index: number, change: Parameters<typeof ended>[2] = tenMs) {
  return reported(bench.turn(ended(1, ref(index), change), started(1, ref(index + 1))));
}

describe('the outcome of a short task', () => {
  it('waits for the next ones while the node has enough to do', () => {
    const bench = benchOfShortTasks(5);
    expect(end(bench, 0)).toEqual([]);
    bench.now += 10;
    expect(end(bench, 1)).toEqual([]);
    bench.now += 10;
    expect(end(bench, 2)).toEqual(['1-0#1 success', '1-1#1 success', '1-2#1 success']);
  });

  it('does not wait when the node would run out of work', () => {
    const bench = benchOfShortTasks(3);
    expect(end(bench, 0)).toEqual([]);
    // One that runs and one behind it were enough; one alone is not.
    expect(end(bench, 1)).toEqual(['1-0#1 success', '1-1#1 success']);
  });

  it('does not wait behind a task that turns out long', () => {
    const bench = benchOfShortTasks(5);
    expect(end(bench, 0)).toEqual([]);
    expect(reported(bench.pass(50))).toEqual(['1-0#1 success']);
  });

  it('does not wait when it failed, and takes along those that do', () => {
    const bench = benchOfShortTasks(6);
    expect(end(bench, 0)).toEqual([]);
    const failure = { name: 'ValueError', message: 'no', traceback: '' };
    const failed = { ...tenMs, status: 'exception', result: new Uint8Array(0), failure } as const;
    expect(end(bench, 1, failed)).toEqual(['1-0#1 success', '1-1#1 exception']);
  });

  it('does not wait on a node that leaves', () => {
    const bench = benchOfShortTasks(5);
    expect(end(bench, 0)).toEqual([]);
    expect(reported(bench.turn({ kind: 'drainOrdered' }))).toEqual(['1-0#1 success']);
  });

  it('is told at once in a new session', () => {
    const bench = benchOfShortTasks(5);
    expect(end(bench, 0)).toEqual([]);
    bench.turn({ kind: 'sessionLost' });
    expect(reported(bench.turn({ kind: 'sessionOpened', drop: [] }))).toEqual(['1-0#1 success']);
  });

  it('does not wait when its task is not short', () => {
    const bench = benchOfShortTasks(5);
    expect(end(bench, 0, { runtimeMs: 5_000, result: resultPayload })).toEqual(['1-0#1 success']);
  });
});
