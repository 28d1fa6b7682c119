import { describe, expect, it } from 'vitest';
import { explainTask } from '../../../../coordinator/core/explain.ts';
import type { AssetId } from '../../../../protocol/wire/ids.ts';
import type { TaskAssets } from '../../../../protocol/wire/task.ts';
import type { TestMesh } from './mesh.ts';
import {
  attempt,
  createMesh,
  grants,
  groupId,
  nodeId,
  nothing,
  only,
  outcome,
  task,
} from './mesh.ts';

const mib = 1024 * 1024;

/** One asset a task: its number; null for none. */
function reads(...scenes: (number | null)[]): TaskAssets {
  const starts = new Uint32Array(scenes.length + 1);
  const bytes: number[] = [];
  for (const [index, scene] of scenes.entries()) {
    if (scene !== null) bytes.push(0, 0, 0, 0, 0, 0, 0, scene);
    starts[index + 1] = bytes.length;
  }
  return { bytes: Uint8Array.from(bytes), starts };
}
const asset = (scene: number): AssetId => scene.toString(16).padStart(16, '0') as AssetId;

function submit(mesh: TestMesh, assets: TaskAssets | null, count = 0) {
  return mesh.take({
    kind: 'batchSubmitted',
    request: 900,
    group: groupId('g1'),
    clientBatch: 'uuid',
    blockHash: 'hash',
    count: assets === null ? count : assets.starts.length - 1,
    block: nothing,
    assets,
  });
}

function holds(
  mesh: TestMesh,
  node: string,
  options: { sequence?: number; add?: number[]; drop?: number[] },
) {
  const { sequence = 1, add = [], drop = [] } = options;
  return mesh.take({
    kind: 'holdingsTold',
    node: nodeId(node),
    session: mesh.session(node),
    epoch: 7,
    sequence,
    full: sequence === 1,
    add: add.map((scene) => ({ asset: asset(scene), bytes: 100 * mib })),
    drop: drop.map(asset),
  });
}

/** Nodes of one slot that hold a task more than they run at most. */
function createMeshOf(...nodes: string[]): TestMesh {
  const mesh = createMesh();
  mesh.group();
  for (const node of nodes) mesh.join(node, { slots: 1, heldMax: 1 });
  return mesh;
}

const done = (mesh: TestMesh, node: string, index: number, runtimeMs = 1_000) => {
  mesh.now += runtimeMs;
  for (const id of mesh.state.nodes.keys()) mesh.heartbeat(id);
  return mesh.report(node, [{ ...attempt(1, index), ...outcome({ runtimeMs }) }]);
};

describe('a pulling node', () => {
  it('gets the task whose imagery it has, out of turn', () => {
    const mesh = createMeshOf('a', 'b', 'c');
    holds(mesh, 'a', { add: [5] });
    expect(grants(submit(mesh, reads(null, null, null, 1, 2, 5)))).toHaveLength(3);
    const first = [...mesh.state.tasks.values()].find((one) => one.node === nodeId('a'));
    expect(grants(done(mesh, 'a', first?.index ?? -1))).toEqual(['a 1:5+1#1']);
    // What is left is granted in order, and the batch comes to its end.
    const second = [...mesh.state.tasks.values()].find((one) => one.node === nodeId('b'));
    expect(grants(done(mesh, 'b', second?.index ?? -1))).toEqual(['b 1:3+1#1']);
  });

  it('gets the oldest when tasks do not say what they read', () => {
    const mesh = createMeshOf('a');
    holds(mesh, 'a', { add: [5] });
    expect(grants(submit(mesh, null, 3))).toEqual(['a 1:0+1#1']);
    expect(grants(done(mesh, 'a', 0))).toEqual(['a 1:1+1#1']);
  });

  it('is told from others by nothing that more than half of them have', () => {
    const mesh = createMeshOf('a', 'b', 'c');
    for (const node of ['a', 'b']) holds(mesh, node, { add: [1] });
    expect(grants(submit(mesh, reads(1)))).toHaveLength(1);
    expect(mesh.state.timers).toEqual([]);
  });
});

describe('a task', () => {
  it('is overtaken a bounded number of times, then goes next wherever that is', () => {
    const mesh = createMesh({ settings: { overtakenMax: 3 } });
    mesh.group();
    mesh.join('a', { slots: 1, heldMax: 1 });
    mesh.join('b', { slots: 1, heldMax: 0 });
    mesh.join('c', { slots: 1, heldMax: 0 });
    holds(mesh, 'a', { add: [5] });
    submit(mesh, reads(5, 1, 5, 5, 5, 5, 5, 5));
    const order = [0];
    for (let turns = 0; turns < 7; turns += 1) {
      const [grant] = only(done(mesh, 'a', order.at(-1) ?? 0), 'sendGrant');
      order.push(grant?.lo ?? -1);
    }
    expect(order).toEqual([0, 2, 3, 4, 1, 5, 6, 7]);
  });

  it('waits for the node that has its imagery for a bounded while, and says so', () => {
    const mesh = createMeshOf('a', 'b', 'c');
    holds(mesh, 'a', { add: [1, 2] });
    submit(mesh, reads(1));
    // Measured: a task takes a second, so half of that is what waiting may cost.
    done(mesh, 'a', 0, 1_000);
    expect(grants(submit(mesh, reads(1)))).toEqual(['a 2:0+1#1']);
    expect(grants(submit(mesh, reads(2)))).toEqual([]);
    expect(explainTask(mesh.state, task(3, 0), mesh.now)).toMatchObject({
      reason: 'heldBack',
      sentence:
        'It waits for node a, which has what it reads, for at most 0.5 s more; then any node may have it.',
    });
    expect(grants(mesh.pass(499))).toEqual([]);
    // Other tasks that come and go do not move its deadline.
    expect(grants(submit(mesh, reads(null)))).toHaveLength(1);
    expect(grants(mesh.pass(1))).toEqual([expect.stringMatching(/^[bc] 3:0\+1#1$/)]);
  });

  it('does not wait when fetching is cheaper than waiting, or nobody has it', () => {
    const mesh = createMeshOf('a', 'b', 'c');
    expect(grants(submit(mesh, reads(1, 2, 3)))).toHaveLength(3);
  });

  it('does not wait for a node that is gone', () => {
    const mesh = createMeshOf('a', 'b', 'c');
    holds(mesh, 'a', { add: [1] });
    mesh.take({ kind: 'nodeLeft', node: nodeId('a'), session: mesh.session('a') });
    expect(mesh.state.holders.size).toBe(0);
    expect(grants(submit(mesh, reads(1)))).toHaveLength(1);
  });

  it('that was cancelled while it could be granted out of turn ends once', () => {
    const mesh = createMeshOf('a', 'b', 'c');
    holds(mesh, 'a', { add: [5] });
    submit(mesh, reads(null, null, null, 1, 5));
    const cancelled = mesh.take({ kind: 'taskCancelled', request: 1, task: task(1, 4) });
    expect(only(cancelled, 'saveOutcome')).toHaveLength(1);
    const first = [...mesh.state.tasks.values()].find((one) => one.node === nodeId('a'));
    expect(grants(done(mesh, 'a', first?.index ?? -1))).toEqual(['a 1:3+1#1']);
  });
});

describe('what a node holds', () => {
  it('is asked for again as a whole when a change was missed', () => {
    const mesh = createMeshOf('a');
    holds(mesh, 'a', { add: [1] });
    expect(holds(mesh, 'a', { sequence: 3, add: [2] })).toEqual([
      { kind: 'sendHoldingsAsked', node: nodeId('a'), session: mesh.session('a') },
    ]);
    expect([...mesh.state.holders.keys()]).toEqual([asset(1)]);
    holds(mesh, 'a', { add: [2, 3] });
    holds(mesh, 'a', { sequence: 2, add: [4], drop: [2] });
    expect([...mesh.state.holders.keys()]).toEqual([asset(3), asset(4)]);
  });

  it('is bounded', () => {
    const mesh = createMesh({ settings: { nodeHoldingsMax: 2 } });
    mesh.group();
    mesh.join('a');
    holds(mesh, 'a', { add: [1, 2, 3] });
    expect(mesh.state.holders.size).toBe(2);
  });
});

describe('a restart', () => {
  it('leaves what was granted out of turn with its node, and grants the rest once', () => {
    const past = createMesh({
      past: {
        groups: [],
        batches: [],
        nextBatch: 1,
        outcomeNumbers: [],
        nextSession: 1,
      },
    });
    past.group();
    const [spec] = [...past.state.groups.values()].map((group) => group.spec);
    if (spec === undefined) throw new Error('no group');
    const mesh = createMesh({
      past: {
        groups: [
          {
            spec,
            createdAtMs: 1,
            state: 'running',
            counts: { queued: 4, succeeded: 1, failed: 0 },
            runtimeMs: null,
          },
        ],
        batches: [
          {
            batch: attempt(1, 0).batch,
            group: spec.group,
            count: 5,
            submittedAtMs: 1,
            next: 1,
            assets: reads(1, 2, 3, 4, 5),
            doneCount: 1,
            doneAhead: [3],
            open: [0, 2].map((index) => ({
              index,
              attempt: 1,
              node: nodeId('a'),
              grantedAtMs: 1,
              ended: false,
              adoptable: false,
              cancelAsked: false,
              charges: 0,
              losses: 0,
              killedOn: [],
            })),
          },
        ],
        nextBatch: 2,
        outcomeNumbers: [],
        nextSession: 1,
      },
    });
    expect(grants(mesh.join('b', { slots: 4 })).sort()).toEqual(['b 1:1+1#1', 'b 1:4+1#1']);
  });
});
