/** Two nodes' images over real libp2p: what one lacks comes from the other. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findImages } from '../../../../node-agent/images/find-images.ts';
import type { MeshImages } from '../../../../node-agent/images/mesh-images.ts';
import { createMeshImages } from '../../../../node-agent/images/mesh-images.ts';
import type { Peers } from '../../../../node-agent/mesh/peers.ts';
import { createPeers } from '../../../../node-agent/mesh/peers.ts';
import { createArchiveStore } from '../../../../protocol/images/archive-store.ts';
import { imageProtocol, serveImage } from '../../../../protocol/images/image-transfer.ts';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import type { ImageDigest, NamespaceName, NodeId } from '../../../../protocol/wire/ids.ts';
import type { LocatedNode } from '../../../../protocol/wire/messages.ts';
import type { NodeImage } from '../../../../protocol/wire/task.ts';

const base = `sha256:${'0a'.repeat(32)}` as ImageDigest;
const layer = `sha256:${'0b'.repeat(32)}` as ImageDigest;
const other = `sha256:${'0c'.repeat(32)}` as ImageDigest;
const shortOf = (digest: ImageDigest): string => digest.slice(7, 39);

let folder = '';
let coordinator: MeshHost;
const hosts: MeshHost[] = [];
const opened: MeshImages[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-mesh-images-'));
  coordinator = await createHost();
  for (const home of ['origin', 'has']) writeImages(join(folder, home, 'images'));
  const archives = createArchiveStore({
    folder: join(folder, 'origin', 'images'),
    bytesMax: 1_000_000,
  });
  await coordinator.handle(
    imageProtocol,
    (stream) =>
      serveImage(stream, {
        describe: archives.describe,
        archive: archives.archive,
        read(digest) {
          throw new Error(`The coordinator is asked for the bytes of ${digest}.`);
        },
      }),
    { streamsMax: 4 },
  );
});
afterEach(async () => {
  for (const images of opened.splice(0)) await images.close();
  for (const host of hosts.splice(0)) await host.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function createHost(): Promise<MeshHost> {
  const key = await generateMeshKey();
  const host = await createMeshHost({ key, listen: ['/ip4/127.0.0.1/tcp/0'], connectionsMax: 8 });
  hosts.push(host);
  return host;
}

function writeImages(images: string): void {
  const python = { implementation: 'CPython', version: '3.11.2', path: '/usr/bin/python3' };
  const common = { python, arch: process.arch, sizeBytes: 1 };
  mkdirSync(join(images, shortOf(base), 'rootfs'), { recursive: true });
  mkdirSync(join(images, shortOf(other), 'rootfs'), { recursive: true });
  mkdirSync(join(images, shortOf(layer), 'site'), { recursive: true });
  writeFileSync(join(images, shortOf(layer), 'site', 'affine.py'), 'scale = 2\n');
  const write = (digest: ImageDigest, fields: object): void =>
    writeFileSync(
      join(images, shortOf(digest), 'image.json'),
      JSON.stringify({ digest, ...common, ...fields }),
    );
  write(base, { name: 'perigee/python:py3.11', names: [] });
  write(other, { name: 'perigee/python:py3.13', names: [] });
  write(layer, { base });
}

/** A node; `members` is what the coordinator answers it. */
async function createNode(
  home: string,
  members: () => LocatedNode[],
  namespaces: NamespaceName[] | null = null,
  imagesBytesMax = 1e9,
) {
  const host = await createHost();
  const lost: ImageDigest[] = [];
  const told: NodeImage[][] = [];
  const peers: Peers = createPeers({
    host,
    now: () => performance.now(),
    send(message) {
      if (message.kind !== 'locate') return;
      const { request } = message;
      setImmediate(() => peers.take({ kind: 'located', request, nodes: members() }));
    },
  });
  const images = createMeshImages(
    {
      host,
      peers,
      onChanged: (all) => told.push(all),
      onLost: (digest) => lost.push(digest),
      isWanted: () => false,
      log: { info: () => undefined, warn: () => undefined },
    },
    {
      home: join(folder, home),
      address: coordinator.addresses()[0] ?? '',
      found: await findImages(join(folder, home), {
        arch: process.arch,
        onSkipped: () => undefined,
      }),
      archivesBytesMax: 1_000_000,
      imagesBytesMax,
      diskFreeBytesMin: 0,
    },
  );
  opened.push(images);
  const located: LocatedNode = {
    node: host.peerId as NodeId,
    addresses: host.addresses(),
    namespaces,
    images: images.list().map(({ digest }) => digest),
    assets: [],
  };
  return { images, told, lost, located };
}

async function createPair(namespaces: NamespaceName[] | null, imagesBytesMax?: number) {
  const nodes: LocatedNode[] = [];
  const has = await createNode('has', () => nodes);
  const lacks = await createNode('lacks', () => nodes, namespaces, imagesBytesMax);
  nodes.push(has.located, lacks.located);
  await has.images.serve();
  return { has, lacks };
}

describe('the images of a node', () => {
  it('come from a node that has them, with what they lie on, and are told', async () => {
    const { has, lacks } = await createPair(null);
    expect(lacks.images.list()).toEqual([]);
    await lacks.images.fetch(layer);
    const site = join(folder, 'lacks', 'images', shortOf(layer), 'site');
    expect(lacks.images.find(layer)).toMatchObject({ sitePath: site, names: [] });
    expect(existsSync(join(site, 'affine.py'))).toBe(true);
    const all = has.images.list();
    expect(lacks.told).toEqual([all.filter(({ digest }) => digest !== other)]);
  });

  it('go for others when they are unused for longest, and that is told', async () => {
    // Two of them fit, the third does not.
    const { has, lacks } = await createPair(null, 8_000);
    const { images, told, lost } = lacks;
    await images.fetch(base);
    const used = images.use(base);
    expect(used).toMatchObject({ digest: base });
    expect(readdirSync(join(folder, 'lacks/images/.uses'))).toHaveLength(1);
    await images.fetch(other);
    expect(images.list().map(({ digest }) => digest)).toEqual([base, other]);
    if (used !== undefined) images.release(used);
    expect(readdirSync(join(folder, 'lacks/images/.uses'))).toEqual([]);
    // The base was used after the other one had come.
    await images.fetch(layer);
    expect(lost).toEqual([other]);
    expect(images.use(other)).toBeUndefined();
    expect(images.list().map(({ digest }) => digest)).toEqual([base, layer]);
    expect(told.at(-1)).toEqual(images.list());
    expect(existsSync(join(folder, 'lacks/images/.archives', `${shortOf(other)}.tar.zst`))).toBe(
      false,
    );
    // What did not come over the mesh is nobody's to remove.
    await has.images.fetch(base);
    expect(has.images.list()).toHaveLength(3);
  });

  it('are used, and do not go meanwhile, where the disk takes no mark of it', async () => {
    const { lacks } = await createPair(null, 8_000);
    const { images } = lacks;
    await images.fetch(base);
    writeFileSync(join(folder, 'lacks/images/.uses'), '');
    const used = images.use(base);
    expect(used).toMatchObject({ digest: base });
    await images.fetch(other);
    await images.fetch(layer);
    expect(images.list().map(({ digest }) => digest)).toEqual([base, layer]);
    if (used !== undefined) images.release(used);
  });

  it('that somebody removed are missed when a sandbox wants them', async () => {
    const { lacks } = await createPair(null);
    await lacks.images.fetch(base);
    rmSync(join(folder, 'lacks/images', shortOf(base)), { recursive: true });
    expect(lacks.images.use(base)).toBeUndefined();
    await lacks.images.fetch(base);
    expect(lacks.images.use(base)).toMatchObject({ digest: base });
  });

  it('are those of set-up alone for a node that works for some namespaces', async () => {
    const { lacks } = await createPair(['team' as NamespaceName]);
    await lacks.images.fetch(base);
    // The coordinator, which is asked then, fails here when its bytes are read.
    await expect(lacks.images.fetch(layer)).rejects.toMatchObject({ code: 'unreachable' });
    expect(lacks.images.list().map(({ digest }) => digest)).toEqual([base]);
  });
});
