import { describe, expect, it } from 'vitest';
import type { TestMesh } from './mesh.ts';
import { answerOf, attempt, createMesh, ends, grants, nodeId, outcome } from './mesh.ts';

const drain = (
  mesh: TestMesh,
  by: 'node' | 'operator' | 'autoscaler',
  request: number | null = 9,
) => mesh.take({ kind: 'nodeDrainAsked', request, node: nodeId('a'), by });
const undrain = (mesh: TestMesh) =>
  mesh.take({ kind: 'nodeUndrainAsked', request: 9, node: nodeId('a') });
const done = { kind: 'respond', request: 9, answer: { kind: 'done' } };

describe('a drain', () => {
  it('is told to the node, which is granted nothing more and keeps what it has', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(3);
    expect(drain(mesh, 'operator')).toEqual([done, { kind: 'sendDrain', node: 'a', session: 1 }]);
    const effects = mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    expect(grants(effects)).toEqual([]);
    expect(ends(effects)).toEqual([]);
    expect(mesh.state.readySlots).toBe(0);
  });

  it('answers nobody when nobody asked', () => {
    const mesh = createMesh();
    mesh.join('a');
    expect(drain(mesh, 'node', null)).toEqual([{ kind: 'sendDrain', node: 'a', session: 1 }]);
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
