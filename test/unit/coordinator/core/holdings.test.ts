import { describe, expect, it } from 'vitest';
import { listInstanceNodes } from '../../../../coordinator/autoscaler/fleet-inputs.ts';
import { locateNodes } from '../../../../coordinator/core/holdings.ts';
import { describeNodes } from '../../../../coordinator/core/views.ts';
import type { AssetId, ImageDigest, InstanceId } from '../../../../protocol/wire/ids.ts';
import type { TestMesh } from './mesh.ts';
import { createMesh, grants, hello, image, nodeId } from './mesh.ts';

const [one, two, three] = ['1', '2', '3'].map((digit) => digit.repeat(16) as AssetId) as [
  AssetId,
  AssetId,
  AssetId,
];
const addresses = ['/ip4/127.0.0.1/tcp/9'];

const tellHoldings = (
  mesh: TestMesh,
  name: string,
  told: { sequence: number; epoch?: number; full?: boolean; add?: AssetId[]; drop?: AssetId[] },
) =>
  mesh.take({
    kind: 'holdingsTold',
    node: nodeId(name),
    session: mesh.session(name),
    epoch: told.epoch ?? 1,
    sequence: told.sequence,
    full: told.full ?? false,
    add: (told.add ?? []).map((asset) => ({ asset, bytes: 10 })),
    drop: told.drop ?? [],
  });
const heldBy = (mesh: TestMesh, name: string) => [
  ...(mesh.state.nodes.get(nodeId(name))?.holdings.keys() ?? []),
];

describe('holdings', () => {
  it('follow numbered changes from a full list on', () => {
    const mesh = createMesh();
    mesh.join('a');
    expect(tellHoldings(mesh, 'a', { sequence: 4, full: true, add: [one, two] })).toEqual([]);
    tellHoldings(mesh, 'a', { sequence: 5, add: [three], drop: [one] });
    expect(heldBy(mesh, 'a')).toEqual([two, three]);
    expect(describeNodes(mesh.state)[0]?.holdings).toEqual({ assets: 2, bytes: 20 });
  });

  it('are asked for anew, once, where a change is missing or the agent began anew', () => {
    for (const gap of [{ sequence: 6 }, { sequence: 5, epoch: 2 }]) {
      const mesh = createMesh();
      mesh.join('a');
      tellHoldings(mesh, 'a', { sequence: 4, full: true, add: [one] });
      expect(tellHoldings(mesh, 'a', { ...gap, add: [two] })).toEqual([
        { kind: 'sendHoldingsAsked', node: 'a', session: 1 },
      ]);
      expect(tellHoldings(mesh, 'a', { sequence: 7, add: [three] })).toEqual([]);
      expect(heldBy(mesh, 'a')).toEqual([one]);
      tellHoldings(mesh, 'a', { sequence: 8, full: true, add: [three] });
      expect(heldBy(mesh, 'a')).toEqual([three]);
    }
  });

  it('are forgotten when the node comes back in a new session', () => {
    const mesh = createMesh();
    mesh.join('a');
    tellHoldings(mesh, 'a', { sequence: 1, full: true, add: [one] });
    mesh.join('a');
    expect(heldBy(mesh, 'a')).toEqual([]);
  });
});

describe('bytes that no other node holds', () => {
  const uniqueBytes = (mesh: TestMesh) =>
    ['a', 'b', 'c'].map((name) => mesh.state.nodes.get(nodeId(name))?.uniqueBytes);

  it('are counted through every change', () => {
    const mesh = createMesh();
    for (const name of ['a', 'b', 'c']) mesh.join(name);
    tellHoldings(mesh, 'a', { sequence: 1, full: true, add: [one, two, three] });
    expect(uniqueBytes(mesh)).toEqual([30, 0, 0]);
    tellHoldings(mesh, 'b', { sequence: 1, full: true, add: [one, two] });
    tellHoldings(mesh, 'c', { sequence: 1, full: true, add: [one] });
    expect(uniqueBytes(mesh)).toEqual([10, 0, 0]);
    // Told twice, it is held once.
    tellHoldings(mesh, 'a', { sequence: 2, add: [one, three] });
    expect(uniqueBytes(mesh)).toEqual([10, 0, 0]);
    tellHoldings(mesh, 'a', { sequence: 3, drop: [one, two] });
    expect(uniqueBytes(mesh)).toEqual([10, 10, 0]);
    tellHoldings(mesh, 'b', { sequence: 2, full: true });
    expect(uniqueBytes(mesh)).toEqual([10, 0, 10]);
  });

  it('are what the fleet sees of a node', () => {
    const mesh = createMesh();
    mesh.join('a', { hello: { instance: 'i-1' as InstanceId } });
    mesh.join('b', { hello: { instance: 'i-2' as InstanceId } });
    tellHoldings(mesh, 'a', { sequence: 1, full: true, add: [one, two] });
    tellHoldings(mesh, 'b', { sequence: 1, full: true, add: [one] });
    expect(
      listInstanceNodes(mesh.state, 0).map(({ node }) => [node.node, node.uniqueCacheBytes]),
    ).toEqual([
      ['a', 10],
      ['b', 0],
    ]);
  });
});

describe('locateNodes', () => {
  it('names connected nodes that have something, and those that are asked for by name', () => {
    const mesh = createMesh();
    for (const name of ['a', 'b', 'c', 'd'])
      mesh.join(name, { hello: { peerAddresses: addresses } });
    tellHoldings(mesh, 'b', { sequence: 1, full: true, add: [one] });
    tellHoldings(mesh, 'c', { sequence: 1, full: true, add: [one] });
    mesh.take({ kind: 'nodeDisconnected', node: nodeId('c'), session: mesh.session('c') });
    const found = locateNodes(mesh.state, nodeId('a'), {
      images: [],
      assets: [one, two],
      peers: [nodeId('d'), nodeId('a'), nodeId('nobody')],
    });
    expect(found).toEqual([
      { node: 'b', addresses, namespaces: null, images: [], assets: [one] },
      { node: 'd', addresses, namespaces: null, images: [], assets: [] },
    ]);
  });

  it('tells a node nothing of those that share no namespace with it', () => {
    const mesh = createMesh();
    mesh.join('a', { namespaces: ['red'] });
    mesh.join('b', { namespaces: ['blue'] });
    mesh.join('c', { namespaces: ['blue', 'red'] });
    const found = locateNodes(mesh.state, nodeId('a'), { images: [image], assets: [], peers: [] });
    expect(found.map(({ node, namespaces }) => [node, namespaces])).toEqual([
      ['c', ['blue', 'red']],
    ]);
  });
});

describe('images that a node says it has now', () => {
  it('let it have the tasks that waited for one', () => {
    const mesh = createMesh();
    mesh.group();
    mesh.join('a', { hello: { images: [] } });
    expect(grants(mesh.submit(1))).toEqual([]);
    const effects = mesh.take({
      kind: 'imagesChanged',
      node: nodeId('a'),
      session: mesh.session('a'),
      images: hello().images,
    });
    expect(grants(effects)).toEqual(['a 1:0+1#1']);
    const other = `sha256:${'b'.repeat(64)}` as ImageDigest;
    const query = { images: [image, other], assets: [], peers: [] };
    mesh.join('b');
    expect(locateNodes(mesh.state, nodeId('b'), query)[0]?.images).toEqual([image]);
  });
});
