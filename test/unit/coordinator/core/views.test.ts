import { describe, expect, it } from 'vitest';
import { explainTask } from '../../../../coordinator/core/explain.ts';
import {
  countSlots,
  demand,
  describeNodes,
  describeTask,
  groupCounts,
  meshCounts,
} from '../../../../coordinator/core/views.ts';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';
import type { TestMesh } from './mesh.ts';
import { attempt, createMesh, groupId, namespaceName, nodeId, outcome, task } from './mesh.ts';

const explain = (mesh: TestMesh, batch: number, index: number) => {
  const explanation = explainTask(mesh.state, task(batch, index), mesh.now);
  return explanation === undefined ? undefined : [explanation.reason, explanation.sentence];
};

describe('describeTask', () => {
  it('tells queued from running from what memory does not have', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 1 });
    mesh.submit(2);
    const from = { node: nodeId('a'), session: mesh.session('a') };
    mesh.take({ kind: 'attemptsStarted', ...from, attempts: [attempt(1, 0)] });
    expect(describeTask(mesh.state, task(1, 0))).toEqual({
      state: 'running',
      group: 'g1',
      submittedAtMs: mesh.now,
      attempt: 1,
      node: 'a',
      grantedAtMs: mesh.now,
      startedAtMs: mesh.now,
      cancelAsked: false,
    });
    expect(describeTask(mesh.state, task(1, 1))).toEqual({
      state: 'queued',
      group: 'g1',
      submittedAtMs: mesh.now,
      attempts: 0,
      notBeforeMs: null,
    });
    expect(describeTask(mesh.state, task(1, 2))).toBeUndefined();
    mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    expect(describeTask(mesh.state, task(1, 0))).toBeUndefined();
  });

  it('says until when a task pauses before its retry', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.join('a');
    mesh.submit(1);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status: 'exception' }) }]);
    const view = describeTask(mesh.state, task(1, 0));
    expect(view).toMatchObject({ state: 'queued', attempts: 1 });
    expect(view?.state === 'queued' ? view.notBeforeMs : null).toBeGreaterThan(mesh.now);
  });
});

describe('counts', () => {
  it('follow a group through its tasks', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.group({ group: groupId('g2'), namespace: namespaceName('other') });
    mesh.join('a');
    mesh.submit(5);
    mesh.submit(1, 'g2');
    mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    mesh.report('a', [{ ...attempt(1, 1), ...outcome({ status: 'exception' }) }]);
    const counts = groupCounts(mesh.state, groupId('g1'));
    expect(counts).toMatchObject({ succeeded: 1, failed: 0 });
    expect((counts?.queued ?? 0) + (counts?.running ?? 0)).toBe(4);
    expect(groupCounts(mesh.state, groupId('nope'))).toBeUndefined();
    expect(meshCounts(mesh.state, namespaceName('default'))).toEqual({ tasks: counts, groups: 1 });
    expect(meshCounts(mesh.state, null).groups).toBe(2);
    expect(countSlots(mesh.state)).toEqual({ total: 2, busy: 2 });
  });
});

describe('describeNodes', () => {
  it('shows who is there and who was', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.join('b', { namespaces: ['default'] });
    mesh.take({ kind: 'nodeLeft', node: nodeId('b'), session: mesh.session('b') });
    expect(describeNodes(mesh.state)).toMatchObject([
      {
        id: 'a',
        name: 'host',
        state: 'ready',
        suspect: false,
        slots: 2,
        busy: 1,
        held: 1,
        idleSinceMs: null,
        quarantined: null,
        story: [{ text: 'Joined as host.' }, { text: 'Ready.' }],
      },
      { id: 'b', state: 'gone', namespaces: ['default'], held: 0 },
    ]);
    mesh.now += 3_001;
    mesh.pass(0);
    expect(describeNodes(mesh.state)[0]?.suspect).toBe(true);
  });
});

describe('demand', () => {
  it('says what could run now and how much work that is', () => {
    const mesh = createMesh();
    mesh.group({ maximumConcurrency: 3, cpus: 0.5, priority: 2 });
    mesh.group({ group: groupId('idle') });
    mesh.submit(10);
    const row = {
      group: 'g1',
      namespace: 'default',
      priority: 2,
      cpus: 0.5,
      maximumConcurrency: 3,
    };
    const unmeasured = { runtimeMs: null, workSeconds: null };
    expect(demand(mesh.state)).toMatchObject([
      { ...row, ...unmeasured, runnable: 3, queued: 10, running: 0 },
    ]);
    mesh.join('a', { slots: 1 });
    mesh.now += 2_000;
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ runtimeMs: 2_000 }) }]);
    expect(demand(mesh.state)).toMatchObject([
      { ...row, runtimeMs: 2_000, workSeconds: 4, runnable: 2, queued: 8, running: 1 },
    ]);
  });
});

describe('explainTask', () => {
  it('says that there is no node', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(1);
    expect(explain(mesh, 1, 0)).toEqual(['noNode', 'No node has joined the mesh yet.']);
    expect(explain(mesh, 1, 1)).toBeUndefined();
  });

  it('says what every node lacks', () => {
    const mesh = createMesh();
    mesh.group({ imageDigest: 'sha256:b' as ImageDigest });
    mesh.group({ group: groupId('g2'), cpus: 4 });
    mesh.join('a');
    mesh.join('b');
    mesh.submit(1);
    mesh.submit(1, 'g2');
    expect(explain(mesh, 1, 0)).toEqual([
      'noFit',
      'None of the 2 nodes can run it: 2 without its image perigee/geospatial:py2.7.',
    ]);
    expect(explain(mesh, 2, 0)).toEqual([
      'noFit',
      'None of the 2 nodes can run it: 2 with fewer than 4 cpus.',
    ]);
  });

  it('says when an image is for another processor, also of a node without any image', () => {
    const mesh = createMesh();
    const other = 'sha256:b' as ImageDigest;
    const known = { digest: other, sizeBytes: 1, arch: 'x64', base: null };
    mesh.take({ kind: 'imagesKnown', images: [known] });
    mesh.group({ imageDigest: other });
    mesh.join('a', { hello: { images: [], arch: 'arm64' } });
    mesh.submit(1);
    expect(explain(mesh, 1, 0)).toEqual([
      'noFit',
      'None of the 1 nodes can run it: 1 of another processor than its image ' +
        'perigee/geospatial:py2.7, which is for x64.',
    ]);
  });

  it('says that nodes drain, are paused or silent', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.take({
      kind: 'nodeDrainAsked',
      request: 9,
      node: nodeId('a'),
      by: 'operator',
      reason: '',
    });
    mesh.submit(1);
    expect(explain(mesh, 1, 0)).toEqual([
      'noneReady',
      'None of the 1 nodes that could run it takes work: 1 draining, 0 paused, 0 silent.',
    ]);
  });

  it('says that the group is at its limit', () => {
    const mesh = createMesh();
    mesh.group({ maximumConcurrency: 1 });
    mesh.join('a');
    mesh.submit(2);
    expect(explain(mesh, 1, 1)).toEqual([
      'maximumConcurrency',
      'Its group runs 1 tasks, its maximum concurrency is 1.',
    ]);
  });

  it('counts what goes first', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.group({ group: groupId('g2'), priority: 1 });
    mesh.join('a', { slots: 1 });
    mesh.submit(4);
    mesh.take({ kind: 'taskCancelled', request: 9, task: task(1, 2) });
    mesh.submit(2, 'g2');
    mesh.submit(1);
    expect(explain(mesh, 3, 0)).toEqual([
      'noCapacity',
      'It waits for room: 4 tasks of its namespace go first, on 1 slots in all.',
    ]);
    expect(explain(mesh, 1, 3)?.[1]).toContain('3 tasks');
    expect(explain(mesh, 2, 0)?.[0]).toBe('next');
  });

  it('says what a granted task does', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 1 });
    mesh.join('a');
    mesh.submit(1);
    expect(explain(mesh, 1, 0)?.[0]).toBe('waitsOnNode');
    const from = { node: nodeId('a'), session: mesh.session('a') };
    mesh.take({ kind: 'attemptsStarted', ...from, attempts: [attempt(1, 0)] });
    mesh.now += 1_500;
    expect(explain(mesh, 1, 0)).toEqual(['running', 'It has been running on node a for 1.5 s.']);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status: 'exception' }) }]);
    expect(explain(mesh, 1, 0)?.[0]).toBe('backoff');
    mesh.pass(750);
    mesh.take({ kind: 'taskCancelled', request: 9, task: task(1, 0) });
    expect(explain(mesh, 1, 0)).toEqual(['cancelling', 'It is being cancelled on node a.']);
  });

  it('says that the group ends', () => {
    const mesh = createMesh({ settings: { sweepTasksMax: 1 } });
    mesh.group();
    mesh.submit(3);
    mesh.take({ kind: 'groupTerminated', request: 9, group: groupId('g1'), drain: false });
    expect(explain(mesh, 1, 2)?.[0]).toBe('groupEnds');
  });
});
