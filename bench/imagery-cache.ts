/**
 * `node_modules/.bin/node bench/imagery-cache.ts`: the imagery cache beside what the machine allows, each
 * pair measured in the same run. Prints a table on stderr and JSON on stdout; every read is checked.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { namespace, never, openCache } from '../test/unit/node-agent/imagery/caches.ts';
import { createPeerMesh } from '../test/unit/node-agent/imagery/peer-mesh.ts';
import { makeBytes, startRangeServer } from '../test/unit/node-agent/imagery/range-server.ts';
import {
  hitRateOfLru,
  hitRateOfPolicy,
  makeTrace,
} from '../test/unit/node-agent/imagery/traces.ts';

const mib = 1024 ** 2;
const options = { namespace, signal: never };
interface Row {
  what: string;
  figure: number;
  unit: string;
}
const rows: Row[] = [];
const tell = (what: string, figure: number, unit: string): void => {
  rows.push({ what, figure, unit });
  process.stderr.write(`${what.padEnd(64)} ${figure.toPrecision(4).padStart(10)} ${unit}\n`);
};
const spread = (samples: number[]): { p50: number; p99: number } => {
  const sorted = samples.toSorted((one, other) => one - other);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
};

const sceneBytes = 256 * mib;
const scene = makeBytes(sceneBytes);
const server = await startRangeServer();
server.files.set('/scene.tif', scene);
const request = { uri: server.url('/scene.tif'), namespace };
try {
  await measureHits();
  await measureOrigin();
  await measurePeers();
  for (const count of [200, 1_000, 5_000]) {
    const trace = makeTrace(1);
    tell(`hit rate, ${count} blocks, S3-FIFO`, hitRateOfPolicy(trace, count), '');
    tell(`hit rate, ${count} blocks, LRU on the same trace`, hitRateOfLru(trace, count), '');
  }
} finally {
  await server[Symbol.asyncDispose]();
}
const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
process.stdout.write(`${JSON.stringify({ ...machine, rows }, null, 2)}\n`);

async function measureHits(): Promise<void> {
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
    check(bytes, range.offset);
  }
  const hit = spread(reads);
  tell('hit of 64 KiB, p50', hit.p50, 'µs');
  tell('hit of 64 KiB, p99', hit.p99, 'µs');
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
  tell('the same read of the bare file (open, read, close), p50', spread(bare).p50, 'µs');
  tell('the same read of the bare file, p99', spread(bare).p99, 'µs');
  tell('warm asset to a path that can be mapped, p50', spread(opened).p50, 'µs');
  tell('warm asset to a path that can be mapped, p99', spread(opened).p99, 'µs');
  const began = performance.now();
  for (let offset = 0; offset < sceneBytes; offset += 8 * mib) {
    check(await cache.read(version, { offset, length: 8 * mib }, options), offset);
  }
  tell('warm reads of 8 MiB', sceneBytes / mib / ((performance.now() - began) / 1_000), 'MiB/s');
}

async function measureOrigin(): Promise<void> {
  await using test = await openCache({
    allowed: [server.host],
    stallMsMax: 30_000,
    requestsMax: 4,
  });
  const began = performance.now();
  await test.cache.prefetch(request, null, never);
  const own = sceneBytes / mib / ((performance.now() - began) / 1_000);
  tell('origin to cache, 4 requests at once, with sum and disk', own, 'MiB/s');
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
    check(await readFile(join(folder, '1')), quarter);
    tell('curl, 4 requests at once, to the same disk', sceneBytes / mib / seconds, 'MiB/s');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measurePeers(): Promise<void> {
  await using mesh = await createPeerMesh([server.host]);
  const first = await mesh.add({ checkOneIn: 1e9, hedgeMsMin: 60_000 });
  await first.cache.prefetch(request, null, never);
  const second = await mesh.add({ checkOneIn: 1e9, hedgeMsMin: 60_000 });
  const began = performance.now();
  await second.cache.prefetch(request, null, never);
  const rate = sceneBytes / mib / ((performance.now() - began) / 1_000);
  tell('peer to cache, both in one process, noise, sum and disk', rate, 'MiB/s');
  const sender = createServer((socket) => socket.end(scene)).listen(0, '127.0.0.1');
  await once(sender, 'listening');
  const start = performance.now();
  const socket = connect((sender.address() as AddressInfo).port, '127.0.0.1');
  let bytes = 0;
  for await (const part of socket) bytes += (part as Buffer).length;
  if (bytes !== sceneBytes) throw new Error('The raw stream is not whole.');
  tell(
    'one raw TCP stream, both in one process, bytes thrown away',
    sceneBytes / mib / ((performance.now() - start) / 1_000),
    'MiB/s',
  );
  sender.close();
}

function check(bytes: Uint8Array, offset: number): void {
  if (Buffer.compare(bytes, scene.subarray(offset, offset + bytes.length)) === 0) return;
  throw new Error(`The bytes at ${offset} are not the scene's.`);
}
