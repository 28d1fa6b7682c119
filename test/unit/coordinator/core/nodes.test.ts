import { describe, expect, it } from 'vitest';
import type { AttemptRef } from '../../../../protocol/wire/ids.ts';
import type { TestMesh } from './mesh.ts';
import {
  attempt,
  createMesh,
  ends,
  grants,
  hello,
  nodeId,
  only,
  outcome,
  outcomes,
  sessionNumber,
} from './mesh.ts';

/** A hello alone, without the pull. */
function greet(mesh: TestMesh, session: number, held: AttemptRef[] = []) {
  return mesh.take({
    kind: 'nodeJoined',
    node: nodeId('a'),
    session: sessionNumber(session),
    hello: hello({ held }),
    namespaces: null,
  });
}

describe('a node', () => {
  it('is welcomed, is joining until it pulls, and is granted nothing before', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(1);
    expect(greet(mesh, 5)).toEqual([
      { kind: 'sendWelcome', node: 'a', session: 5, drop: [], kept: [] },
    ]);
    expect(mesh.state.nodes.get(nodeId('a'))?.phase).toEqual({ kind: 'joining' });
    const session = sessionNumber(5);
    const pulled = mesh.take({ kind: 'nodePulled', node: nodeId('a'), session, heldMax: 10 });
    expect(grants(pulled)).toEqual(['a 1:0+1#1']);
    expect(mesh.state.nodes.get(nodeId('a'))?.phase).toEqual({ kind: 'ready' });
  });

  it('ends its older session when a newer one says hello', () => {
    const mesh = createMesh();
    greet(mesh, 5);
    expect(greet(mesh, 6)).toEqual([
      {
        kind: 'endSession',
        node: 'a',
        session: 5,
        code: 'conflict',
        message: 'A newer session of this node has taken over.',
      },
      { kind: 'sendWelcome', node: 'a', session: 6, drop: [], kept: [] },
    ]);
  });

  it('is not taken back to an older session by a late hello', () => {
    const mesh = createMesh();
    greet(mesh, 6);
    expect(only(greet(mesh, 5), 'endSession', 'sendWelcome')).toMatchObject([
      { kind: 'endSession', session: 5 },
    ]);
    expect(mesh.state.nodes.get(nodeId('a'))?.session).toBe(6);
  });

  it('is not heard in a session that was superseded', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    greet(mesh, 9, [attempt(1, 0)]);
    expect(
      mesh.take({
        kind: 'reportReceived',
        node: nodeId('a'),
        session: sessionNumber(1),
        report: 1,
        outcomes: [{ ...attempt(1, 0), ...outcome() }],
      }),
    ).toEqual([]);
    expect(mesh.state.tasks.size).toBe(1);
  });

  it('keeps what it holds across a reconnection', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(2);
    const from = { node: nodeId('a'), session: mesh.session('a') };
    expect(mesh.take({ kind: 'nodeDisconnected', ...from })).toEqual([]);
    mesh.now += 10_000;
    const held = [attempt(1, 0), attempt(1, 1)];
    expect(greet(mesh, 2, held)).toEqual([
      { kind: 'sendWelcome', node: 'a', session: 2, drop: [], kept: held },
    ]);
  });

  it('loses at once what it came back without, and drops what is not its own', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(2);
    mesh.take({ kind: 'nodeDisconnected', node: nodeId('a'), session: mesh.session('a') });
    const strange = [attempt(1, 0, 2), attempt(7, 0), attempt(1, 9)];
    expect(greet(mesh, 2, [attempt(1, 0), ...strange])).toEqual([
      { kind: 'sendWelcome', node: 'a', session: 2, drop: strange, kept: [attempt(1, 0)] },
      {
        kind: 'saveAttemptEnd',
        ...attempt(1, 1),
        node: 'a',
        end: 'lost',
        charged: false,
        message: 'the node came back without it',
        atMs: mesh.now,
      },
    ]);
  });

  it('is given nothing new while it is disconnected or suspect, and again once it is heard', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.now += 3_001;
    expect(grants(mesh.submit(1))).toEqual([]);
    expect(grants(mesh.heartbeat('a'))).toEqual(['a 1:0+1#1']);
    mesh.take({ kind: 'nodeDisconnected', node: nodeId('a'), session: mesh.session('a') });
    expect(grants(mesh.submit(1))).toEqual([]);
  });

  it('re-adopts what was declared lost when it comes back before another has it', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    expect(ends(mesh.pass(15_000))).toEqual(['1-0#1 lost']);
    expect(greet(mesh, 2, [attempt(1, 0)])).toEqual([
      { kind: 'sendWelcome', node: 'a', session: 2, drop: [], kept: [attempt(1, 0)] },
    ]);
    const from = { node: nodeId('a'), session: sessionNumber(2) };
    const report = { kind: 'reportReceived', ...from, report: 3 } as const;
    expect(
      outcomes(mesh.take({ ...report, outcomes: [{ ...attempt(1, 0), ...outcome() }] })),
    ).toEqual(['1-0 success #1']);
  });

  it('drops what was declared lost and granted to another since', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.now += 14_000;
    expect(mesh.join('b')).toEqual([]);
    expect(grants(mesh.pass(1_000))).toEqual(['b 1:0+1#2']);
    expect(greet(mesh, 9, [attempt(1, 0)])).toEqual([
      { kind: 'sendWelcome', node: 'a', session: 9, drop: [attempt(1, 0)], kept: [] },
    ]);
  });

  it('that says goodbye is gone, and what it still held is tried elsewhere', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.join('b');
    const from = { node: nodeId('a'), session: mesh.session('a') };
    expect(ends(mesh.take({ kind: 'nodeLeft', ...from }))).toEqual(['1-0#1 lost']);
    expect(mesh.state.departed.get(nodeId('a'))?.phase).toBe('gone');
    expect(mesh.state.nodes.has(nodeId('a'))).toBe(false);
  });

  it('hears of its drain again when it comes back', () => {
    const mesh = createMesh();
    mesh.join('a');
    mesh.take({
      kind: 'nodeDrainAsked',
      request: 8,
      node: nodeId('a'),
      by: 'operator',
      reason: '',
    });
    expect(greet(mesh, 2)).toEqual([
      expect.objectContaining({ kind: 'endSession', session: 1 }),
      { kind: 'sendWelcome', node: 'a', session: 2, drop: [], kept: [] },
      { kind: 'sendDrain', node: 'a', session: 2, reason: '' },
    ]);
  });

  it('keeps a bounded story, and departed nodes are bounded too', () => {
    const mesh = createMesh({ settings: { storyMax: 3, departedNodesMax: 2 } });
    for (const id of ['a', 'b', 'c']) mesh.join(id);
    for (let session = 10; session < 20; session += 1) greet(mesh, session);
    expect(mesh.state.nodes.get(nodeId('a'))?.story).toHaveLength(3);
    mesh.pass(15_000);
    expect([...mesh.state.departed.keys()]).toEqual(['b', 'c']);
  });
});
