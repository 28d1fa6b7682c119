import { describe, expect, it } from 'vitest';
import type { OutcomeStatus } from '../../../../protocol/wire/task.ts';
import { attempt, createMesh, ends, grants, nodeId, only, outcome, outcomes } from './mesh.ts';

describe('a report', () => {
  it('saves the outcome, grants what now has room, and is acknowledged', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 1 });
    mesh.submit(2);
    const from = { node: nodeId('a'), session: mesh.session('a') };
    mesh.now += 5;
    mesh.take({ kind: 'attemptsStarted', ...from, attempts: [attempt(1, 0)] });
    mesh.now += 200;
    const success = outcome({ runtimeMs: 150 });
    expect(mesh.report('a', [{ ...attempt(1, 0), ...success }])).toEqual([
      {
        kind: 'saveOutcome',
        namespace: 'default',
        outcomeNumber: 1,
        group: 'g1',
        ...attempt(1, 0),
        node: 'a',
        outcome: success,
        submittedAtMs: 1_000_000,
        startedAtMs: 1_000_005,
        atMs: 1_000_205,
      },
      { kind: 'sendAck', ...from, report: 1 },
      {
        kind: 'saveGrant',
        ...{ batch: 1, lo: 1, count: 1, attempt: 1 },
        node: 'a',
        atMs: mesh.now,
      },
      { kind: 'sendGrant', ...from, group: 'g1', batch: 1, lo: 1, count: 1, attempt: 1 },
    ]);
  });

  it('that comes again is acknowledged and counts once', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    const report = [{ ...attempt(1, 0), ...outcome() }];
    expect(outcomes(mesh.report('a', report))).toEqual(['1-0 success #1']);
    expect(mesh.report('a', report)).toEqual([
      { kind: 'sendAck', node: 'a', session: 1, report: 2 },
    ]);
  });

  it('of an attempt that was never granted to the node changes nothing', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 1 });
    mesh.submit(2);
    mesh.join('b', { slots: 0 });
    const strange = [
      { ...attempt(1, 0, 2), ...outcome() },
      { ...attempt(1, 1), ...outcome() },
      { ...attempt(99, 0), ...outcome() },
    ];
    expect(only(mesh.report('a', strange), 'saveOutcome', 'saveAttemptEnd')).toEqual([]);
    const stolen = [{ ...attempt(1, 0), ...outcome() }];
    expect(only(mesh.report('b', stolen), 'saveOutcome', 'saveAttemptEnd')).toEqual([]);
  });

  it('of an older attempt is refused once a newer one has been granted', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.now += 14_000;
    mesh.join('b');
    expect(grants(mesh.pass(1_000))).toEqual(['b 1:0+1#2']);
    mesh.join('a');
    expect(outcomes(mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]))).toEqual([]);
    expect(outcomes(mesh.report('b', [{ ...attempt(1, 0, 2), ...outcome() }]))).toEqual([
      '1-0 success #1',
    ]);
  });

  it.each([
    [60_000, 500],
    [Number.NaN, 500],
    [-5, 0],
  ])('that claims %d ms of runtime is held to the clock', (claimed, believed) => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.now += 500;
    const effects = mesh.report('a', [{ ...attempt(1, 0), ...outcome({ runtimeMs: claimed }) }]);
    expect(only(effects, 'saveOutcome')[0]?.outcome.runtimeMs).toBe(believed);
  });

  it('numbers outcomes per namespace without gaps', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.group({ group: 'g2' as never, namespace: 'other' as never });
    mesh.join('a', { slots: 8 });
    mesh.submit(2);
    mesh.submit(1, 'g2');
    const all = [attempt(1, 1), attempt(2, 0), attempt(1, 0)];
    expect(
      outcomes(
        mesh.report(
          'a',
          all.map((ref) => ({ ...ref, ...outcome() })),
        ),
      ),
    ).toEqual(['1-1 success #1', '2-0 success #1', '1-0 success #2']);
  });
});

describe('a failed attempt', () => {
  it.each<OutcomeStatus>(['exception', 'timeout', 'crash'])(
    'with %s is charged and tried again after a pause',
    (status) => {
      const mesh = createMesh();
      mesh.group({ retryCount: 1 });
      mesh.join('a');
      mesh.submit(1);
      const effects = mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status }) }]);
      expect(effects).toEqual([
        {
          kind: 'saveAttemptEnd',
          ...attempt(1, 0),
          node: 'a',
          end: status,
          charged: true,
          message: 'broke',
          atMs: mesh.now,
        },
        { kind: 'sendAck', node: 'a', session: 1, report: 1 },
      ]);
      expect(grants(mesh.pass(249))).toEqual([]);
      expect(grants(mesh.pass(501))).toEqual(['a 1:0+1#2']);
      const last = mesh.report('a', [{ ...attempt(1, 0, 2), ...outcome({ status }) }]);
      expect(ends(last)).toEqual([]);
      expect(outcomes(last)).toEqual([`1-0 ${status} #1`]);
    },
  );

  it.each<OutcomeStatus>(['oom', 'cancelled', 'version_mismatch'])(
    'with %s is never tried again',
    (status) => {
      const mesh = createMesh();
      mesh.group({ retryCount: 5 });
      mesh.join('a');
      mesh.submit(1);
      const effects = mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status }) }]);
      expect(outcomes(effects)).toEqual([`1-0 ${status} #1`]);
    },
  );

  it('waits twice as long with every charge, up to the bound', () => {
    const mesh = createMesh({ settings: { retryDelayBaseMs: 1_000, retryDelayMaxMs: 3_000 } });
    mesh.group({ retryCount: 5 });
    mesh.join('a');
    mesh.submit(1);
    const delays: number[] = [];
    for (let number = 1; number <= 5; number += 1) {
      mesh.report('a', [{ ...attempt(1, 0, number), ...outcome({ status: 'exception' }) }]);
      const place = mesh.state.tasks.get(65_536)?.place;
      if (place?.kind !== 'backoff') throw new Error('it does not back off');
      delays.push(place.notBeforeMs - mesh.now);
      mesh.heartbeat('a');
      mesh.pass(5_000);
      mesh.heartbeat('a');
    }
    for (const [at, full] of [1_000, 2_000, 3_000, 3_000, 3_000].entries()) {
      expect(delays[at]).toBeGreaterThanOrEqual(full / 2);
      expect(delays[at]).toBeLessThanOrEqual(full * 1.5);
    }
  });

  it('is not counted twice when its acknowledgement was lost', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.join('a');
    mesh.submit(1);
    const report = [{ ...attempt(1, 0), ...outcome({ status: 'exception' }) }];
    expect(ends(mesh.report('a', report))).toEqual(['1-0#1 exception charged']);
    expect(ends(mesh.report('a', report))).toEqual([]);
    mesh.join('a', { hello: { held: [attempt(1, 0)] } });
    expect(mesh.state.tasks.get(65_536)?.charges).toBe(1);
  });

  it('prefers another node for its retry', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.join('a');
    mesh.submit(1);
    mesh.join('b', { slots: 1 });
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status: 'exception' }) }]);
    expect(grants(mesh.pass(750))).toEqual(['b 1:0+1#2']);
  });

  it('goes back to the same node when the other stays full for too long', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.join('a', { slots: 1 });
    mesh.submit(1);
    mesh.group({ group: 'g2' as never });
    mesh.join('b', { slots: 1 });
    expect(grants(mesh.submit(1, 'g2'))).toEqual(['b 2:0+1#1']);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status: 'exception' }) }]);
    expect(grants(mesh.pass(750))).toEqual([]);
    mesh.heartbeat('a');
    mesh.heartbeat('b');
    mesh.now += 1_999;
    expect(grants(mesh.heartbeat('a'))).toEqual([]);
    expect(grants(mesh.pass(1))).toEqual(['a 1:0+1#2']);
  });
});

describe('a returned attempt', () => {
  it('is granted to another node at once, uncharged', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.join('b');
    const from = { node: nodeId('a'), session: mesh.session('a') };
    const effects = mesh.take({ kind: 'attemptsReturned', ...from, attempts: [attempt(1, 0)] });
    expect(ends(effects)).toEqual(['1-0#1 returned']);
    expect(grants(effects)).toEqual(['b 1:0+1#2']);
  });

  it('is not given straight back when there is no other node', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    const from = { node: nodeId('a'), session: mesh.session('a') };
    const effects = mesh.take({ kind: 'attemptsReturned', ...from, attempts: [attempt(1, 0)] });
    expect(grants(effects)).toEqual([]);
    expect(grants(mesh.pass(999))).toEqual([]);
    expect(grants(mesh.pass(1))).toEqual(['a 1:0+1#2']);
  });
});
