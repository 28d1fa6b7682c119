import { describe, expect, it } from 'vitest';
import { nextWakeMs } from '../../../../coordinator/core/views.ts';
import type { InstanceId } from '../../../../protocol/wire/ids.ts';
import {
  attempt,
  createMesh,
  ends,
  grants,
  groupId,
  groupSpec,
  nodeId,
  noPast,
  only,
  outcome,
  outcomes,
  task,
} from './mesh.ts';

describe('a lease', () => {
  it('runs out after leaseMs of silence, and not a millisecond before', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    expect(mesh.pass(14_999)).toEqual([]);
    expect(mesh.pass(1)).toEqual([
      {
        kind: 'endSession',
        node: 'a',
        session: 1,
        code: 'unreachable',
        message:
          'The coordinator gave this node up: nothing was heard of it for 15 s. Connect again.',
      },
      {
        kind: 'saveAttemptEnd',
        ...attempt(1, 0),
        node: 'a',
        end: 'lost',
        charged: false,
        message: 'nothing was heard of it for 15 s',
        atMs: 1_015_000,
      },
    ]);
    expect(mesh.state.departed.get(nodeId('a'))?.phase).toBe('lost');
  });

  it('is renewed by a heartbeat and by every other word of the node', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    const from = { node: nodeId('a'), session: mesh.session('a') };
    mesh.now += 10_000;
    mesh.heartbeat('a');
    expect(ends(mesh.pass(10_000))).toEqual([]);
    mesh.take({ kind: 'attemptsStarted', ...from, attempts: [attempt(1, 0)] });
    expect(ends(mesh.pass(14_999))).toEqual([]);
    expect(ends(mesh.pass(1))).toEqual(['1-0#1 lost']);
  });

  it('goes on while the connection is closed', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    mesh.take({ kind: 'nodeDisconnected', node: nodeId('a'), session: mesh.session('a') });
    expect(mesh.pass(14_999)).toEqual([]);
    expect(ends(mesh.pass(1))).toEqual(['1-0#1 lost']);
  });

  it('is prolonged once when the coordinator itself was asleep', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    expect(mesh.pass(60_000)).toEqual([]);
    expect(ends(mesh.pass(3_000))).toEqual(['1-0#1 lost']);
  });

  it('ends with the machine, at once', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { hello: { instance: 'i-1' as InstanceId } });
    mesh.submit(1);
    mesh.join('b');
    const effects = mesh.take({
      kind: 'instanceEnded',
      instance: 'i-1' as InstanceId,
      node: null,
    });
    expect(ends(effects)).toEqual(['1-0#1 lost']);
    expect(grants(effects)).toEqual(['b 1:0+1#2']);
  });

  it('ends with the machine, also of a node that has not been heard since a restart', () => {
    const held = { ...{ index: 0, attempt: 1, grantedAtMs: 1, ended: false, adoptable: false } };
    const open = { ...held, cancelAsked: false, charges: 0, losses: 0, killedOn: [] };
    const batch = { ...{ group: groupId('g1'), count: 2, submittedAtMs: 1, next: 2 } };
    const mesh = createMesh({
      past: {
        ...noPast,
        groups: [
          {
            spec: groupSpec(),
            createdAtMs: 1,
            state: 'running',
            counts: { queued: 2, succeeded: 0, failed: 0 },
            runtimeMs: null,
          },
        ],
        batches: [
          {
            ...batch,
            batch: task(1, 0).batch,
            assets: null,
            doneCount: 0,
            doneAhead: [],
            open: [
              { ...open, node: nodeId('a') },
              { ...open, index: 1, node: nodeId('other') },
            ],
          },
        ],
        nextBatch: 2,
      },
    });
    const ended = (node: string) =>
      mesh.take({ kind: 'instanceEnded', instance: 'i-1' as InstanceId, node: nodeId(node) });
    expect(ended('stranger')).toEqual([]);
    expect(ends(ended('a'))).toEqual(['1-0#1 lost']);
    expect(grants(mesh.join('b'))).toEqual(['b 1:0+1#2']);
    // What has come back on another machine is not taken by the end of its old one.
    mesh.join('other', { hello: { instance: 'i-2' as InstanceId, held: [attempt(1, 1)] } });
    expect(ends(ended('other'))).toEqual([]);
  });

  it('tells the driver when it needs the clock', () => {
    const mesh = createMesh();
    expect(nextWakeMs(mesh.state)).toBeNull();
    mesh.join('a');
    const wake = nextWakeMs(mesh.state);
    expect(wake).toBeLessThanOrEqual(mesh.now + 15_000);
    expect(wake).toBeGreaterThan(mesh.now);
  });
});

describe('a lost attempt', () => {
  it('is granted again at once, with the next number, as runs', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { slots: 4 });
    mesh.submit(4);
    mesh.now += 14_000;
    mesh.join('b', { slots: 3 });
    expect(grants(mesh.pass(1_000))).toEqual(['b 1:0+3#2']);
  });

  it('is not charged, but ends the task as lost after five losses', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(1);
    for (let loss = 1; loss <= 5; loss += 1) {
      expect(grants(mesh.join(`n${loss}`))).toEqual([`n${loss} 1:0+1#${loss}`]);
      const from = { node: nodeId(`n${loss}`), session: mesh.session(`n${loss}`) };
      expect(ends(mesh.take({ kind: 'nodeLeft', ...from }))).toEqual([`1-0#${loss} lost`]);
    }
    mesh.join('n6');
    const from = { node: nodeId('n6'), session: mesh.session('n6') };
    const effects = mesh.take({ kind: 'nodeLeft', ...from });
    expect(ends(effects)).toEqual([]);
    expect(only(effects, 'saveOutcome')).toMatchObject([
      {
        ...attempt(1, 0, 6),
        node: 'n6',
        outcome: {
          status: 'lost',
          failure: { message: 'It lost its node 6 times; the last time: it left' },
        },
      },
    ]);
  });

  it('may still be reported until another has it', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { hello: { instance: 'i-1' as InstanceId } });
    mesh.submit(1);
    mesh.pass(15_000);
    mesh.join('a', { hello: { held: [attempt(1, 0)] } });
    expect(outcomes(mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]))).toEqual([
      '1-0 success #1',
    ]);
  });
});
