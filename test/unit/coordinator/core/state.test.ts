import { describe, expect, it } from 'vitest';
import type { RestoredBatch, RestoredState } from '../../../../coordinator/core/events.ts';
import { defaultCoreSettings } from '../../../../coordinator/core/settings.ts';
import { createState } from '../../../../coordinator/core/state.ts';
import { nextWakeMs } from '../../../../coordinator/core/views.ts';
import type { BatchNumber } from '../../../../protocol/wire/ids.ts';
import {
  attempt,
  createMesh,
  ends,
  grants,
  groupId,
  groupSpec,
  hello,
  namespaceName,
  nodeId,
  noPast,
  only,
  outcome,
  outcomes,
} from './mesh.ts';

const running: RestoredBatch['open'][number] = {
  index: 0,
  attempt: 1,
  node: nodeId('a'),
  grantedAtMs: 500,
  ended: false,
  adoptable: false,
  cancelAsked: false,
  charges: 0,
  losses: 0,
  killedOn: [],
};

/** One group with one batch of five: index 3 done ahead, the first two granted. */
function past(
  changes: Partial<RestoredBatch> = {},
  state: 'running' | 'draining' | 'terminated' = 'running',
): RestoredState {
  return {
    groups: [
      {
        spec: groupSpec({ retryCount: 1 }),
        createdAtMs: 1,
        state,
        counts: { queued: 4, succeeded: 7, failed: 1 },
        runtimeMs: null,
      },
    ],
    batches: [
      {
        batch: 4 as BatchNumber,
        group: groupId('g1'),
        count: 5,
        submittedAtMs: 400,
        assets: null,
        next: 2,
        doneCount: 1,
        doneAhead: [3],
        open: [running, { ...running, index: 1, attempt: 2, ended: true, charges: 1 }],
        ...changes,
      },
    ],
    nextBatch: 5,
    outcomeNumbers: [[namespaceName('default'), 8]],
    nextSession: 100,
  };
}

describe('a restarted coordinator', () => {
  it('leaves running attempts alone until their lease ends, counted from the start', () => {
    const mesh = createMesh({ past: past(), now: 1_000_000 });
    expect(mesh.state.nodes.get(nodeId('a'))?.phase).toEqual({ kind: 'lostContact' });
    expect(nextWakeMs(mesh.state)).toBe(1_015_000);
    expect(ends(mesh.pass(14_999))).toEqual([]);
    expect(ends(mesh.pass(1))).toEqual(['4-0#1 lost']);
  });

  it('takes back a node with what it runs, and its outcomes', () => {
    const mesh = createMesh({ past: past() });
    const granted = mesh.join('a', { slots: 1, hello: { held: [attempt(4, 0)] } });
    expect(grants(granted)).toEqual([]);
    mesh.now += 500;
    const effects = mesh.report('a', [{ ...attempt(4, 0), ...outcome({ runtimeMs: 500 }) }]);
    expect(outcomes(effects)).toEqual(['4-0 success #9']);
    expect(grants(effects)).toEqual(['a 4:1+1#3']);
  });

  it('goes on with what was never granted, and skips what is done', () => {
    const mesh = createMesh({ past: past() });
    expect(grants(mesh.join('b', { slots: 8 }))).toEqual(['b 4:1+1#3', 'b 4:2+1#1', 'b 4:4+1#1']);
  });

  it('remembers charges', () => {
    const mesh = createMesh({ past: past() });
    mesh.join('b', { slots: 1 });
    const failed = outcome({ status: 'exception' });
    expect(outcomes(mesh.report('b', [{ ...attempt(4, 1, 3), ...failed }]))).toEqual([
      '4-1 exception #9',
    ]);
  });

  it('still takes back what was declared lost before it restarted', () => {
    const open = [{ ...running, ended: true, adoptable: true, losses: 1 }];
    const mesh = createMesh({ past: past({ open, doneCount: 2 }) });
    mesh.join('a', { slots: 1, hello: { held: [attempt(4, 0)] } });
    const effects = mesh.report('a', [{ ...attempt(4, 0), ...outcome() }]);
    expect(outcomes(effects)).toEqual(['4-0 success #9']);
  });

  it('tells the node again of a cancel that was asked before it restarted', () => {
    const open = [{ ...running, cancelAsked: true }];
    const mesh = createMesh({ past: past({ open, doneCount: 2 }) });
    const effects = mesh.take({
      kind: 'nodeJoined',
      node: nodeId('a'),
      session: 100 as never,
      hello: hello({ held: [attempt(4, 0)] }),
      namespaces: null,
    });
    expect(only(effects, 'sendCancel')).toMatchObject([{ attempts: [attempt(4, 0)] }]);
  });

  it('refuses what was failed and retried before it restarted', () => {
    const mesh = createMesh({ past: past() });
    const session = 100;
    expect(mesh.join('a', { slots: 1, hello: { held: [attempt(4, 1, 2)] } })).toBeDefined();
    expect(mesh.session('a')).toBe(session);
    expect(outcomes(mesh.report('a', [{ ...attempt(4, 1, 2), ...outcome() }]))).toEqual([]);
  });

  it('goes on ending a terminated group, and cancels what its nodes still run', () => {
    const mesh = createMesh({ past: past({}, 'terminated') });
    expect(outcomes(mesh.pass(0))).toEqual([
      '4-1 cancelled #9',
      '4-2 cancelled #10',
      '4-4 cancelled #11',
    ]);
    const effects = mesh.take({
      kind: 'nodeJoined',
      node: nodeId('a'),
      session: 100 as never,
      namespaces: null,
      hello: { ...hello(), held: [attempt(4, 0)] },
    });
    expect(only(effects, 'sendCancel')).toMatchObject([{ attempts: [attempt(4, 0)] }]);
  });

  it('says that a drained group is terminated when nothing of it was left', () => {
    const done = { ...past({}, 'draining'), batches: [] };
    const mesh = createMesh({ past: done });
    expect(mesh.pass(0)).toEqual([
      { kind: 'saveGroupState', group: 'g1', state: 'terminated', atMs: mesh.now },
    ]);
  });

  it('keeps queue timeouts from the time of submission', () => {
    const restored = past({
      open: [],
      next: 0,
      doneCount: 0,
      doneAhead: [],
      submittedAtMs: 995_000,
    });
    const [group] = restored.groups;
    if (group === undefined) throw new Error('there is a group');
    const spec = groupSpec({ queueTimeoutMs: 10_000 });
    const mesh = createMesh({ past: { ...restored, groups: [{ ...group, spec }] } });
    expect(outcomes(mesh.pass(4_999))).toEqual([]);
    expect(outcomes(mesh.pass(1))).toHaveLength(5);
  });

  it('forgets terminated groups without tasks', () => {
    const done = { ...past({}, 'terminated'), batches: [] };
    expect(createMesh({ past: done }).state.groups.size).toBe(0);
  });
});

describe('settings', () => {
  it('must make a node suspect before its lease ends', () => {
    const settings = { ...defaultCoreSettings, suspectMs: 15_000 };
    expect(() => createState({ seed: 1, settings, restored: noPast, now: 0 })).toThrow(
      'a node is suspect before its lease ends',
    );
  });
});
