import { describe, expect, it } from 'vitest';
import { listHeld } from '../../../../node-agent/core/views.ts';
import type { CoreBench } from './core-bench.ts';
import {
  benchWithWorker,
  createBench,
  ended,
  fed,
  functionBlob,
  grant,
  groupSpec,
  kinds,
  ref,
  reported,
  started,
  succeeded,
} from './core-bench.ts';

const spec = groupSpec();

/** Task 0 runs on worker 1, task 1 waits. */
function running(): CoreBench {
  const bench = benchWithWorker(spec);
  bench.turn(grant(spec, [0, 1]));
  bench.turn(started(1, ref(0)));
  return bench;
}

describe('a lost session', () => {
  it('stops nothing; what ended meanwhile is reported in the next one', () => {
    const bench = running();
    expect(bench.turn({ kind: 'sessionLost' })).toEqual([]);
    expect(bench.turn(ended(1, ref(0)))).toEqual([
      { kind: 'feedWorker', worker: 1, tasks: [fed(1)] },
    ]);
    bench.turn(started(1, ref(1)));
    expect(listHeld(bench.state)).toEqual([ref(1), ref(0)]);
    expect(bench.turn({ kind: 'sessionOpened', drop: [] })).toEqual([
      { kind: 'sendStarted', attempts: [ref(1)] },
      { kind: 'sendReport', report: 2, outcomes: [succeeded(ref(0))] },
      { kind: 'sendPull', heldMax: 1 },
    ]);
  });

  it('repeats reports that were not acknowledged, under a new number', () => {
    const bench = running();
    expect(kinds(bench.turn(ended(1, ref(0))))).toEqual(['feedWorker', 'sendReport']);
    bench.turn({ kind: 'sessionLost' });
    const effects = bench.turn({ kind: 'sessionOpened', drop: [] });
    expect(effects[0]).toEqual({ kind: 'sendReport', report: 3, outcomes: [succeeded(ref(0))] });
    expect(bench.turn({ kind: 'reportAcknowledged', report: 2 })).toEqual([]);
    expect(kinds(bench.turn({ kind: 'reportAcknowledged', report: 3 }))).toEqual(['forgetLogs']);
  });

  it('tells what it gave back meanwhile: the hello on its way may have named it still', () => {
    const bench = running();
    bench.turn({ kind: 'sessionLost' });
    const alone = bench.turn({ kind: 'stopAsked', reason: 'Enough.' });
    expect(kinds(alone)).not.toContain('sendReturned');
    const effects = bench.turn({ kind: 'sessionOpened', drop: [] });
    expect(effects).toContainEqual({ kind: 'sendReturned', attempts: [ref(1)] });
  });

  it('ends what the coordinator gave to others: killed, forgotten, not reported', () => {
    const bench = running();
    bench.turn({ kind: 'sessionLost' });
    const effects = bench.turn({ kind: 'sessionOpened', drop: [ref(0), ref(1)] });
    expect(effects).toEqual([
      { kind: 'killWorker', worker: 1 },
      { kind: 'forgetLogs', attempts: [ref(0)] },
      { kind: 'forgetLogs', attempts: [ref(1)] },
      { kind: 'sendPull', heldMax: 1 },
    ]);
    const after = bench.turn({
      kind: 'workerEnded',
      worker: 1,
      end: { kind: 'asked' },
      running: { ...ref(0), runtimeMs: 1, logBytes: 0 },
    });
    expect(after).toEqual([]);
    expect(listHeld(bench.state)).toEqual([]);
  });

  it('forgets outcomes that the coordinator wants no more', () => {
    const bench = running();
    bench.turn({ kind: 'sessionLost' });
    bench.turn(ended(1, ref(0)));
    const effects = bench.turn({ kind: 'sessionOpened', drop: [ref(0)] });
    expect(reported(effects)).toEqual([]);
    expect(effects).toContainEqual({ kind: 'forgetLogs', attempts: [ref(0)] });
  });

  it('that lasts too long ends the agent, when it was told so', () => {
    const bench = createBench({ settings: { orphanedMs: 5_000 } });
    bench.turn({ kind: 'sessionLost' });
    expect(bench.pass(4_900)).toEqual([]);
    expect(bench.pass(200)).toEqual([{ kind: 'exit', reason: { kind: 'orphaned' } }]);
    expect(bench.pass(200)).toEqual([]);
  });
});

describe('reports', () => {
  it('are cut by count and by bytes', () => {
    const settings = { reportOutcomesMax: 2, reportBytesMax: 1_000_000 };
    const bench = createBench({ settings });
    bench.turn(grant(spec, [0, 1, 2]));
    const effects = bench.turn({ kind: 'attemptsCancelled', attempts: [ref(0), ref(1), ref(2)] });
    expect(effects.map((effect) => reported([effect]).length)).toEqual([2, 1]);
    const small = createBench({ settings: { reportBytesMax: 10 } });
    small.turn(grant(spec, [0, 1]));
    const cut = small.turn({ kind: 'attemptsCancelled', attempts: [ref(0), ref(1)] });
    expect(cut.map((effect) => reported([effect]).length)).toEqual([1, 1]);
  });

  it('wait while too many bytes are not acknowledged', () => {
    const bench = createBench({ settings: { reportBytesMax: 10, reportBytesInFlightMax: 10 } });
    bench.turn(grant(spec, [0, 1]));
    const first = bench.turn({ kind: 'attemptsCancelled', attempts: [ref(0), ref(1)] });
    expect(reported(first)).toEqual(['1-0#1 cancelled']);
    const second = bench.turn({ kind: 'reportAcknowledged', report: 1 });
    expect(reported(second)).toEqual(['1-1#1 cancelled']);
  });
});

describe('a drain', () => {
  it('returns what has not begun, finishes the rest, says goodbye and leaves', () => {
    const bench = running();
    expect(bench.turn({ kind: 'drainOrdered' })).toEqual([
      { kind: 'sendReturned', attempts: [ref(1)] },
      { kind: 'sendPull', heldMax: 0 },
    ]);
    expect(kinds(bench.turn(ended(1, ref(0))))).toEqual(['sendReport']);
    expect(bench.turn({ kind: 'reportAcknowledged', report: 2 })).toEqual([
      { kind: 'forgetLogs', attempts: [ref(0)] },
      { kind: 'sendGoodbye' },
      { kind: 'exit', reason: { kind: 'stopped' } },
    ]);
  });

  it('returns what workers had but did not begin', () => {
    const bench = benchWithWorker(spec);
    for (let index = 0; index < 20; index += 1) {
      bench.turn(grant(spec, [index], { batch: 5 }));
      bench.turn(started(1, ref(index, { batch: 5 })));
      bench.turn(ended(1, ref(index, { batch: 5 }), { runtimeMs: 1 }));
    }
    bench.turn(grant(spec, [0, 1]));
    bench.turn(started(1, ref(0)));
    expect(bench.turn({ kind: 'drainOrdered' })).toContainEqual({
      kind: 'retractTasks',
      worker: 1,
      tasks: [ref(1)],
    });
    expect(bench.turn({ kind: 'tasksRetracted', worker: 1, tasks: [ref(1)] })).toEqual([
      { kind: 'sendReturned', attempts: [ref(1)] },
    ]);
  });

  it('gives back grants that crossed it', () => {
    const bench = running();
    bench.turn({ kind: 'drainOrdered' });
    expect(bench.turn(grant(spec, [7]))).toEqual([{ kind: 'sendReturned', attempts: [ref(7)] }]);
  });

  it('that is called off pulls again', () => {
    const bench = running();
    bench.turn({ kind: 'drainOrdered' });
    expect(bench.turn({ kind: 'undrainOrdered' })).toEqual([{ kind: 'sendPull', heldMax: 1 }]);
  });

  it('by SIGTERM is told to the coordinator and cannot be called off', () => {
    const bench = running();
    expect(bench.turn({ kind: 'stopAsked', reason: 'Enough.' })[0]).toEqual({
      ...{ kind: 'sendDrainAsked', reason: 'Enough.' },
    });
    expect(bench.turn({ kind: 'undrainOrdered' })).toEqual([]);
    expect(bench.turn({ kind: 'stopAsked', reason: 'Enough.' })).toEqual([]);
    bench.turn({ kind: 'sessionLost' });
    expect(kinds(bench.turn({ kind: 'sessionOpened', drop: [] }))).toContain('sendDrainAsked');
  });

  it('of an agent that holds nothing and has no session ends at once', () => {
    const bench = createBench({ offline: true });
    bench.turn({ kind: 'stopAsked', reason: 'Enough.' });
    expect(bench.pass(50)).toEqual([{ kind: 'exit', reason: { kind: 'stopped' } }]);
  });

  it('without a session waits for the coordinator to take the last outcomes, for a while', () => {
    const bench = running();
    bench.turn({ kind: 'sessionLost' });
    bench.turn({ kind: 'stopAsked', reason: 'Enough.' });
    bench.turn(ended(1, ref(0)));
    expect(bench.pass(14_000)).toEqual([]);
    expect(bench.pass(1_100)).toEqual([{ kind: 'exit', reason: { kind: 'stopped' } }]);
  });
});

describe('a pause of the process', () => {
  const short = { ...spec, taskTimeoutMs: 10_000 };

  function runningShort(): CoreBench {
    const bench = benchWithWorker(short);
    bench.turn(grant(short, [0]));
    bench.turn(started(1, ref(0)));
    return bench;
  }

  it('leaves out the first tick: a task that ended meanwhile is not taken to be overdue', () => {
    const bench = runningShort();
    bench.now += 20_000;
    expect(bench.turn({ kind: 'clockTicked' }, ended(1, ref(0)))).toEqual([
      { kind: 'sendReport', report: 2, outcomes: [succeeded(ref(0))] },
    ]);
    expect(bench.pass(50)).toEqual([]);
  });

  it('does not save a task that goes on for too long: the next tick ends it', () => {
    const bench = runningShort();
    bench.now += 20_000;
    expect(bench.turn({ kind: 'clockTicked' })).toEqual([]);
    expect(bench.pass(50)).toEqual([{ kind: 'killWorker', worker: 1 }]);
  });

  it('is not what a busy process does: late ticks count', () => {
    const bench = runningShort();
    for (let at = 0; at < 24; at += 1) expect(bench.pass(400)).toEqual([]);
    expect(bench.pass(499)).toEqual([{ kind: 'killWorker', worker: 1 }]);
  });
});

describe('a refusal', () => {
  it('ends the agent with what the coordinator said', () => {
    const bench = createBench({ offline: true });
    const refusal = { code: 'join_token_wrong', message: 'no', fix: 'make one' };
    expect(bench.turn({ kind: 'sessionRefused', ...refusal })).toEqual([
      { kind: 'exit', reason: { kind: 'refused', ...refusal } },
    ]);
  });
});

describe('bounds', () => {
  it('gives back grants beyond what a node may hold', () => {
    const bench = createBench({ settings: { heldAttemptsMax: 3 } });
    const effects = bench.turn(grant(spec, [0, 1, 2, 3, 4]));
    expect(effects).toContainEqual({ kind: 'sendReturned', attempts: [ref(3), ref(4)] });
  });

  it('pulls nothing while memory is full of payloads', () => {
    const bench = createBench({ settings: { heldBytesMax: 3 } });
    expect(bench.turn(grant(spec, [0]))).toContainEqual({ kind: 'sendPull', heldMax: 0 });
  });

  it('forgets the group that was unused for longest, with its files', () => {
    const bench = benchWithWorker(spec, { settings: { groupsMax: 1, workerIdleMs: 10 } });
    bench.pass(20);
    bench.turn({ kind: 'workerEnded', worker: 1, end: { kind: 'asked' }, running: null });
    const other = { ...spec, group: 'b'.repeat(12) as typeof spec.group };
    expect(bench.turn({ kind: 'granted', groups: [other], runs: [] })).toEqual([
      { kind: 'releaseBlob', hash: functionBlob },
    ]);
  });
});
