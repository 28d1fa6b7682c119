import { describe, expect, it } from 'vitest';
import { answerOf, attempt, createMesh, groupId, outcome } from './mesh.ts';

describe('the removal of a group', () => {
  it('is refused until its last task is done, and then forgets it', () => {
    const mesh = createMesh();
    const group = groupId('g1');
    const remove = (request: number) =>
      answerOf(mesh.take({ kind: 'groupRemoved', request, group }));
    mesh.group();
    mesh.join('a');
    mesh.submit(1);
    expect(remove(101)).toMatchObject({ kind: 'refused', code: 'conflict' });
    mesh.take({ kind: 'groupTerminated', request: 102, group, drain: true });
    expect(remove(103)).toMatchObject({ kind: 'refused', code: 'conflict' });
    mesh.report('a', [{ ...attempt(1, 0), ...outcome() }]);
    expect(remove(104)).toEqual({ kind: 'done' });
    expect(mesh.state.groups.has(group)).toBe(false);
    expect(mesh.state.ended.size).toBe(0);
    // What memory does not have any more is the store's alone.
    expect(remove(105)).toEqual({ kind: 'done' });
  });

  it('passes over a group that is not over when nobody asked', () => {
    const mesh = createMesh();
    mesh.group();
    expect(mesh.take({ kind: 'groupRemoved', request: null, group: groupId('g1') })).toEqual([]);
    expect(mesh.state.groups.size).toBe(1);
  });
});
