/** The imagery cache in one process beside what the machine allows; every read is checked. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { namespace, never, openCache } from '../test/unit/node-agent/imagery/caches.ts';
import { createPeerMesh } from '../test/unit/node-agent/imagery/peer-mesh.ts';
import type { RangeServer } from '../test/unit/node-agent/imagery/range-server.ts';
import { makeBytes, startRangeServer } from '../test/unit/node-agent/imagery/range-server.ts';
import {
  hitRateOfLru,
  hitRateOfPolicy,
  makeTrace,
} from '../test/unit/node-agent/imagery/traces.ts';
import type { Figure } from './figures.ts';

const mib = 1024 ** 2;
const options = { namespace, signal: never };
type Tell = (of: string, scenario: string, figure: number, unit: string) => void;

/** Each figure once; those of one scenario belong together. */
export async function measureImageryCache(options: { sceneMib: number }): Promise<Figure[]> {
  const figures: Figure[] = [];
  const tell: Tell = (of, scenario, figure, unit) => {
    figures.push({ of, scenario, figure, unit });
    process.stderr.write(`  ${of}: ${scenario} ${figure.toPrecision(4)} ${unit}\n`);
  };
  const sceneBytes = options.sceneMib * mib;
  const scene = makeBytes(sceneBytes);
  await using server = await startRangeServer();
  server.files.set('/scene.tif', scene);
  const bench = { scene, sceneBytes, server, tell, uri: server.url('/scene.tif') };
  await measureHits(bench);
  await measureOrigin(bench);
  await measurePeers(bench);
  measureEviction(tell);
  return figures;
}

interface CacheBench {
  scene: Uint8Array;
  sceneBytes: number;
  server: RangeServer;
  uri: string;
  tell: Tell;
}

function measureEviction(tell: Tell): void {
  for (const count of [200, 1_000, 5_000]) {
    const trace = makeTrace(1);
    const scenario = `imagery: hits of ${count} blocks on a trace with scans`;
    tell('product', scenario, 100 * hitRateOfPolicy(trace, count), '%');
    tell('LRU', scenario, 100 * hitRateOfLru(trace, count), '%');
  }
}

const spread = (samples: number[]): { p50: number; p99: number } => {
  const sorted = samples.toSorted((one, other) => one - other);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
};

async function measureHits({ scene, sceneBytes, server, tell, uri }: CacheBench): Promise<void> {
  const request = { uri, namespace };
  await using test = await openCache({ allowed: [server.host], stallMsMax: 30_000 });
  const { cache } = test;
  await cache.prefetch(request, null, never);
  const version = await cache.stat(request, never);
  const reads: number[] = [];
  for (let at = 0; at < 3_000; at += 1) {
    const range = { offset: (at * 7_919 * 4_096) % (sceneBytes - 65_536), length: 65_536 };
    const began = performance.now();
    const bytes = await cache.read(version, range, options);
    reads.push((performance.now() - began) * 1_000);
    check(scene, bytes, range.offset);
  }
  const hit = spread(reads);
  tell('product', 'imagery: cached 64 KiB in the agent p50', hit.p50, 'µs');
  tell('product', 'imagery: cached 64 KiB in the agent p99', hit.p99, 'µs');
  const whole = await cache.openWhole(request, never);
  const bare: number[] = [];
  const opened: number[] = [];
  const target = Buffer.alloc(65_536);
  for (let at = 0; at < 2_000; at += 1) {
    const offset = (at * 7_919 * 4_096) % (sceneBytes - 65_536);
    let began = performance.now();
    const file = await open(whole.path);
    await file.read(target, 0, target.length, offset);
    await file.close();
    bare.push((performance.now() - began) * 1_000);
    began = performance.now();
    const again = await cache.openWhole(request, never);
    opened.push((performance.now() - began) * 1_000);
    again.release();
  }
  whole.release();
  tell('limit', 'imagery: cached 64 KiB in the agent p50', spread(bare).p50, 'µs');
  tell('limit', 'imagery: cached 64 KiB in the agent p99', spread(bare).p99, 'µs');
  tell('product', 'imagery: warm asset to a path p50', spread(opened).p50, 'µs');
  tell('product', 'imagery: warm asset to a path p99', spread(opened).p99, 'µs');
  const began = performance.now();
  for (let offset = 0; offset < sceneBytes; offset += 8 * mib) {
    check(scene, await cache.read(version, { offset, length: 8 * mib }, options), offset);
  }
  tell(
    'product',
    'imagery: cached reads of 8 MiB in the agent',
    sceneBytes / mib / ((performance.now() - began) / 1_000),
    'MiB/s',
  );
}

async function measureOrigin({ scene, sceneBytes, server, tell, uri }: CacheBench): Promise<void> {
  const request = { uri, namespace };
  await using test = await openCache({
    allowed: [server.host],
    stallMsMax: 30_000,
    requestsMax: 4,
  });
  const began = performance.now();
  await test.cache.prefetch(request, null, never);
  const own = sceneBytes / mib / ((performance.now() - began) / 1_000);
  tell('product', 'imagery: origin to disk, 4 at once', own, 'MiB/s');
  const folder = await mkdtemp(join(tmpdir(), 'perigee-curl-'));
  try {
    const run = promisify(execFile);
    const quarter = sceneBytes / 4;
    const start = performance.now();
    await Promise.all(
      [0, 1, 2, 3].map((at) => {
        const range = `${at * quarter}-${(at + 1) * quarter - 1}`;
        return run('curl', ['-sS', '-r', range, '-o', join(folder, String(at)), request.uri]);
      }),
    );
    const seconds = (performance.now() - start) / 1_000;
    check(scene, await readFile(join(folder, '1')), quarter);
    tell('curl', 'imagery: origin to disk, 4 at once', sceneBytes / mib / seconds, 'MiB/s');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measurePeers({ scene, sceneBytes, server, tell, uri }: CacheBench): Promise<void> {
  const request = { uri, namespace };
  await using mesh = await createPeerMesh([server.host]);
  const first = await mesh.add({ checkOneIn: 1e9, hedgeMsMin: 60_000 });
  await first.cache.prefetch(request, null, never);
  const second = await mesh.add({ checkOneIn: 1e9, hedgeMsMin: 60_000 });
  const began = performance.now();
  await second.cache.prefetch(request, null, never);
  const rate = sceneBytes / mib / ((performance.now() - began) / 1_000);
  tell('product', 'imagery: node to node, encrypted, to disk', rate, 'MiB/s');
  const sender = createServer((socket) => socket.end(scene)).listen(0, '127.0.0.1');
  await once(sender, 'listening');
  const start = performance.now();
  const socket = connect((sender.address() as AddressInfo).port, '127.0.0.1');
  let bytes = 0;
  for await (const part of socket) bytes += (part as Buffer).length;
  if (bytes !== sceneBytes) throw new Error('The raw stream is not whole.');
  tell(
    'limit',
    'imagery: node to node, encrypted, to disk',
    sceneBytes / mib / ((performance.now() - start) / 1_000),
    'MiB/s',
  );
  sender.close();
}

function check(scene: Uint8Array, bytes: Uint8Array, offset: number): void {
  if (Buffer.compare(bytes, scene.subarray(offset, offset + bytes.length)) === 0) return;
  throw new Error(`The bytes at ${offset} are not the scene's.`);
}
