import { describe, expect, it } from 'vitest';
import type { ImageDigest, NamespaceName } from '../../../../protocol/wire/ids.ts';
import type { TestMesh } from './mesh.ts';
import { createMesh, grants, hello, image } from './mesh.ts';

const other = `sha256:${'b'.repeat(64)}` as ImageDigest;
const [own] = hello().images;

function known(mesh: TestMesh, changes: { arch?: string; base?: ImageDigest } = {}) {
  const found = { digest: image, sizeBytes: 500_000_000, arch: 'x64', base: null, ...changes };
  return mesh.take({ kind: 'imagesKnown', images: [found] });
}

/** A node that has another image only. */
function joinWithout(mesh: TestMesh, id: string) {
  const images = own === undefined ? [] : [{ ...own, digest: other }];
  return mesh.join(id, { hello: { images }, slots: 1, heldMax: 1 });
}

describe('a node without the image', () => {
  it('gets nothing while the image cannot be had, and the task once it can', () => {
    const mesh = createMesh();
    mesh.group();
    joinWithout(mesh, 'a');
    expect(grants(mesh.submit(1))).toEqual([]);
    expect(grants(known(mesh))).toEqual(['a 1:0+1#1']);
  });

  it('gets nothing of an image for another machine, or over a base that cannot be had', () => {
    const mesh = createMesh();
    mesh.group();
    joinWithout(mesh, 'a');
    mesh.submit(1);
    expect(grants(known(mesh, { arch: 'arm64' }))).toEqual([]);
    expect(grants(known(mesh, { base: `sha256:${'c'.repeat(64)}` as ImageDigest }))).toEqual([]);
    expect(grants(known(mesh, { base: other }))).toEqual(['a 1:0+1#1']);
  });

  it('comes after nodes that have it, for a bounded while', () => {
    const mesh = createMesh();
    mesh.group();
    known(mesh);
    joinWithout(mesh, 'a');
    mesh.join('b', { slots: 1, heldMax: 1 });
    expect(grants(mesh.submit(2))).toEqual(['b 1:0+1#1']);
    expect(grants(mesh.pass(999))).toEqual([]);
    expect(grants(mesh.pass(1))).toEqual(['a 1:1+1#1']);
  });

  it('gets the task of an image that only another node can give, while it can', () => {
    const mesh = createMesh();
    mesh.group();
    const peerAddresses = ['/ip4/192.0.2.1/tcp/7'];
    // It works for one namespace: what it says of an image is not believed by others.
    mesh.join('c', { hello: { peerAddresses }, namespaces: ['team' as NamespaceName] });
    joinWithout(mesh, 'a');
    expect(grants(mesh.submit(1))).toEqual([]);
    // Too small to run it itself.
    const capacity = { slots: 1, cpus: 1, memoryBytes: 1, diskBytes: 1 };
    mesh.join('b', { hello: { peerAddresses, capacity } });
    expect(grants(mesh.pass(1_000))).toEqual(['a 1:0+1#1']);
  });

  it('does not wait for nodes that are gone', () => {
    const mesh = createMesh();
    mesh.group();
    known(mesh);
    joinWithout(mesh, 'a');
    const node = [...mesh.state.nodes.keys()];
    expect(node).toHaveLength(1);
    expect(grants(mesh.submit(1))).toEqual(['a 1:0+1#1']);
  });
});
