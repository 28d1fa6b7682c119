import { describe, expect, it } from 'vitest';
import { answerOf, createMesh, grants, nothing } from './mesh.ts';

describe('a batch', () => {
  it('is saved, answered and waits while there is no node', () => {
    const mesh = createMesh();
    mesh.group();
    expect(mesh.submit(3)).toEqual([
      {
        kind: 'saveBatch',
        assets: null,
        batch: 1,
        namespace: 'default',
        group: 'g1',
        clientBatch: 'uuid',
        blockHash: 'hash',
        count: 3,
        block: nothing,
        atMs: 1_000_000,
        submittedAfter: 0,
      },
      {
        kind: 'respond',
        request: 2,
        answer: { kind: 'batchTaken', batch: 1, count: 3, submittedAfter: 0 },
      },
    ]);
    expect(mesh.state.tasks.size).toBe(0);
  });

  it('is granted in the step that takes it when a node has room', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    expect(mesh.submit(3).slice(2)).toEqual([
      { kind: 'saveGrant', batch: 1, lo: 0, count: 2, attempt: 1, node: 'a', atMs: 1_000_000 },
      {
        kind: 'sendGrant',
        node: 'a',
        session: 1,
        group: 'g1',
        batch: 1,
        lo: 0,
        count: 2,
        attempt: 1,
      },
    ]);
  });

  it('carries the latest outcome number of its namespace', () => {
    const mesh = createMesh({
      past: {
        groups: [],
        batches: [],
        nextBatch: 17,
        outcomeNumbers: [['default' as never, 41]],
        nextSession: 1,
      },
    });
    mesh.group();
    expect(answerOf(mesh.submit(1))).toEqual({
      kind: 'batchTaken',
      batch: 17,
      count: 1,
      submittedAfter: 41,
    });
  });

  it('is refused for a group that is not there', () => {
    const mesh = createMesh();
    expect(answerOf(mesh.submit(1, 'nope'))).toEqual({
      kind: 'refused',
      code: 'not_found',
      message: 'There is no group nope.',
    });
  });

  it('is refused by a group that was terminated', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.take({ kind: 'groupTerminated', request: 9, group: 'g1' as never, drain: true });
    expect(mesh.submit(1)).toEqual([
      {
        kind: 'respond',
        request: 2,
        answer: {
          kind: 'refused',
          code: 'group_terminated',
          message: 'Group hello takes no more tasks: it was terminated.',
        },
      },
    ]);
  });

  it.each([0, 5_001, 1.5])('of %d tasks is refused', (count) => {
    const mesh = createMesh();
    mesh.group();
    expect(answerOf(mesh.submit(count))).toEqual({
      kind: 'refused',
      code: 'invalid_request',
      message: `A batch has 1 to 5000 tasks, not ${count}.`,
    });
  });

  it('is refused at the bound on open batches, and taken once one is done', () => {
    const mesh = createMesh({ settings: { openBatchesMax: 2 } });
    mesh.group();
    mesh.submit(1);
    mesh.submit(1);
    expect(answerOf(mesh.submit(1))).toEqual({
      kind: 'refused',
      code: 'queue_full',
      message: 'The mesh holds 2 unfinished batches, as many as it may.',
    });
    mesh.take({ kind: 'taskCancelled', request: 9, task: { batch: 1 as never, index: 0 } });
    expect(answerOf(mesh.submit(1))).toMatchObject({ kind: 'batchTaken', batch: 3 });
  });

  it('of a million tasks costs no record per task before they are granted', () => {
    const mesh = createMesh();
    mesh.group();
    for (let batch = 0; batch < 200; batch += 1) mesh.submit(5_000);
    expect(mesh.state.tasks.size).toBe(0);
    expect(mesh.state.batches.size).toBe(200);
    expect(grants(mesh.join('a'))).toEqual(['a 1:0+2#1']);
  });
});
