import { describe, expect, it } from 'vitest';
import type { TestMesh } from './mesh.ts';
import {
  answerOf,
  attempt,
  createMesh,
  ends,
  grants,
  nodeId,
  only,
  outcome,
  outcomes,
  task,
} from './mesh.ts';

const cancel = (mesh: TestMesh, batch: number, index: number) =>
  mesh.take({ kind: 'taskCancelled', request: 9, task: task(batch, index) });
const taken = (state: string) => ({
  kind: 'respond',
  request: 9,
  answer: { kind: 'cancelTaken', state },
});

describe('cancelling', () => {
  it('a queued task ends it at once, before it has run', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(2);
    expect(cancel(mesh, 1, 1)).toMatchObject([
      {
        kind: 'saveOutcome',
        ...task(1, 1),
        attempt: 0,
        node: null,
        startedAtMs: null,
        outcome: { status: 'cancelled', failure: { name: 'Cancelled' } },
      },
      taken('queued'),
    ]);
    expect(cancel(mesh, 1, 1)).toEqual([taken('done')]);
    expect(grants(mesh.join('a'))).toEqual(['a 1:0+1#1']);
  });

  it('a running task asks its node, whose report is the outcome', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 3 });
    mesh.join('a');
    mesh.submit(1);
    expect(cancel(mesh, 1, 0)).toEqual([
      { kind: 'saveCancelAsked', batch: 1, index: 0, atMs: mesh.state.nowMs },
      { kind: 'sendCancel', node: 'a', session: 1, attempts: [attempt(1, 0)] },
      taken('running'),
    ]);
    const killed = outcome({ status: 'cancelled' });
    expect(outcomes(mesh.report('a', [{ ...attempt(1, 0), ...killed }]))).toEqual([
      '1-0 cancelled #1',
    ]);
    expect(cancel(mesh, 1, 0)).toEqual([taken('done')]);
  });

  it('comes too late for a success that its node reports first', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    cancel(mesh, 1, 0);
    expect(outcomes(mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]))).toEqual([
      '1-0 success #1',
    ]);
  });

  it.each(['exception', 'timeout', 'crash'] as const)(
    'leaves no retry to a task that ends with %s instead',
    (status) => {
      const mesh = createMesh();
      mesh.group({ retryCount: 3 });
      mesh.join('a');
      mesh.submit(1);
      cancel(mesh, 1, 0);
      const effects = mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status }) }]);
      expect(ends(effects)).toEqual([]);
      expect(outcomes(effects)).toEqual([`1-0 ${status} #1`]);
    },
  );

  it('holds when the node is lost or gives the task back', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(2);
    cancel(mesh, 1, 0);
    cancel(mesh, 1, 1);
    const from = { node: nodeId('a'), session: mesh.session('a') };
    const back = mesh.take({ kind: 'attemptsReturned', ...from, attempts: [attempt(1, 0)] });
    expect(outcomes(back)).toEqual(['1-0 cancelled #1']);
    expect(outcomes(mesh.pass(15_000))).toEqual(['1-1 cancelled #2']);
  });

  it('is repeated to a node that was away', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.take({ kind: 'nodeDisconnected', node: nodeId('a'), session: mesh.session('a') });
    expect(cancel(mesh, 1, 0)).toEqual([
      { kind: 'saveCancelAsked', batch: 1, index: 0, atMs: mesh.state.nowMs },
      taken('running'),
    ]);
    // Asked once more, it is remembered already.
    expect(cancel(mesh, 1, 0)).toEqual([taken('running')]);
    mesh.join('a', { hello: { held: [attempt(1, 0)] } });
    const place = mesh.state.tasks.get(65_536)?.place;
    expect(place).toEqual({ kind: 'held', cancelAsked: true });
    const again = mesh.take({
      kind: 'nodeDisconnected',
      node: nodeId('a'),
      session: mesh.session('a'),
    });
    expect(only(again, 'sendCancel')).toEqual([]);
  });

  it('a task that pauses before a retry ends it', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.join('a');
    mesh.submit(1);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status: 'exception' }) }]);
    expect(cancel(mesh, 1, 0)).toMatchObject([
      { kind: 'saveOutcome', attempt: 0, node: null },
      taken('queued'),
    ]);
    expect(mesh.pass(60_000)).toEqual([]);
  });

  it.each([
    ['index', 1, 2],
    ['batch', 2, 0],
    ['batch below all', 0, 0],
  ])('a task with an unknown %s is refused', (_, batch, index) => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(2);
    expect(answerOf(cancel(mesh, batch, index))).toEqual({
      kind: 'refused',
      code: 'not_found',
      message: `There is no task ${batch}-${index}.`,
    });
  });
});
