import { describe, expect, it } from 'vitest';
import type { TestMesh } from './mesh.ts';
import { answerOf, attempt, createMesh, ends, grants, nodeId, outcome, outcomes } from './mesh.ts';

const drain = (
  mesh: TestMesh,
  by: 'node' | 'operator' | 'autoscaler',
  request: number | null = 9,
) => mesh.take({ kind: 'nodeDrainAsked', request, node: nodeId('a'), by, reason: 'Enough.' });
const undrain = (mesh: TestMesh) =>
  mesh.take({ kind: 'nodeUndrainAsked', request: 9, node: nodeId('a') });
const done = { kind: 'respond', request: 9, answer: { kind: 'done' } };

describe('a drain', () => {
  it('is told to the node, which is granted nothing more and keeps what it has', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(3);
    expect(drain(mesh, 'operator')).toEqual([
      done,
      { kind: 'sendDrain', node: 'a', session: 1, reason: 'Enough.' },
    ]);
    const effects = mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    expect(grants(effects)).toEqual([]);
    expect(ends(effects)).toEqual([]);
    expect(mesh.state.readySlots).toBe(0);
  });

  it('answers nobody when nobody asked', () => {
    const mesh = createMesh();
    mesh.join('a');
    expect(drain(mesh, 'node', null)).toEqual([
      { kind: 'sendDrain', node: 'a', session: 1, reason: 'Enough.' },
    ]);
  });

  it('that is called off before the node said that it pulls nothing makes it ready at once', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    drain(mesh, 'autoscaler');
    mesh.submit(1);
    const effects = undrain(mesh);
    expect(effects.slice(0, 2)).toEqual([done, { kind: 'sendUndrain', node: 'a', session: 1 }]);
    expect(grants(effects)).toEqual(['a 1:0+1#1']);
  });

  it('that is called off later makes the node ready once it pulls again', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    drain(mesh, 'autoscaler');
    const from = { node: nodeId('a'), session: mesh.session('a') };
    mesh.take({ kind: 'nodePulled', ...from, heldMax: 0 });
    mesh.submit(1);
    expect(undrain(mesh)).toEqual([done, { kind: 'sendUndrain', node: 'a', session: 1 }]);
    expect(grants(mesh.take({ kind: 'nodePulled', ...from, heldMax: 8 }))).toEqual(['a 1:0+1#1']);
  });

  it('that the node asked for itself cannot be called off', () => {
    const mesh = createMesh();
    mesh.join('a');
    drain(mesh, 'operator');
    drain(mesh, 'node', null);
    expect(answerOf(undrain(mesh))).toMatchObject({ kind: 'refused', code: 'conflict' });
    drain(mesh, 'autoscaler');
    expect(mesh.state.nodes.get(nodeId('a'))?.phase).toMatchObject({
      kind: 'draining',
      by: 'node',
    });
  });

  it('carries its reason, for the node and for people', () => {
    const mesh = createMesh();
    mesh.join('a');
    drain(mesh, 'autoscaler');
    const node = mesh.state.nodes.get(nodeId('a'));
    expect(node?.phase).toMatchObject({ by: 'autoscaler', reason: 'Enough.' });
    expect(node?.story.at(-1)?.text).toBe('Draining, asked by the autoscaler: Enough.');
  });

  it('is believed of a node that says so in its hello', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(1);
    expect(grants(mesh.join('a', { hello: { draining: true } }))).toEqual([]);
  });

  it('of an unknown node is refused, of a departed one too', () => {
    const mesh = createMesh();
    expect(answerOf(drain(mesh, 'operator'))).toMatchObject({ code: 'not_found' });
    mesh.join('a');
    const from = { node: nodeId('a'), session: mesh.session('a') };
    mesh.take({ kind: 'nodeLeft', ...from });
    expect(answerOf(drain(mesh, 'operator'))).toMatchObject({ code: 'conflict' });
    expect(answerOf(undrain(mesh))).toMatchObject({ code: 'conflict' });
  });
});

describe('a drain that does not end', () => {
  const drainMsMax = 60_000;
  /** One task runs on a draining node, which is heard all the time. */
  const start = () => {
    const mesh = createMesh({ settings: { drainMsMax } });
    mesh.group();
    mesh.join('a', { slots: 1 });
    mesh.submit(1);
    drain(mesh, 'autoscaler');
    return mesh;
  };
  const pass = (mesh: TestMesh, ms: number) => {
    const effects: ReturnType<TestMesh['take']> = [];
    for (let passed = 0; passed < ms; passed += 1_000) {
      effects.push(...mesh.pass(1_000), ...mesh.heartbeat('a'));
    }
    return effects;
  };

  it('gives back what still runs, uncharged, and has the node end it', () => {
    const mesh = start();
    expect(pass(mesh, drainMsMax - 1_000)).toEqual([]);
    const effects = pass(mesh, 1_000);
    expect(effects).toMatchObject([
      { kind: 'saveAttemptEnd', attempt: 1, end: 'lost', charged: false },
      { kind: 'sendCancel', node: 'a', attempts: [attempt(1, 0)] },
    ]);
    expect(grants(mesh.join('b'))).toEqual(['b 1:0+1#2']);
    // What the node says of the end that it made is late.
    const cancelled = { ...attempt(1, 0), ...outcome({ status: 'cancelled' }) };
    expect(outcomes(mesh.report('a', [cancelled]))).toEqual([]);
    expect(outcomes(mesh.report('b', [{ ...attempt(1, 0, 2), ...outcome() }]))).toEqual([
      '1-0 success #1',
    ]);
  });

  it('ends a task that was to be cancelled', () => {
    const mesh = start();
    mesh.take({ kind: 'taskCancelled', request: 1, task: attempt(1, 0) });
    expect(outcomes(pass(mesh, drainMsMax))).toEqual(['1-0 cancelled #1']);
  });

  it('is none once it was called off', () => {
    const mesh = start();
    pass(mesh, drainMsMax - 5_000);
    undrain(mesh);
    expect(pass(mesh, drainMsMax)).toEqual([]);
  });
});
