import { describe, expect, it } from 'vitest';
import type { AgentEvent, WorkerEnd } from '../../../../node-agent/core/events.ts';
import { listHeld } from '../../../../node-agent/core/views.ts';
import {
  benchWithWorker,
  createBench,
  ended,
  fed,
  functionBlob,
  grant,
  groupSpec,
  kinds,
  otherGroup,
  ref,
  reported,
  started,
} from './core-bench.ts';

const spec = groupSpec();

function workerEnded(
  worker: number,
  end: WorkerEnd,
  running: Extract<AgentEvent, { kind: 'workerEnded' }>['running'] = null,
): AgentEvent {
  return { kind: 'workerEnded', worker, end, running };
}

/** Tasks 0-3 fed to worker 1, of which 0 runs. */
function runningFour() {
  const bench = benchWithWorker(spec);
  for (let count = 0; count < 30; count += 1) {
    bench.turn(grant(spec, [count], { batch: 5 }));
    bench.turn(started(1, ref(count, { batch: 5 })));
    bench.turn(ended(1, ref(count, { batch: 5 }), { runtimeMs: 1 }));
    bench.turn({ kind: 'reportAcknowledged', report: count + 2 });
  }
  const effects = bench.turn(grant(spec, [0, 1, 2, 3]));
  expect(effects).toEqual([
    { kind: 'feedWorker', worker: 1, tasks: [fed(0), fed(1), fed(2), fed(3)] },
  ]);
  bench.turn(started(1, ref(0)));
  return bench;
}

describe('a worker that ends by itself', () => {
  it('costs the running task its attempt; those behind go to a new worker', () => {
    const bench = runningFour();
    const effects = bench.turn(
      workerEnded(
        1,
        { kind: 'died', exitCode: null, signal: 'SIGSEGV', peakMemoryBytes: 1024 },
        { ...ref(0), runtimeMs: 7, logBytes: 12 },
      ),
    );
    expect(effects).toEqual([
      { kind: 'startWorker', worker: 2, slot: 0, spec },
      {
        kind: 'sendReport',
        report: 32,
        outcomes: [
          {
            ...ref(0),
            status: 'crash',
            result: new Uint8Array(0),
            failure: {
              name: 'WorkerDied',
              message:
                'The Python process was killed by SIGSEGV while it ran the task. It had used 1024 bytes of 2 GiB of memory.',
              traceback: '',
            },
            runtimeMs: 7,
            peakMemoryBytes: 1024,
            logBytes: 12,
          },
        ],
      },
    ]);
    expect(bench.turn({ kind: 'workerReady', worker: 2 })).toEqual([
      { kind: 'feedWorker', worker: 2, tasks: [fed(1), fed(2), fed(3)] },
    ]);
  });

  it('of its memory limit says how much was used and what to ask for', () => {
    const bench = runningFour();
    const effects = bench.turn(
      workerEnded(
        1,
        { kind: 'oom', peakMemoryBytes: 2 * 1024 ** 3 },
        { ...ref(0), runtimeMs: 7, logBytes: 0 },
      ),
    );
    expect(reported(effects)).toEqual(['1-0#1 oom']);
    expect(JSON.stringify(effects)).toContain("memory='4Gi'");
  });

  it('between tasks blames none, but not for ever', () => {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0]));
    const died = { kind: 'died', exitCode: 1, signal: null, peakMemoryBytes: 0 } as const;
    const outcomes = [1, 2, 3].map((worker) => {
      const found = reported(bench.turn(workerEnded(worker, died)));
      if (worker < 3) bench.turn({ kind: 'workerReady', worker: worker + 1 });
      return found;
    });
    expect(outcomes).toEqual([[], [], ['1-0#1 crash']]);
  });

  it('while it loads the function fails all tasks of the group alike, for a while', () => {
    const bench = createBench();
    bench.turn(grant(spec, [0, 1]));
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    const effects = bench.turn(workerEnded(1, { kind: 'oom', peakMemoryBytes: 0 }));
    expect(reported(effects)).toEqual(['1-0#1 oom', '1-1#1 oom']);
    expect(reported(bench.turn(grant(spec, [2])))).toEqual(['1-2#1 oom']);
  });
});

describe('a function that cannot be loaded', () => {
  const failure = { name: 'ImportError', message: 'No module named x', traceback: 'Traceback…' };
  const unloadable = { kind: 'unloadable', code: 'exception', failure } as const;

  it('fails every task with its own failure and is tried again after some seconds only', () => {
    const bench = createBench();
    bench.turn(grant(spec, [0, 1]));
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    const effects = bench.turn(workerEnded(1, unloadable));
    expect(effects).toMatchObject([
      {
        kind: 'sendReport',
        outcomes: [
          { ...ref(0), status: 'exception', failure },
          { ...ref(1), status: 'exception', failure },
        ],
      },
    ]);
    bench.now += 9_000;
    expect(kinds(bench.turn(grant(spec, [2])))).toEqual(['sendReport']);
    bench.now += 2_000;
    expect(kinds(bench.turn(grant(spec, [3])))).toEqual(['startWorker']);
  });
});

describe('a sandbox that does not start', () => {
  it('is tried once more, then fails one task, returns the rest and pauses the node', () => {
    const bench = createBench({ settings: { unstartableBackoffMs: 1_000 } });
    bench.turn(grant(spec, [0, 1, 2]));
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    const unstartable = { kind: 'unstartable', message: 'bwrap: no' } as const;
    expect(kinds(bench.turn(workerEnded(1, unstartable)))).toEqual(['warn', 'startWorker']);
    const effects = bench.turn(workerEnded(2, unstartable));
    expect(reported(effects)).toEqual(['1-0#1 crash']);
    expect(effects.slice(2)).toEqual([
      { kind: 'sendReturned', attempts: [ref(1), ref(2)] },
      { kind: 'sendPull', heldMax: 0 },
    ]);
    expect(bench.pass(500)).toEqual([]);
    expect(bench.pass(600)).toEqual([{ kind: 'sendPull', heldMax: 1 }]);
  });
});

describe('a task over its time', () => {
  it('is killed with its worker, reported as timeout, and those behind are not charged', () => {
    const bench = runningFour();

    const asked = bench.pass(59_000);
    expect(asked).toContainEqual({
      kind: 'retractTasks',
      worker: 1,
      tasks: [ref(1), ref(2), ref(3)],
    });
    expect(bench.pass(1_000)).toEqual([{ kind: 'killWorker', worker: 1 }]);
    expect(bench.pass(100)).toEqual([]);
    const effects = bench.turn(
      workerEnded(1, { kind: 'asked' }, { ...ref(0), runtimeMs: 60_050, logBytes: 3 }),
    );
    expect(reported(effects)).toEqual(['1-0#1 timeout']);
    expect(JSON.stringify(effects)).toContain('task_timeout=120');
    expect(kinds(effects)).toContain('startWorker');
  });

  it('keeps its own result when that came first', () => {
    const bench = runningFour();
    bench.pass(60_000);
    expect(reported(bench.turn(ended(1, ref(0))))).toEqual(['1-0#1 success']);
    bench.turn(started(1, ref(1)));
    const effects = bench.turn(
      workerEnded(1, { kind: 'asked' }, { ...ref(1), runtimeMs: 1, logBytes: 0 }),
    );
    expect(reported(effects)).toEqual([]);
    bench.turn({ kind: 'workerReady', worker: 2 });
    expect(listHeld(bench.state)).toEqual([ref(1), ref(2), ref(3), ref(0)]);
  });
});

describe('a cancel', () => {
  it('ends a waiting attempt at once', () => {
    const bench = createBench();
    bench.turn(grant(spec, [0]));
    expect(reported(bench.turn({ kind: 'attemptsCancelled', attempts: [ref(0)] }))).toEqual([
      '1-0#1 cancelled',
    ]);
  });

  it('ends a running attempt with its worker; the others go to a new one', () => {
    const bench = runningFour();
    expect(bench.turn({ kind: 'attemptsCancelled', attempts: [ref(0)] })).toEqual([
      { kind: 'killWorker', worker: 1 },
    ]);
    const effects = bench.turn(
      workerEnded(1, { kind: 'asked' }, { ...ref(0), runtimeMs: 5, logBytes: 8 }),
    );
    expect(effects).toMatchObject([
      { kind: 'startWorker', worker: 2 },
      { kind: 'sendReport', outcomes: [{ status: 'cancelled', runtimeMs: 5, logBytes: 8 }] },
    ]);
  });

  it('of an attempt behind a running one leaves the worker alone', () => {
    const bench = runningFour();
    const effects = bench.turn({ kind: 'attemptsCancelled', attempts: [ref(2)] });
    expect(effects).toMatchObject([
      { kind: 'retractTasks', worker: 1, tasks: [ref(2)] },
      { kind: 'sendReport', outcomes: [{ ...ref(2), status: 'cancelled' }] },
    ]);
    bench.turn({ kind: 'tasksRetracted', worker: 1, tasks: [ref(2)] });
    expect(bench.state.workers.get(1)?.queue.map((attempt) => attempt.index)).toEqual([0, 1, 3]);
  });

  it('of an attempt that the worker could not give back ends it when it begins', () => {
    const bench = runningFour();
    bench.turn({ kind: 'attemptsCancelled', attempts: [ref(1)] });
    bench.turn(ended(1, ref(0), { runtimeMs: 1 }));
    expect(bench.turn(started(1, ref(1)))).toEqual([{ kind: 'killWorker', worker: 1 }]);
    const effects = bench.turn(
      workerEnded(1, { kind: 'asked' }, { ...ref(1), runtimeMs: 1, logBytes: 0 }),
    );
    expect(effects).toEqual([{ kind: 'startWorker', worker: 2, slot: 0, spec }]);
  });

  it('of what has ended or was never here says nothing', () => {
    const bench = createBench();
    expect(bench.turn({ kind: 'attemptsCancelled', attempts: [ref(0)] })).toEqual([]);
  });
});

describe('warm workers', () => {
  const other = otherGroup('b');

  it('stay for a group that takes turns with another one', () => {
    const bench = benchWithWorker(spec);
    expect(kinds(bench.turn(grant(other, [0], { batch: 2 })))).toEqual(['startWorker']);
    expect([...bench.state.workers.keys()]).toEqual([1, 2]);
  });

  it('make room for another group when memory needs it, the longest idle first', () => {
    const bench = benchWithWorker(spec, { capacity: { memoryBytes: 4 * 1024 ** 3 } });
    bench.turn(grant(other, [0], { batch: 2 }));
    bench.turn({ kind: 'workerReady', worker: 2 });
    bench.turn(started(2, ref(0, { batch: 2 })));
    bench.pass(10);
    bench.turn(ended(2, ref(0, { batch: 2 })));
    const third = otherGroup('c');
    expect(bench.turn(grant(third, [0], { batch: 3 }))).toEqual([
      { kind: 'killWorker', worker: 1 },
    ]);
    expect(bench.pass(10)).toEqual([]);
    expect(bench.turn(workerEnded(1, { kind: 'asked' }))).toEqual([
      { kind: 'startWorker', worker: 3, slot: 0, spec: third },
    ]);
  });

  it('are let go after their idle time', () => {
    const bench = benchWithWorker(spec, { settings: { workerIdleMs: 1_000 } });
    expect(bench.pass(900)).toEqual([]);
    expect(bench.pass(200)).toEqual([{ kind: 'stopWorker', worker: 1 }]);
  });
});
