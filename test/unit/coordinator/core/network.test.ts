import { describe, expect, it } from 'vitest';
import { explainTask } from '../../../../coordinator/core/explain.ts';
import { createMesh, grants, task } from './mesh.ts';

describe('a group that asks for network', () => {
  it('runs only on nodes that give it', () => {
    const mesh = createMesh();
    mesh.group({ network: true });
    mesh.submit(1);
    expect(grants(mesh.join('closed', { hello: { network: false } }))).toEqual([]);
    expect(grants(mesh.join('old'))).toEqual([]);
    expect(grants(mesh.join('open', { hello: { network: true } }))).toEqual(['open 1:0+1#1']);
  });

  it('waits with the reason when no node gives it', () => {
    const mesh = createMesh();
    mesh.group({ network: true });
    mesh.submit(1);
    mesh.join('closed');
    expect(explainTask(mesh.state, task(1, 0), mesh.now)).toMatchObject({
      reason: 'noFit',
      sentence: 'None of the 1 nodes can run it: 1 that give tasks no network (--allow-network).',
      inputs: { unfit: { network: 1 } },
    });
  });
});

describe('a group that does not ask for network', () => {
  it('runs on nodes that give it and on those that do not', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.submit(4);
    expect(grants(mesh.join('closed'))).toHaveLength(1);
    expect(grants(mesh.join('open', { hello: { network: true } }))).toHaveLength(1);
  });
});
