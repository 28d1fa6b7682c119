/** Each corruption of a healthy state is found: an invariant that never fails would prove nothing. */
import { describe, expect, it } from 'vitest';
import type { CoreNode, Group, OpenTask } from '../../../../coordinator/core/entities.ts';
import { checkInvariants, findBrokenInvariants } from '../../../../coordinator/core/invariants.ts';
import type { TestMesh } from './mesh.ts';
import { attempt, createMesh, groupId, nodeId, outcome, task } from './mesh.ts';

interface Healthy {
  mesh: TestMesh;
  group: Group;
  node: CoreNode;
  held: OpenTask;
  waiting: OpenTask;
}

/** Two tasks held, one backing off, three fresh, one cancelled ahead. */
function healthy(): Healthy {
  const mesh = createMesh();
  mesh.group({ retryCount: 1, queueTimeoutMs: 60_000 });
  mesh.join('a');
  mesh.submit(7);
  mesh.report('a', [{ ...attempt(1, 0), ...outcome({ status: 'timeout' }) }]);
  mesh.take({ kind: 'taskCancelled', request: 9, task: task(1, 5) });
  const group = mesh.state.groups.get(groupId('g1'));
  const node = mesh.state.nodes.get(nodeId('a'));
  const held = mesh.state.tasks.get(65_537);
  const waiting = mesh.state.tasks.get(65_536);
  if (!group || !node || !held || !waiting) throw new Error('the mesh is not as described');
  return { mesh, group, node, held, waiting };
}

const corruptions: [string, (state: Healthy) => void][] = [
  [
    'running is miscounted',
    ({ group }) => {
      group.running += 1;
    },
  ],
  [
    'fresh is miscounted',
    ({ group }) => {
      group.freshCount -= 1;
    },
  ],
  [
    'a grant time is missing from the sum',
    ({ group }) => {
      group.grantedAtSumMs -= 1;
    },
  ],
  [
    'a held task is not held by its node',
    ({ node, held }) => {
      node.held.delete(held.key);
    },
  ],
  [
    'held is miscounted by group',
    ({ node, group }) => {
      node.heldByGroup.set(group, 9);
    },
  ],
  [
    'a busy node counts as idle',
    ({ node }) => {
      node.idleSinceMs = 1;
    },
  ],
  [
    'a waiting task is forgotten',
    ({ group, waiting }) => {
      group.waiting.delete(waiting.key);
    },
  ],
  [
    'a waiting task is also among the retries',
    ({ group, waiting }) => {
      group.retries.push(waiting);
    },
  ],
  [
    'a task is in the wrong place',
    ({ held }) => {
      held.place = { kind: 'backoff', notBeforeMs: 1 };
    },
  ],
  [
    'a pause has no timer',
    ({ mesh }) => {
      mesh.state.timers.length = 0;
    },
  ],
  [
    'an open task is forgotten',
    ({ mesh, held }) => {
      mesh.state.tasks.delete(held.key);
    },
  ],
  [
    'a task is counted as done twice',
    ({ held }) => {
      held.batch.doneCount += 1;
    },
  ],
  [
    'next moved over a task',
    ({ held }) => {
      held.batch.next += 1;
    },
  ],
  [
    'a done task is behind next',
    ({ held }) => {
      held.batch.takenAhead.add(0);
    },
  ],
  [
    'a batch is forgotten',
    ({ mesh, held }) => {
      mesh.state.batches.delete(held.batch.number);
    },
  ],
  [
    'a group with work is not ready',
    ({ mesh }) => {
      mesh.state.ready.clear();
    },
  ],
  [
    'ready slots are miscounted',
    ({ mesh }) => {
      mesh.state.readySlots = 5;
    },
  ],
  [
    'a queue timeout is not watched',
    ({ group }) => {
      group.queueTimer = false;
    },
  ],
  [
    'a terminated group is not swept',
    ({ group }) => {
      group.state = 'terminated';
    },
  ],
  [
    'a node is there and gone',
    ({ mesh, node }) => {
      mesh.state.departed.set(node.id, node as never);
    },
  ],
  [
    'a reservation is one-sided',
    ({ node, group }) => {
      node.reservedFor = group;
    },
  ],
  [
    'a session is not the latest',
    ({ node }) => {
      node.session = 99 as never;
    },
  ],
];

describe('the invariants', () => {
  it('hold of a healthy state', () => {
    expect(findBrokenInvariants(healthy().mesh.state)).toEqual([]);
  });

  it.each(corruptions)('tell when %s', (_, corrupt) => {
    const state = healthy();
    corrupt(state);
    expect(findBrokenInvariants(state.mesh.state)).not.toEqual([]);
    expect(() => checkInvariants(state.mesh.state)).toThrow();
  });
});
