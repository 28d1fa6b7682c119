/** Random histories of a small mesh: every step keeps the invariants, and in the end every task has one outcome. */
import { describe, expect, it } from 'vitest';
import type { CoordinatorEffect } from '../../../../coordinator/core/effects.ts';
import type { CoordinatorEvent } from '../../../../coordinator/core/events.ts';
import { nextBelow, seedRandom } from '../../../../protocol/base/random.ts';
import type { AttemptRef } from '../../../../protocol/wire/ids.ts';
import { taskKey } from '../../../../protocol/wire/ids.ts';
import type { OutcomeStatus } from '../../../../protocol/wire/task.ts';
import {
  createMesh,
  groupId,
  groupSpec,
  hello,
  nodeId,
  nothing,
  outcome,
  sessionNumber,
  task,
} from './mesh.ts';

const statuses: readonly OutcomeStatus[] = [
  'success',
  'success',
  'success',
  'exception',
  'timeout',
  'crash',
  'crash',
  'oom',
  'version_mismatch',
];

interface FakeNode {
  id: string;
  session: number | null;
  /** What it thinks it holds. */
  held: Map<number, AttemptRef>;
}

function runHistory(seed: number, events: number) {
  const random = seedRandom(seed);
  const pick = <Item>(items: readonly Item[]): Item => {
    const item = items[nextBelow(random, items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  };
  const mesh = createMesh({
    settings: { sweepTasksMax: 3, quarantineNodeTasks: 3, groupRetriesMax: 6, departedNodesMax: 2 },
  });
  const nodes: FakeNode[] = ['a', 'b', 'c'].map((id) => ({ id, session: null, held: new Map() }));
  const outcomesSeen = new Map<number, number>();
  const attempts = new Map<number, number>();
  let submitted = 0;
  let nextSession = 1;
  let request = 1;
  const perform = (effects: readonly CoordinatorEffect[]): void => {
    for (const effect of effects) {
      if (effect.kind === 'saveOutcome') {
        outcomesSeen.set(taskKey(effect), (outcomesSeen.get(taskKey(effect)) ?? 0) + 1);
      }
      if (effect.kind === 'respond' && effect.answer.kind === 'batchTaken') {
        submitted += effect.answer.count;
      }
      if (effect.kind === 'saveGrant') {
        for (let index = effect.lo; index < effect.lo + effect.count; index += 1) {
          const key = taskKey({ batch: effect.batch, index });
          // Fencing: attempt numbers of a task only grow, by one.
          expect(effect.attempt).toBe((attempts.get(key) ?? 0) + 1);
          expect(outcomesSeen.has(key)).toBe(false);
          attempts.set(key, effect.attempt);
        }
      }
      const node = 'node' in effect ? nodes.find(({ id }) => id === effect.node) : undefined;
      if (node === undefined || !('session' in effect) || effect.session !== node.session) continue;
      if (effect.kind === 'endSession') node.session = null;
      if (effect.kind === 'sendWelcome') {
        for (const dropped of effect.drop) node.held.delete(taskKey(dropped));
      }
      if (effect.kind === 'sendGrant' && nextBelow(random, 10) > 0) {
        for (let index = effect.lo; index < effect.lo + effect.count; index += 1) {
          const ref = { batch: effect.batch, index, attempt: effect.attempt };
          node.held.set(taskKey(ref), ref);
        }
      }
    }
  };
  const take = (event: CoordinatorEvent) => perform(mesh.take(event));
  const join = (node: FakeNode) => {
    node.session = nextSession++;
    const from = { node: nodeId(node.id), session: sessionNumber(node.session) };
    const held = [...node.held.values()];
    take({ kind: 'nodeJoined', ...from, hello: hello({ held }), namespaces: null });
    take({ kind: 'nodePulled', ...from, heldMax: 8 });
  };
  const report = (node: FakeNode, status: OutcomeStatus) => {
    if (node.session === null || node.held.size === 0) return;
    const ref = pick([...node.held.values()]);
    const from = { node: nodeId(node.id), session: sessionNumber(node.session) };
    const reported = { ...ref, ...outcome({ status }) };
    take({ kind: 'reportReceived', ...from, report: 1, outcomes: [reported] });
    if (nextBelow(random, 5) > 0) node.held.delete(taskKey(ref));
  };
  for (const [at, id] of ['g1', 'g2', 'g3', 'g4'].entries()) {
    const spec = groupSpec({
      group: groupId(id),
      namespace: groupSpec().namespace,
      retryCount: at,
      priority: at % 2,
      maximumConcurrency: at === 3 ? 1 : null,
      queueTimeoutMs: at === 2 ? 5_000 : null,
    });
    take({ kind: 'groupCreated', request: request++, spec });
  }
  const limits = { taskTimeoutMs: 1_000, retryCount: 2, priority: 0 };
  const actions: ((node: FakeNode) => void)[] = [
    (node) => (node.session === null ? join(node) : report(node, pick(statuses))),
    (node) => report(node, pick(statuses)),
    (node) => report(node, 'success'),
    (node) => {
      if (nextBelow(random, 4) === 0) join(node);
    },
    (node) => {
      if (node.session === null || nextBelow(random, 4) > 0) return;
      const session = sessionNumber(node.session);
      take({ kind: 'nodeDisconnected', node: nodeId(node.id), session });
      node.session = null;
      if (nextBelow(random, 3) === 0) node.held.clear();
    },
    (node) => {
      if (node.session === null) return;
      const from = { node: nodeId(node.id), session: sessionNumber(node.session) };
      take({ kind: 'heartbeatHeard', ...from, load: 0, memoryFreeBytes: 0, diskFreeBytes: 0 });
    },
    (node) => {
      if (node.session === null || node.held.size === 0) return;
      const from = { node: nodeId(node.id), session: sessionNumber(node.session) };
      const attempts = [pick([...node.held.values()])];
      if (nextBelow(random, 2) === 0) take({ kind: 'attemptsStarted', ...from, attempts });
      else {
        take({ kind: 'attemptsReturned', ...from, attempts });
        for (const ref of attempts) node.held.delete(taskKey(ref));
      }
    },
    (node) => {
      if (node.session === null || nextBelow(random, 8) > 0) return;
      const session = sessionNumber(node.session);
      take({ kind: 'nodeLeft', node: nodeId(node.id), session });
      node.session = null;
      node.held.clear();
    },
    (node) => {
      const by = pick(['operator', 'autoscaler'] as const);
      if (nextBelow(random, 4) === 0) {
        take({ kind: 'nodeDrainAsked', request: request++, node: nodeId(node.id), by, reason: '' });
      } else take({ kind: 'nodeUndrainAsked', request: request++, node: nodeId(node.id) });
    },
    () => {
      take({
        kind: 'batchSubmitted',
        request: request++,
        group: groupId(pick(['g1', 'g2', 'g3', 'g4'])),
        clientBatch: 'uuid',
        blockHash: 'hash',
        count: 1 + nextBelow(random, 9),
        block: nothing,
        assets: null,
      });
    },
    () => {
      const ref = task(1 + nextBelow(random, mesh.state.nextBatch), nextBelow(random, 9));
      take({ kind: 'taskCancelled', request: request++, task: ref });
    },
    () => {
      if (nextBelow(random, 30) > 0) return;
      const group = groupId(pick(['g1', 'g2', 'g3', 'g4']));
      const drain = nextBelow(random, 2) === 0;
      take({ kind: 'groupTerminated', request: request++, group, drain });
    },
    () => {
      const group = groupId(pick(['g1', 'g2', 'g3', 'g4']));
      const maximumConcurrency = pick([null, 1, 2]);
      take({
        kind: 'groupUpdated',
        request: request++,
        group,
        limits: { ...limits, maximumConcurrency },
      });
    },
    () => {
      mesh.now += nextBelow(random, 3_000);
      take({ kind: 'clockTicked' });
    },
  ];
  for (let event = 0; event < events; event += 1) pick(actions)(pick(nodes));
  finish(mesh, { nodes, join, report, take, nextRequest: () => request++ });
  return { mesh, submitted, outcomesSeen };
}

/** Nodes work honestly until nothing is left, within a bound. */
function finish(
  mesh: ReturnType<typeof createMesh>,
  work: {
    nodes: readonly FakeNode[];
    join: (node: FakeNode) => void;
    report: (node: FakeNode, status: OutcomeStatus) => void;
    take: (event: CoordinatorEvent) => void;
    nextRequest: () => number;
  },
): void {
  for (let round = 0; round < 2_000 && mesh.state.batches.size > 0; round += 1) {
    for (const node of work.nodes) {
      work.take({ kind: 'nodeUndrainAsked', request: work.nextRequest(), node: nodeId(node.id) });
      if (node.session === null || round % 50 === 0) work.join(node);
      for (let left = node.held.size; left > 0; left -= 1) work.report(node, 'success');
    }
    mesh.now += 500;
    work.take({ kind: 'clockTicked' });
  }
}

describe('a random history', () => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))(
    'of seed %i ends every task exactly once',
    (seed) => {
      const { mesh, submitted, outcomesSeen } = runHistory(seed, 400);
      expect(mesh.state.batches.size).toBe(0);
      expect(mesh.state.tasks.size).toBe(0);
      expect(outcomesSeen.size).toBe(submitted);
      expect([...outcomesSeen.values()].every((count) => count === 1)).toBe(true);
      expect(submitted).toBeGreaterThan(0);
    },
  );

  it('is the same for the same seed', () => {
    const one = runHistory(7, 200);
    const other = runHistory(7, 200);
    expect([...one.outcomesSeen]).toEqual([...other.outcomesSeen]);
    expect(one.mesh.now).toBe(other.mesh.now);
  });
});
