import { describe, expect, it } from 'vitest';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';
import type { TestMesh } from './mesh.ts';
import {
  attempt,
  createMesh,
  grants,
  groupId,
  namespaceName,
  nodeId,
  only,
  outcome,
  task,
} from './mesh.ts';

/** Runs one task of a group on a node, so that the group's runtime is known. */
function measure(mesh: TestMesh, node: string, group: string, runtimeMs: number): void {
  const [grant] = only(mesh.submit(1, group), 'sendGrant');
  if (grant === undefined) throw new Error('nothing was granted');
  mesh.now += Math.ceil(runtimeMs);
  mesh.report(node, [{ ...attempt(grant.batch, 0), ...outcome({ runtimeMs }) }]);
}

/** Grants of tasks, counted by node. */
function countByNode(effects: Parameters<typeof only>[0]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { node, count } of only(effects, 'sendGrant')) {
    counts[node] = (counts[node] ?? 0) + count;
  }
  return counts;
}

describe('eligibility', () => {
  const other = `sha256:${'b'.repeat(64)}` as ImageDigest;
  it.each([
    ['lacks the image', { imageDigest: other }, {}],
    ['isolates too little', { isolationMin: 'strong' as const }, {}],
    ['has too few cpus', { cpus: 3 }, {}],
    ['has too little memory', { memoryBytes: 2_000_000 }, {}],
    ['is closed to the namespace', {}, { namespaces: ['other'] }],
  ])('keeps tasks from a node that %s', (_, spec, join) => {
    const mesh = createMesh();
    mesh.group(spec);
    mesh.submit(1);
    expect(grants(mesh.join('a', join))).toEqual([]);
  });

  it('grants to a node that has just what is asked for', () => {
    const mesh = createMesh();
    mesh.group({ cpus: 2, memoryBytes: 1_000_000 });
    mesh.submit(1);
    expect(grants(mesh.join('a', { namespaces: ['default'] }))).toEqual(['a 1:0+1#1']);
  });
});

describe('a grant', () => {
  it('fills slots, cpus and memory, whichever ends first', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('cpus'), cpus: 0.5, memoryBytes: 0 });
    mesh.group({ group: groupId('memory'), cpus: 0, memoryBytes: 400_000 });
    mesh.join('a', {
      slots: 4,
      hello: { capacity: { slots: 4, cpus: 1, memoryBytes: 1e6, diskBytes: 0 } },
    });
    expect(grants(mesh.submit(3, 'cpus'))).toEqual(['a 1:0+2#1']);
    expect(grants(mesh.submit(3, 'memory'))).toEqual(['a 2:0+2#1']);
  });

  it('counts ten tenths of a cpu as one', () => {
    const mesh = createMesh();
    mesh.group({ cpus: 0.1 });
    const capacity = { slots: 20, cpus: 1, memoryBytes: 1e6, diskBytes: 0 };
    mesh.join('a', { hello: { capacity } });
    expect(countByNode(mesh.submit(20))).toEqual({ a: 10 });
  });

  it('skips what was cancelled in the queue and goes on behind it', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(4);
    for (const index of [0, 2]) {
      mesh.take({ kind: 'taskCancelled', request: 9, task: task(1, index) });
    }
    expect(grants(mesh.join('a', { slots: 4 }))).toEqual(['a 1:1+1#1', 'a 1:3+1#1']);
  });

  it('goes by priority, then by submission', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('low') });
    mesh.group({ group: groupId('high'), priority: 5 });
    mesh.group({ group: groupId('too') });
    mesh.submit(1, 'low');
    mesh.submit(1, 'too');
    mesh.submit(1, 'low');
    mesh.submit(1, 'high');
    expect(grants(mesh.join('a', { slots: 4 }))).toEqual([
      'a 4:0+1#1',
      'a 1:0+1#1',
      'a 2:0+1#1',
      'a 3:0+1#1',
    ]);
  });

  it('never exceeds maximum_concurrency on the whole mesh, and uses it up', () => {
    const mesh = createMesh();
    mesh.group({ maximumConcurrency: 3 });
    mesh.join('a');
    mesh.join('b');
    expect(countByNode(mesh.submit(10))).toEqual({ a: 2, b: 1 });
    const effects = mesh.report('b', [{ ...attempt(1, 2), ...outcome() }]);
    expect(only(effects, 'sendGrant')).toHaveLength(1);
  });

  it('gives what one node may no longer run to another that waits for it', () => {
    const mesh = createMesh();
    mesh.group({ maximumConcurrency: 1 });
    mesh.join('a');
    mesh.join('b');
    mesh.submit(2);
    mesh.take({
      kind: 'nodeDrainAsked',
      request: 1,
      node: nodeId('a'),
      by: 'operator',
      reason: '',
    });
    expect(grants(mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]))).toEqual(['b 1:1+1#1']);
  });

  it('spreads over the nodes, the emptiest first', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 4 });
    mesh.join('b', { slots: 4 });
    expect(countByNode(mesh.submit(4))).toEqual({ a: 2, b: 2 });
    expect(countByNode(mesh.submit(2))).toEqual({ a: 1, b: 1 });
  });

  it('holds to what the node is willing to hold', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 8, heldMax: 3 });
    expect(countByNode(mesh.submit(8))).toEqual({ a: 3 });
  });
});

describe('prefetch', () => {
  it('grants nothing ahead of tasks that were never measured', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    expect(countByNode(mesh.submit(100))).toEqual({ a: 2 });
  });

  it('grants ahead as much work as the time allows, per place', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    measure(mesh, 'a', 'g1', 1);
    // 40 ms of work for each of two places.
    expect(countByNode(mesh.submit(1_000))).toEqual({ a: 80 });
  });

  it('grants one ahead of each place when a task is short but longer than the window', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    measure(mesh, 'a', 'g1', 80);
    expect(countByNode(mesh.submit(100))).toEqual({ a: 4 });
  });

  it('grants nothing ahead of long tasks', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    measure(mesh, 'a', 'g1', 150);
    expect(countByNode(mesh.submit(100))).toEqual({ a: 2 });
  });

  it('uses only the places that no task of unknown length occupies', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.group({ group: groupId('new') });
    mesh.join('a');
    measure(mesh, 'a', 'g1', 1);
    mesh.submit(1, 'new');
    expect(countByNode(mesh.submit(100))).toEqual({ a: 40 });
  });

  it('shares out near the end', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    measure(mesh, 'a', 'g1', 1);
    mesh.join('b');
    mesh.join('c');
    expect(countByNode(mesh.submit(30))).toEqual({ a: 10, b: 10, c: 10 });
  });

  it('never holds more than the bound of attempts on a node', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 64, heldMax: 1_000_000 });
    measure(mesh, 'a', 'g1', 0.001);
    mesh.submit(5_000);
    expect(mesh.state.nodes.get(nodeId('a'))?.held.size).toBe(4_096);
  });
});

describe('fair share', () => {
  it('takes turns between namespaces in one node', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('mine'), namespace: namespaceName('mine') });
    mesh.group({ group: groupId('yours'), namespace: namespaceName('yours') });
    mesh.submit(100, 'mine');
    mesh.submit(100, 'yours');
    expect(grants(mesh.join('a', { slots: 4 }))).toEqual(['a 1:0+2#1', 'a 2:0+2#1']);
  });

  it('does not let long tasks take every slot that short ones free', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('long'), namespace: namespaceName('long') });
    mesh.group({ group: groupId('short'), namespace: namespaceName('short') });
    mesh.submit(1_000, 'long');
    mesh.submit(1_000, 'short');
    mesh.join('a', { slots: 4 });
    for (let round = 0; round < 200; round += 1) {
      mesh.now += 150;
      const node = mesh.state.nodes.get(nodeId('a'));
      const short = [...(node?.held.values() ?? [])].filter(({ batch }) => batch.number === 2);
      const refs = short.map(({ index }) => attempt(2, index));
      mesh.report(
        'a',
        refs.map((ref) => ({ ...ref, ...outcome({ runtimeMs: 150 }) })),
      );
    }
    const long = mesh.state.groups.get(groupId('long'));
    const short = mesh.state.groups.get(groupId('short'));
    expect(long?.running).toBe(2);
    expect(short?.succeeded).toBeGreaterThan(350);
  });

  it('gives a newcomer its turn at once, but no more than its turn', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('old'), namespace: namespaceName('old') });
    mesh.group({ group: groupId('new'), namespace: namespaceName('new') });
    mesh.join('a');
    const run = (group: string, batch: number, count: number) => {
      for (let index = 0; index < count; index += 1) {
        mesh.now += 1_000;
        const node = mesh.state.nodes.get(nodeId('a'));
        const held = [...(node?.held.values() ?? [])].find((one) => one.batch.number === batch);
        if (held === undefined) throw new Error(`${group} holds nothing`);
        const ref = attempt(batch, held.index);
        mesh.report('a', [{ ...ref, ...outcome({ runtimeMs: 1_000 }) }]);
      }
    };
    mesh.submit(50, 'old');
    run('old', 1, 20);
    mesh.submit(50, 'new');
    run('old', 1, 1);
    const counts = () => ({
      old: mesh.state.groups.get(groupId('old'))?.running,
      new: mesh.state.groups.get(groupId('new'))?.running,
    });
    expect(counts()).toEqual({ old: 1, new: 1 });
    run('new', 2, 1);
    // It has no claim to the time before it came: both slots are not its own.
    expect(counts().old).toBeGreaterThan(0);
  });

  it('gives a task of unknown length a place behind the short ones that a node holds', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('bulk'), namespace: namespaceName('bulk') });
    mesh.group({ group: groupId('one'), namespace: namespaceName('one') });
    mesh.join('a');
    measure(mesh, 'a', 'bulk', 1);
    mesh.submit(5_000, 'bulk');
    expect(grants(mesh.submit(5, 'one'))).toEqual(['a 3:0+2#1']);
  });
});

describe('a task that needs most of a node', () => {
  it('gets a node kept for it when small ones have passed it for too long', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('small'), cpus: 1 });
    mesh.group({ group: groupId('big'), cpus: 2, priority: 1 });
    mesh.join('a');
    mesh.submit(100, 'small');
    mesh.submit(1, 'big');
    let index = 0;
    const finish = () => {
      mesh.now += 2_500;
      return mesh.report('a', [{ ...attempt(1, index++), ...outcome({ runtimeMs: 2_500 }) }]);
    };
    for (let round = 0; round < 4; round += 1) expect(grants(finish())).toHaveLength(1);
    // The one that passes it after ten seconds is the last to do so.
    expect(grants(finish())).toHaveLength(1);
    expect(mesh.state.nodes.get(nodeId('a'))?.reservedFor?.id).toBe('big');
    expect(grants(finish())).toEqual([]);
    expect(grants(finish())).toEqual(['a 2:0+1#1']);
    expect(mesh.state.nodes.get(nodeId('a'))?.reservedFor).toBeNull();
  });

  it('loses its node again when it is cancelled', () => {
    const mesh = createMesh();
    mesh.group({ group: groupId('small'), cpus: 1 });
    mesh.group({ group: groupId('big'), cpus: 2, priority: 1 });
    mesh.join('a');
    mesh.submit(100, 'small');
    mesh.submit(1, 'big');
    mesh.now += 11_000;
    mesh.heartbeat('a');
    mesh.report('a', [{ ...attempt(1, 0), ...outcome({ runtimeMs: 5_000 }) }]);
    expect(mesh.state.nodes.get(nodeId('a'))?.reservedFor?.id).toBe('big');
    mesh.take({ kind: 'taskCancelled', request: 9, task: task(2, 0) });
    mesh.report('a', [{ ...attempt(1, 1), ...outcome({ runtimeMs: 5_000 }) }]);
    expect(grants(mesh.pass(100))).toHaveLength(1);
  });
});
