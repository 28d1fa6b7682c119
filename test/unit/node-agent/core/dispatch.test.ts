import { describe, expect, it } from 'vitest';
import type { NamespaceName } from '../../../../protocol/wire/ids.ts';
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
  otherGroup,
  ref,
  started,
} from './core-bench.ts';

const spec = groupSpec();

/** Runs tasks of one length until the group's mean is near it. */
function teach(bench: CoreBench, runtimeMs: number): void {
  for (let index = 0; index < 40; index += 1) {
    bench.turn(grant(spec, [index], { batch: 8 }));
    bench.turn(started(1, ref(index, { batch: 8 })));
    const report = bench
      .turn(ended(1, ref(index, { batch: 8 }), { runtimeMs }))
      .find((effect) => effect.kind === 'sendReport');
    if (report !== undefined) bench.turn({ kind: 'reportAcknowledged', report: report.report });
  }
}

describe('handing out work', () => {
  it('starts a worker per task of unknown length, up to the slots', () => {
    const bench = createBench({ capacity: { slots: 2 } });
    bench.turn(grant(spec, [0, 1, 2]));
    const effects = bench.turn({ kind: 'blobReady', hash: functionBlob });
    expect(effects).toEqual([
      { kind: 'startWorker', worker: 1, slot: 0, spec },
      { kind: 'startWorker', worker: 2, slot: 1, spec },
    ]);
  });

  it('keeps to the cpus that groups ask for', () => {
    const wide = groupSpec({ cpus: 3 });
    const bench = createBench({ capacity: { slots: 4, cpus: 4 } });
    bench.turn(grant(wide, [0, 1]));
    expect(kinds(bench.turn({ kind: 'blobReady', hash: functionBlob }))).toEqual(['startWorker']);
  });

  it('lets no younger grant of another group overtake one that waits for a slot', () => {
    const bench = benchWithWorker(spec);
    const other = otherGroup('b');
    bench.turn(grant(spec, [0]));
    bench.turn(started(1, ref(0)));
    bench.turn(grant(other, [0], { batch: 2 }));
    bench.turn(grant(spec, [1]));
    expect(kinds(bench.turn(ended(1, ref(0))))).toEqual(['startWorker', 'sendReport']);
  });

  it('lets another namespace wait for what a worker was fed, not for all that is held', () => {
    const bench = benchWithWorker(spec);
    teach(bench, 0.01);
    const indexes = Array.from({ length: 200 }, (_, index) => index);
    bench.turn(grant(spec, indexes));
    const other = { ...otherGroup('b'), namespace: 'neighbour' as NamespaceName };
    bench.turn(grant(other, [0], { batch: 2 }));
    // Half of the window is through: the worker of the map would be fed again.
    const half = indexes.slice(0, 40).flatMap((at) => [started(1, ref(at)), ended(1, ref(at))]);
    expect(kinds(bench.turn(...half))).not.toContain('feedWorker');
    const rest = indexes.slice(40, 64).flatMap((at) => [started(1, ref(at)), ended(1, ref(at))]);
    expect(kinds(bench.turn(...rest))).toContain('startWorker');
  });

  it('feeds less ahead while two namespaces share it, and as much as before a second later', () => {
    const bench = benchWithWorker(spec);
    teach(bench, 0.01);
    const other = { ...otherGroup('b'), namespace: 'neighbour' as NamespaceName };
    bench.turn(grant(other, [0], { batch: 2 }));
    bench.turn({ kind: 'workerReady', worker: 2 });
    bench.turn(started(2, ref(0, { batch: 2 })));
    bench.turn(ended(2, ref(0, { batch: 2 })));
    const indexes = Array.from({ length: 200 }, (_, index) => index);
    const tasksFed = (effects: ReturnType<CoreBench['turn']>): number[] =>
      effects.flatMap((effect) => (effect.kind === 'feedWorker' ? effect.tasks.length : []));
    expect(tasksFed(bench.turn(grant(spec, indexes)))).toEqual([8]);
    const short = { runtimeMs: 0.01 };
    const half = indexes
      .slice(0, 4)
      .flatMap((at) => [started(1, ref(at)), ended(1, ref(at), short)]);
    expect(tasksFed(bench.turn(...half))).toEqual([4]);
    expect(tasksFed(bench.pass(1_001))).toEqual([56]);
  });

  it('feeds short tasks ahead by the measured time, and pulls accordingly', () => {
    const bench = benchWithWorker(spec);
    teach(bench, 0.01);
    expect(bench.state.groups.get(spec.group)?.window).toBe(64);
    expect(bench.state.session).toEqual({ kind: 'open', pulled: 512 });
    const indexes = Array.from({ length: 300 }, (_, index) => index);
    expect(bench.turn(grant(spec, indexes))).toEqual([
      { kind: 'feedWorker', worker: 1, tasks: indexes.slice(0, 64).map((index) => fed(index)) },
    ]);
  });

  it('feeds long tasks one at a time and holds none ahead', () => {
    const bench = benchWithWorker(spec);
    teach(bench, 500);
    expect(bench.state.session).toEqual({ kind: 'open', pulled: 1 });
    expect(bench.turn(grant(spec, [0, 1]))).toEqual([
      { kind: 'feedWorker', worker: 1, tasks: [fed(0)] },
    ]);
  });

  it('starts no second worker for work that one finishes sooner', () => {
    const bench = benchWithWorker(spec, { capacity: { slots: 2 } });
    teach(bench, 1);
    const indexes = Array.from({ length: 10 }, (_, index) => index);
    expect(kinds(bench.turn(grant(spec, indexes)))).toEqual(['feedWorker']);
    expect(
      kinds(
        bench.turn(
          grant(
            spec,
            Array.from({ length: 80 }, (_, index) => 10 + index),
          ),
        ),
      ),
    ).toEqual(['startWorker']);
  });

  it('asks back what waits behind a task that turns out long, and gives it to another worker', () => {
    const bench = benchWithWorker(spec, { capacity: { slots: 2 } });
    teach(bench, 1);
    bench.turn(grant(spec, [0, 1]));
    bench.turn(started(1, ref(0)));
    // That it runs was not worth telling while it was taken to be short.
    expect(bench.pass(150)).toEqual([
      { kind: 'retractTasks', worker: 1, tasks: [ref(1)] },
      { kind: 'sendStarted', attempts: [ref(0)] },
    ]);
    expect(bench.pass(150)).toEqual([]);
    expect(bench.turn({ kind: 'tasksRetracted', worker: 1, tasks: [ref(1)] })).toEqual([
      { kind: 'startWorker', worker: 2, slot: 1, spec },
    ]);
  });

  it('gives back what a node cannot begin soon, once its tasks turn out long', () => {
    const bench = benchWithWorker(spec);
    teach(bench, 1);
    bench.turn(grant(spec, [0, 1, 2, 3, 4, 5, 6, 7]));
    bench.turn(started(1, ref(0)));
    expect(bench.pass(150)).toEqual([
      { kind: 'retractTasks', worker: 1, tasks: [ref(1), ref(2), ref(3)] },
      { kind: 'sendStarted', attempts: [ref(0)] },
      { kind: 'sendReturned', attempts: [ref(7), ref(6), ref(5)] },
      { kind: 'sendPull', heldMax: 1 },
    ]);
    bench.turn({ kind: 'tasksRetracted', worker: 1, tasks: [ref(1), ref(2), ref(3)] });
    expect(bench.pass(50)).toEqual([{ kind: 'sendReturned', attempts: [ref(4), ref(3), ref(2)] }]);
    expect(bench.state.attempts.size).toBe(2);
  });

  it('pulls nothing while the disk is nearly full', () => {
    const bench = createBench();
    expect(bench.turn({ kind: 'healthMeasured', diskFreeBytes: 1_000 })).toMatchObject([
      { kind: 'warn' },
      { kind: 'sendPull', heldMax: 0 },
    ]);
    expect(bench.turn({ kind: 'healthMeasured', diskFreeBytes: 10 ** 12 })).toEqual([
      { kind: 'sendPull', heldMax: 1 },
    ]);
  });
});
