/** Caches that read together over real libp2p hosts, with a stand-in for the coordinator's directory. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { createImageryCache } from '../../../../node-agent/imagery/create-imagery-cache.ts';
import { createOrigins } from '../../../../node-agent/imagery/origins/create-origins.ts';
import type { CredentialEntry } from '../../../../node-agent/imagery/origins/credentials.ts';
import type { PeersSettings } from '../../../../node-agent/imagery/peers/create-block-peers.ts';
import { createBlockPeers } from '../../../../node-agent/imagery/peers/create-block-peers.ts';
import type { BlockHolder } from '../../../../node-agent/imagery/peers/port.ts';
import type { ImageryCache } from '../../../../node-agent/imagery/port.ts';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import { namespace, never } from './caches.ts';
import { makeBytes, startRangeServer } from './range-server.ts';

export interface PeerNode {
  cache: ImageryCache;
  host: MeshHost;
  warnings: string[];
}

export interface NodeOptions extends Partial<PeersSettings> {
  credentials?: CredentialEntry[];
  /** Makes the node lie or lag towards its peers. */
  twist?: (holder: BlockHolder) => BlockHolder;
}

export interface PeerMesh extends AsyncDisposable {
  /** Who says that it reads an asset, as the coordinator would hear it. */
  readers: ReadonlyMap<string, readonly MeshHost[]>;
  /** Assets of which a node told what it holds. */
  told: ReadonlySet<string>;
  add(options?: NodeOptions): Promise<PeerNode>;
}

export async function createPeerMesh(allowed: readonly string[]): Promise<PeerMesh> {
  const base = await mkdtemp(join(tmpdir(), 'perigee-peers-'));
  const readers = new Map<string, MeshHost[]>();
  const nodes: PeerNode[] = [];
  const told = new Set<string>();
  return {
    readers,
    told,
    async add(options = {}) {
      const host = await createMeshHost({
        key: await generateMeshKey(),
        listen: ['/ip4/127.0.0.1/tcp/0'],
        connectionsMax: 100,
      });
      const now = (): number => performance.now();
      const warnings: string[] = [];
      const warn = (message: string): number => warnings.push(message);
      const origins = createOrigins(
        { now, random: Math.random },
        {
          credentials: options.credentials ?? [],
          roots: [],
          allowed,
          stallMsMax: 30_000,
          requestsMax: 16,
          requestsPerSecondMax: 1_000,
        },
      );
      const cache = createImageryCache(
        {
          origins,
          now,
          warn,
          onChanged: ({ meta }) => told.add(meta.uri),
          peers: (holder) =>
            createBlockPeers(
              {
                host,
                directory: {
                  async enter(asset) {
                    const known = readers.get(asset) ?? [];
                    const others = known.filter((one) => one !== host);
                    readers.set(asset, [...others, host]);
                    return others.map((one) => ({ node: one.peerId, addresses: one.addresses() }));
                  },
                  isMember: async (peer) => nodes.some((node) => node.host.peerId === peer),
                },
                peerKeyOf: (scope) => origins.peerKeyOf(scope),
                now,
                random: Math.random,
                warn,
              },
              options.twist === undefined ? holder : options.twist(holder),
              {
                uploadsMax: options.uploadsMax ?? 16,
                checkOneIn: options.checkOneIn ?? 16,
                hedgeMsMin: options.hedgeMsMin ?? 150,
              },
            ),
        },
        {
          folder: join(base, String(nodes.length)),
          bytesMax: 2 * 1024 ** 3,
          diskFreeBytesMin: 0,
          wholeAssetBytesMax: 1024 ** 2,
          freshMs: 60_000,
        },
      );
      const node = { cache, host, warnings };
      nodes.push(node);
      await cache.start();
      return node;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(nodes.map((node) => node.cache.stop()));
      await Promise.all(nodes.map((node) => node.host.stop()));
      await rm(base, { recursive: true, force: true });
    },
  };
}

/** So many nodes read a whole scene at once; the origin's own log must show it hardly more than once. */
export async function readTogether(size: { nodes: number; sceneBytes: number }): Promise<void> {
  await using server = await startRangeServer();
  const scene = makeBytes(size.sceneBytes);
  server.files.set('/scene.tif', scene);
  await using mesh = await createPeerMesh([server.host]);
  // All share one thread here: a slow answer is no sign of a slow peer, and hedging has its own test.
  const patient = { hedgeMsMin: 60_000, uploadsMax: 64 };
  const nodes = await Promise.all(Array.from({ length: size.nodes }, () => mesh.add(patient)));
  const request = { uri: server.url('/scene.tif'), namespace };
  await Promise.all(nodes.map((node) => node.cache.prefetch(request, null, never)));
  expect(server.bytesSent / scene.length).toBeGreaterThanOrEqual(1);
  expect(server.bytesSent / scene.length).toBeLessThanOrEqual(1.05);
  const sent = server.bytesSent;
  for (const { cache } of nodes) {
    const version = await cache.stat(request, never);
    const range = { offset: size.sceneBytes / 4 + 11, length: size.sceneBytes / 8 };
    const bytes = await cache.read(version, range, { namespace, signal: never });
    const expected = scene.subarray(range.offset, range.offset + range.length);
    expect(Buffer.compare(bytes, expected)).toBe(0);
    expect(cache.stats().peersDropped).toBe(0);
  }
  expect(server.bytesSent).toBe(sent);
}
