import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCredentials } from '../../../../node-agent/imagery/origins/credentials.ts';
import { ownerOf } from '../../../../node-agent/imagery/peers/decisions.ts';
import { namespace, never } from './caches.ts';
import { createPeerMesh, readTogether } from './peer-mesh.ts';
import type { RangeServer } from './range-server.ts';
import { makeBytes, startRangeServer } from './range-server.ts';

const mib = 1024 ** 2;
const options = { namespace, signal: never };
let server: RangeServer;
beforeEach(async () => {
  server = await startRangeServer();
});
afterEach(() => server[Symbol.asyncDispose]());

describe('nodes that read a scene together', () => {
  it('take it from the origin once, for all eight of them', async () => {
    await readTogether({ nodes: 8, sceneBytes: 32 * mib });
  });

  it('catch one that changes bytes, drop it, and are right all the same', async () => {
    const scene = makeBytes(32 * mib);
    server.files.set('/scene.tif', scene);
    await using mesh = await createPeerMesh([server.host]);
    const liar = await mesh.add({
      twist: (holder) => ({
        ...holder,
        findSum: () => undefined,
        listHeld: (key) =>
          holder.listHeld(key).map(({ index }) => ({ index, sum: 'f'.repeat(64) })),
        async read(key, index) {
          const bytes = await holder.read(key, index);
          return bytes === undefined ? undefined : Buffer.from(bytes).fill(7, 1_000);
        },
      }),
    });
    const request = { uri: server.url('/scene.tif'), namespace };
    await liar.cache.prefetch(request, null, never);
    const honest = await mesh.add();
    const version = await honest.cache.stat(request, never);
    const bytes = await honest.cache.read(version, { offset: 0, length: 32 * mib }, options);
    expect(Buffer.compare(bytes, scene)).toBe(0);
    expect(honest.cache.stats().peersDropped).toBe(1);
    expect(honest.warnings.join()).toContain(liar.host.peerId);
  });

  it('catch one that lies without a contradiction by asking the origin for a part', async () => {
    const scene = makeBytes(32 * mib);
    server.files.set('/scene.tif', scene);
    await using mesh = await createPeerMesh([server.host]);
    const liar = await mesh.add({
      twist: (holder) => ({
        ...holder,
        findSum: () => undefined,
        listHeld: () => [],
        listComing: () => [0, 1, 2, 3, 4, 5, 6, 7],
        async read(key, index) {
          const bytes = await holder.read(key, index);
          return bytes === undefined ? undefined : Buffer.alloc(bytes.length, 7);
        },
      }),
    });
    const request = { uri: server.url('/scene.tif'), namespace };
    await liar.cache.prefetch(request, null, never);
    const honest = await mesh.add({ checkOneIn: 1 });
    const version = await honest.cache.stat(request, never);
    const bytes = await honest.cache.read(version, { offset: 0, length: 32 * mib }, options);
    expect(Buffer.compare(bytes, scene)).toBe(0);
    expect(honest.cache.stats()).toMatchObject({ peersDropped: 1, peerBytes: 0 });
  });

  it('ask the origin as well when a peer is slow, and take what comes first', async () => {
    server.files.set('/scene.tif', makeBytes(8 * mib));
    await using mesh = await createPeerMesh([server.host]);
    const slow = await mesh.add({
      twist: (holder) => ({
        ...holder,
        async read(key, index) {
          await pause(300_000, undefined, { ref: false });
          return holder.read(key, index);
        },
      }),
    });
    const request = { uri: server.url('/scene.tif'), namespace };
    await slow.cache.prefetch(request, null, never);
    const node = await mesh.add();
    const version = await node.cache.stat(request, never);
    const began = performance.now();
    const bytes = await node.cache.read(version, { offset: 0, length: 100 }, options);
    expect(performance.now() - began).toBeLessThan(50_000);
    expect(Buffer.compare(bytes, makeBytes(100))).toBe(0);
    expect(node.cache.stats()).toMatchObject({ originBytes: 100, peersDropped: 0 });
  });

  it('read alone what has no version of its own: others may have other bytes of it', async () => {
    server.etags.set('/scene.tif', '');
    await using mesh = await createPeerMesh([server.host]);
    const request = { uri: server.url('/scene.tif'), namespace };
    for (const seed of [1, 2]) {
      server.files.set('/scene.tif', makeBytes(8 * mib, seed));
      const node = await mesh.add({ checkOneIn: 1 });
      const version = await node.cache.stat(request, never);
      const bytes = await node.cache.read(version, { offset: 0, length: 8 * mib }, options);
      expect(Buffer.compare(bytes, makeBytes(8 * mib, seed))).toBe(0);
      expect(node.cache.stats()).toMatchObject({ peerBytes: 0, peersDropped: 0 });
    }
    expect([...mesh.readers, ...mesh.told]).toEqual([]);
  });

  it('ask the origin in time though all who have a block refuse as busy', async () => {
    server.files.set('/scene.tif', makeBytes(300_000));
    await using mesh = await createPeerMesh([server.host]);
    let asks = 0;
    const request = { uri: server.url('/scene.tif'), namespace };
    for (let count = 0; count < 3; count += 1) {
      const busy = await mesh.add({
        uploadsMax: 0,
        twist: (holder) => ({
          ...holder,
          scopeOf(key) {
            asks += 1;
            return holder.scopeOf(key);
          },
        }),
      });
      await busy.cache.prefetch(request, null, never);
    }
    const node = await mesh.add();
    asks = 0;
    await node.cache.prefetch(request, null, never);
    expect(node.cache.stats()).toMatchObject({ originBytes: 300_000, peersDropped: 0 });
    // A second's worth at pauses of 50 ms and more; each of the three would refuse 40 times.
    expect(asks).toBeLessThan(40);
  });

  it('give what was read with credentials only to a node that has the same', async () => {
    server.files.set('/scene.tif', makeBytes(8 * mib));
    const entries = (token: string) =>
      parseCredentials({
        namespaces: {
          [namespace]: [{ match: server.url('/'), http: { headers: { authorization: token } } }],
        },
      });
    await using mesh = await createPeerMesh([server.host]);
    const first = await mesh.add({ credentials: entries('right') });
    const request = { uri: server.url('/scene.tif'), namespace };
    await first.cache.prefetch(request, null, never);
    const sent = server.bytesSent;
    const friend = await mesh.add({ credentials: entries('right'), checkOneIn: 1e9 });
    await friend.cache.prefetch(request, null, never);
    expect(server.bytesSent).toBe(sent);
    const stranger = await mesh.add({ credentials: entries('wrong'), checkOneIn: 1e9 });
    await stranger.cache.prefetch(request, null, never);
    expect(server.bytesSent).toBe(sent + 8 * mib);
  });

  it('come through a peer that refuses as busy and one that went away', async () => {
    const scene = makeBytes(24 * mib);
    server.files.set('/scene.tif', scene);
    await using mesh = await createPeerMesh([server.host]);
    const busy = await mesh.add({ uploadsMax: 0 });
    const gone = await mesh.add();
    const request = { uri: server.url('/scene.tif'), namespace };
    await busy.cache.prefetch(request, null, never);
    await gone.cache.prefetch(request, null, never);
    await gone.host.stop();
    const node = await mesh.add();
    const version = await node.cache.stat(request, never);
    const bytes = await node.cache.read(version, { offset: 0, length: 24 * mib }, options);
    expect(Buffer.compare(bytes, scene)).toBe(0);
  });
});

describe('the owner of a block', () => {
  it('is the same in any order of members, and spread evenly over them', () => {
    const members = Array.from({ length: 8 }, (_, at) => `node${at}`);
    const counts = new Map<string, number>();
    for (let index = 0; index < 4_000; index += 1) {
      const owner = ownerOf(members, 'key', index) ?? '';
      expect(ownerOf(members.toReversed(), 'key', index)).toBe(owner);
      counts.set(owner, (counts.get(owner) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(Math.abs(count - 500)).toBeLessThan(120);
  });
});
