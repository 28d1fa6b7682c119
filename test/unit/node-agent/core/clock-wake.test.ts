import { describe, expect, it } from 'vitest';
import { nextTickMs } from '../../../../node-agent/core/clock-wake.ts';
import { defaultCoreSettings } from '../../../../node-agent/core/settings.ts';
import type { CoreBench } from './core-bench.ts';
import {
  benchWithWorker,
  createBench,
  ended,
  functionBlob,
  grant,
  groupSpec,
  ref,
  started,
} from './core-bench.ts';

const spec = groupSpec();
const { workerIdleMs } = defaultCoreSettings;
const restMs = (bench: CoreBench): number => nextTickMs(bench.state, bench.now) - bench.now;

describe('nextTickMs', () => {
  it('is never for a node that holds nothing', () => {
    expect(restMs(createBench())).toBe(Number.POSITIVE_INFINITY);
  });

  it('is at once while a task waits, runs, or is not acknowledged', () => {
    const bench = createBench();
    bench.turn(grant(spec, [0]));
    expect(restMs(bench)).toBe(0);
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    bench.turn({ kind: 'workerReady', worker: 1 });
    bench.turn(started(1, ref(0)));
    expect(restMs(bench)).toBe(0);
    bench.turn(ended(1, ref(0)));
    expect(restMs(bench)).toBe(0);
    bench.turn({ kind: 'reportAcknowledged', report: 1 });
    expect(restMs(bench)).toBe(workerIdleMs);
  });

  it('is at once without a session, and while the node drains', () => {
    const bench = createBench();
    bench.turn({ kind: 'sessionLost' });
    expect(restMs(bench)).toBe(0);
    expect(restMs(createBench({ offline: true }))).toBe(0);
    const busy = benchWithWorker(spec);
    busy.turn(grant(spec, [0]));
    busy.turn({ kind: 'drainOrdered' });
    expect(restMs(busy)).toBe(0);
  });

  it('is when the first idle worker has waited for long enough, and no tick before does anything', () => {
    const bench = benchWithWorker(spec);
    const endMs = bench.now + workerIdleMs;
    for (; bench.now < endMs; bench.now += 400) {
      expect(bench.turn({ kind: 'clockTicked' })).toEqual([]);
      expect(nextTickMs(bench.state, bench.now)).toBe(endMs);
    }
    bench.now = endMs;
    expect(restMs(bench)).toBe(0);
    expect(bench.turn({ kind: 'clockTicked' })).toEqual([{ kind: 'stopWorker', worker: 1 }]);
    expect(restMs(bench)).toBe(0);
    bench.turn({ kind: 'workerEnded', worker: 1, end: { kind: 'asked' }, running: null });
    expect(restMs(bench)).toBe(Number.POSITIVE_INFINITY);
  });

  it('is when work may be taken again after sandboxes did not start', () => {
    const bench = createBench();
    bench.state.unhealthyUntilMs = bench.now + 1_000;
    expect(bench.turn()).toEqual([{ kind: 'sendPull', heldMax: 0 }]);
    expect(restMs(bench)).toBe(1_000);
    bench.now += 1_000;
    expect(bench.turn({ kind: 'clockTicked' })).toEqual([{ kind: 'sendPull', heldMax: 1 }]);
    expect(restMs(bench)).toBe(Number.POSITIVE_INFINITY);
  });
});
