import { describe, expect, it } from 'vitest';
import { nextWakeMs } from '../../../../coordinator/core/views.ts';
import type { TestMesh } from './mesh.ts';
import {
  answerOf,
  attempt,
  createMesh,
  ends,
  grants,
  groupId,
  groupSpec,
  nodeId,
  only,
  outcome,
  outcomes,
} from './mesh.ts';

const terminate = (mesh: TestMesh, drain: boolean) =>
  mesh.take({ kind: 'groupTerminated', request: 9, group: groupId('g1'), drain });
const done = { kind: 'respond', request: 9, answer: { kind: 'done' } };

describe('a group', () => {
  it('is saved and answered', () => {
    const mesh = createMesh();
    expect(mesh.group()).toEqual([
      { kind: 'saveGroup', spec: groupSpec(), atMs: mesh.now },
      { kind: 'respond', request: 1, answer: { kind: 'done' } },
    ]);
  });

  it('is refused under an id that is taken', () => {
    const mesh = createMesh();
    mesh.group();
    expect(
      answerOf(mesh.take({ kind: 'groupCreated', request: 9, spec: groupSpec() })),
    ).toMatchObject({ kind: 'refused', code: 'conflict' });
  });

  it('takes new limits, for what is not yet granted, at once', () => {
    const mesh = createMesh();
    mesh.group({ maximumConcurrency: 1 });
    mesh.join('a');
    mesh.submit(4);
    const limits = { maximumConcurrency: null, taskTimeoutMs: 5, retryCount: 3, priority: 2 };
    expect(
      mesh.take({ kind: 'groupUpdated', request: 9, group: groupId('g1'), limits }),
    ).toMatchObject([
      { kind: 'saveGroupLimits', group: 'g1', limits },
      done,
      { kind: 'saveGrant', lo: 1, count: 1 },
      { kind: 'sendGrant', lo: 1, count: 1 },
    ]);
    expect(mesh.state.groups.get(groupId('g1'))?.spec).toMatchObject(limits);
  });

  it('that is not there cannot be changed', () => {
    const mesh = createMesh();
    expect(answerOf(terminate(mesh, true))).toMatchObject({ kind: 'refused', code: 'not_found' });
  });
});

describe('terminating a group', () => {
  it('without drain ends what is queued and kills what runs', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(4);
    const effects = terminate(mesh, false);
    expect(effects.slice(0, 3)).toEqual([
      { kind: 'saveGroupState', group: 'g1', state: 'terminated', atMs: mesh.now },
      { kind: 'sendCancel', node: 'a', session: 1, attempts: [attempt(1, 0), attempt(1, 1)] },
      done,
    ]);
    expect(outcomes(effects)).toEqual(['1-2 cancelled #1', '1-3 cancelled #2']);
    const killed = outcome({ status: 'cancelled' });
    const last = mesh.report(
      'a',
      [0, 1].map((index) => ({ ...attempt(1, index), ...killed })),
    );
    expect(outcomes(last)).toEqual(['1-0 cancelled #3', '1-1 cancelled #4']);
    expect(only(last, 'saveGroupState')).toEqual([]);
  });

  it('with drain lets what runs finish, then says that it is terminated', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(3);
    const effects = terminate(mesh, true);
    expect(effects).toMatchObject([
      { kind: 'saveGroupState', state: 'draining' },
      done,
      { kind: 'saveOutcome', index: 2, outcome: { status: 'cancelled' }, attempt: 0, node: null },
    ]);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    const last = mesh.report('a', [{ ...attempt(1, 1), ...outcome() }]);
    expect(last).toMatchObject([
      { kind: 'saveOutcome', index: 1, outcome: { status: 'success' } },
      { kind: 'saveGroupState', group: 'g1', state: 'terminated' },
      { kind: 'sendAck' },
    ]);
  });

  it('without drain after a drain kills what the drain let run', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    terminate(mesh, true);
    expect(terminate(mesh, false)).toMatchObject([
      { kind: 'saveGroupState', state: 'terminated' },
      { kind: 'sendCancel', attempts: [attempt(1, 0)] },
      done,
    ]);
    expect(terminate(mesh, false)).toEqual([done]);
  });

  it('ends many queued tasks in bounded steps, and asks for the clock in between', () => {
    const mesh = createMesh({ settings: { sweepTasksMax: 4 } });
    mesh.group();
    mesh.submit(5);
    mesh.submit(5);
    expect(outcomes(terminate(mesh, false))).toHaveLength(4);
    expect(nextWakeMs(mesh.state)).toBe(mesh.now);
    expect(outcomes(mesh.pass(0))).toHaveLength(4);
    expect(outcomes(mesh.pass(0))).toEqual(['2-3 cancelled #9', '2-4 cancelled #10']);
    expect(nextWakeMs(mesh.state)).toBeNull();
  });

  it('ends what waits to be tried again, and retries nothing', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 5 });
    mesh.join('a');
    mesh.submit(2);
    const failed = outcome({ status: 'exception' });
    mesh.report('a', [{ ...attempt(1, 0), ...failed }]);
    expect(outcomes(terminate(mesh, true))).toEqual(['1-0 cancelled #1']);
    expect(outcomes(mesh.report('a', [{ ...attempt(1, 1), ...failed }]))).toEqual([
      '1-1 exception #2',
    ]);
  });

  it('ends a running task as cancelled when its node is lost', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    terminate(mesh, true);
    const effects = mesh.pass(15_000);
    expect(ends(effects)).toEqual([]);
    expect(outcomes(effects)).toEqual(['1-0 cancelled #1']);
  });

  it('forgets the oldest of too many terminated groups', () => {
    const mesh = createMesh({ settings: { terminatedGroupsMax: 1 } });
    for (const id of ['g1', 'g2']) {
      mesh.group({ group: groupId(id) });
      mesh.take({ kind: 'groupTerminated', request: 9, group: groupId(id), drain: false });
    }
    expect([...mesh.state.groups.keys()]).toEqual(['g2']);
  });
});

describe('a queue timeout', () => {
  it('ends never-granted tasks, batch by batch', () => {
    const mesh = createMesh();
    mesh.group({ queueTimeoutMs: 10_000 });
    mesh.submit(2);
    mesh.now += 4_000;
    mesh.submit(1);
    expect(nextWakeMs(mesh.state)).toBe(1_010_000);
    expect(outcomes(mesh.pass(5_999))).toEqual([]);
    const effects = mesh.pass(1);
    expect(outcomes(effects)).toEqual(['1-0 timeout #1', '1-1 timeout #2']);
    expect(only(effects, 'saveOutcome')[0]).toMatchObject({
      attempt: 0,
      node: null,
      outcome: {
        failure: {
          name: 'QueueTimeout',
          message: "It waited longer than the group's queue timeout of 10 s.",
        },
      },
    });
    expect(outcomes(mesh.pass(4_000))).toEqual(['2-0 timeout #3']);
  });

  it('does not touch what has been granted', () => {
    const mesh = createMesh();
    mesh.group({ queueTimeoutMs: 5_000 });
    mesh.join('a');
    mesh.submit(3);
    const effects = mesh.pass(5_000);
    expect(outcomes(effects)).toEqual(['1-2 timeout #1']);
    expect(mesh.state.nodes.get(nodeId('a'))?.held.size).toBe(2);
  });

  it('ends a task that waits too long for another attempt', () => {
    const mesh = createMesh();
    mesh.group({ queueTimeoutMs: 20_000, retryCount: 1 });
    mesh.join('a');
    mesh.submit(1);
    mesh.pass(15_000);
    expect(grants(mesh.pass(19_999))).toEqual([]);
    expect(outcomes(mesh.pass(1))).toEqual(['1-0 timeout #1']);
  });

  it('is swept in bounded steps too', () => {
    const mesh = createMesh({ settings: { sweepTasksMax: 2 } });
    mesh.group({ queueTimeoutMs: 1_000 });
    mesh.submit(3);
    expect(outcomes(mesh.pass(1_000))).toHaveLength(2);
    expect(outcomes(mesh.pass(0))).toHaveLength(1);
    mesh.submit(1);
    expect(outcomes(mesh.pass(1_000))).toHaveLength(1);
  });
});
