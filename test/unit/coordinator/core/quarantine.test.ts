import { describe, expect, it } from 'vitest';
import type { TestMesh } from './mesh.ts';
import {
  attempt,
  createMesh,
  ends,
  grants,
  groupId,
  nodeId,
  only,
  outcome,
  outcomes,
} from './mesh.ts';

const crash = outcome({
  status: 'crash',
  failure: { name: 'WorkerDied', message: 'SIGSEGV', traceback: '' },
});

/** A mesh whose node `a` holds one task of each of `count` groups with retries. */
function crowd(count: number, groups: number): TestMesh {
  const mesh = createMesh({ settings: { quarantineNodeTasks: 3 } });
  for (let at = 1; at <= groups; at += 1) mesh.group({ group: groupId(`g${at}`), retryCount: 5 });
  mesh.join('a', { slots: 16 });
  for (let at = 0; at < count; at += 1) mesh.submit(1, `g${(at % groups) + 1}`);
  return mesh;
}

describe('a task', () => {
  it('that kills workers on two nodes ends as crash, although it has retries left', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 9 });
    mesh.join('a');
    mesh.submit(1);
    expect(ends(mesh.report('a', [{ ...attempt(1, 0), ...crash }]))).toEqual([
      '1-0#1 crash charged',
    ]);
    mesh.join('b');
    expect(grants(mesh.pass(750))).toEqual(['b 1:0+1#2']);
    const effects = mesh.report('b', [{ ...attempt(1, 0, 2), ...crash }]);
    expect(ends(effects)).toEqual([]);
    expect(only(effects, 'saveOutcome')[0]?.outcome.failure).toEqual({
      name: 'WorkerDied',
      message: 'Quarantined: its worker died on 2 different nodes. SIGSEGV',
      traceback: '',
    });
  });

  it('that kills workers on one node twice is only charged', () => {
    const mesh = createMesh();
    mesh.group({ retryCount: 9 });
    mesh.join('a');
    mesh.submit(1);
    mesh.report('a', [{ ...attempt(1, 0), ...crash }]);
    mesh.pass(750);
    expect(ends(mesh.report('a', [{ ...attempt(1, 0, 2), ...crash }]))).toEqual([
      '1-0#2 crash charged',
    ]);
  });

  it.each(['oom', 'timeout', 'exception'] as const)('is not blamed for %s on a node', (status) => {
    const mesh = createMesh();
    mesh.group({ retryCount: 9 });
    mesh.join('a');
    mesh.submit(1);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status }) }]);
    expect(mesh.state.tasks.get(65_536)?.killedOn ?? []).toEqual([]);
  });
});

describe('a node', () => {
  it('under which tasks of several groups die in a row is paused and takes the blame', () => {
    const mesh = crowd(4, 2);
    const refs = [1, 2, 3].map((batch) => ({ ...attempt(batch, 0), ...crash }));
    const effects = mesh.report('a', refs);
    expect(ends(effects)).toEqual([
      '1-0#1 crash charged',
      '2-0#1 crash charged',
      // The third tells: the first two are charged no more.
      '1-0#1 crash',
      '2-0#1 crash',
      '3-0#1 crash',
    ]);
    const node = mesh.state.nodes.get(nodeId('a'));
    expect(node?.quarantine?.text).toBe('Paused: workers died under 3 different tasks in a row.');
    expect(mesh.state.tasks.get(65_536)?.charges).toBe(0);
    mesh.heartbeat('a');
    expect(grants(mesh.pass(2_500))).toEqual([]);
    expect(grants(mesh.join('b', { slots: 3 }))).toEqual(['b 1:0+1#2', 'b 3:0+1#2', 'b 2:0+1#2']);
  });

  it('goes on being heard while it is paused, and charges nobody', () => {
    const mesh = crowd(4, 2);
    mesh.report(
      'a',
      [1, 2, 3].map((batch) => ({ ...attempt(batch, 0), ...crash })),
    );
    expect(ends(mesh.report('a', [{ ...attempt(4, 0), ...crash }]))).toEqual(['4-0#1 crash']);
  });

  it('is not blamed when one group alone dies, which may be broken itself', () => {
    const mesh = crowd(4, 1);
    mesh.report(
      'a',
      [1, 2, 3, 4].map((batch) => ({ ...attempt(batch, 0), ...crash })),
    );
    expect(mesh.state.nodes.get(nodeId('a'))?.quarantine).toBeNull();
  });

  it('is blamed for one group alone when that has worked elsewhere', () => {
    const mesh = createMesh({ settings: { quarantineNodeTasks: 3 } });
    mesh.group({ retryCount: 5 });
    mesh.join('b');
    mesh.submit(1);
    mesh.report('b', [{ ...attempt(1, 0), ...outcome({ runtimeMs: 500 }) }]);
    mesh.take({
      kind: 'nodeDrainAsked',
      request: 1,
      node: nodeId('b'),
      by: 'operator',
      reason: '',
    });
    mesh.join('a', { slots: 4 });
    mesh.submit(3);
    mesh.report(
      'a',
      [0, 1, 2].map((index) => ({ ...attempt(2, index), ...crash })),
    );
    expect(mesh.state.nodes.get(nodeId('a'))?.quarantine).not.toBeNull();
  });

  it('is forgiven by a task that ends well between', () => {
    const mesh = crowd(6, 2);
    mesh.report(
      'a',
      [1, 2].map((batch) => ({ ...attempt(batch, 0), ...crash })),
    );
    mesh.report('a', [{ ...attempt(3, 0), ...outcome() }]);
    mesh.report(
      'a',
      [4, 5].map((batch) => ({ ...attempt(batch, 0), ...crash })),
    );
    expect(mesh.state.nodes.get(nodeId('a'))?.quarantine).toBeNull();
  });

  it('is forgiven by time', () => {
    const mesh = crowd(3, 2);
    mesh.report(
      'a',
      [1, 2].map((batch) => ({ ...attempt(batch, 0), ...crash })),
    );
    for (let second = 0; second < 61; second += 1) {
      mesh.now += 1_000;
      mesh.heartbeat('a');
    }
    mesh.report('a', [{ ...attempt(3, 0), ...crash }]);
    expect(mesh.state.nodes.get(nodeId('a'))?.quarantine).toBeNull();
  });

  it('stays paused when it reconnects, until an operator undrains it', () => {
    const mesh = crowd(3, 2);
    mesh.report(
      'a',
      [1, 2, 3].map((batch) => ({ ...attempt(batch, 0), ...crash })),
    );
    mesh.join('a', { slots: 16 });
    mesh.heartbeat('a');
    expect(grants(mesh.pass(2_500))).toEqual([]);
    const effects = mesh.take({ kind: 'nodeUndrainAsked', request: 9, node: nodeId('a') });
    expect(grants(effects)).toHaveLength(3);
    expect(outcomes(effects)).toEqual([]);
  });
});
