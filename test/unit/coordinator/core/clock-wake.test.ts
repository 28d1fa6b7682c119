import { describe, expect, it } from 'vitest';
import { isClockIdle } from '../../../../coordinator/core/clock-wake.ts';
import { attempt, createMesh, nodeId, outcome } from './mesh.ts';

describe('isClockIdle', () => {
  it('is so with nothing at all, and with nodes that are heard and hold nothing', () => {
    const mesh = createMesh();
    expect(isClockIdle(mesh.state, mesh.now + 1_000)).toBe(true);
    mesh.group();
    mesh.join('a');
    expect(isClockIdle(mesh.state, mesh.now + 1_000)).toBe(true);
  });

  it('is not while a task is queued or held, until its outcome is there', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(1);
    expect(isClockIdle(mesh.state, mesh.now + 1_000)).toBe(false);
    mesh.join('a');
    expect(mesh.state.nodes.get(nodeId('a'))?.held.size).toBe(1);
    expect(isClockIdle(mesh.state, mesh.now + 1_000)).toBe(false);
    mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    expect(isClockIdle(mesh.state, mesh.now + 1_000)).toBe(true);
  });

  it('is not when a lease could end by then', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a');
    mesh.pass(0);
    const { leaseCheckMs } = mesh.state;
    expect(isClockIdle(mesh.state, leaseCheckMs - 1)).toBe(true);
    expect(isClockIdle(mesh.state, leaseCheckMs)).toBe(false);
  });
});
