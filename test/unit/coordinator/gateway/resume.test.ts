/** Downloads over a line that breaks go on where they were. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { encodeBlobReference } from '../../../../protocol/wire/payload.ts';
import { connect } from '../../../../sdk/ts/connect.ts';
import { startCuttingProxy } from '../../../net/cutting-proxy.ts';
import { findPythons } from '../../../python/find-pythons.ts';
import { checkout } from '../../../setup/run-program.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { createTestGroup, putBatch, sha256, startGatewayMesh, succeeded } from './gateway-mesh.ts';

const runProgram = promisify(execFile);
const mib = 1024 ** 2;
const size = 6 * mib;
const cutAt = 2 * mib;

let mesh: GatewayMesh;
/** A msgpack binary: 0xc6, its length, its bytes. */
const value = Buffer.alloc(size);
const task = { group: '', id: '' };
beforeAll(async () => {
  for (let at = 0; at < size; at += 4) value.writeUInt32BE((at * 2_654_435_761) % 2 ** 32, at);
  mesh = await startGatewayMesh();
  task.group = await createTestGroup(mesh, { changes: { resultFormat: 'msgpack' } });
  const node = mesh.join();
  await putBatch(mesh, task.group, { count: 1 });
  const [attempt] = await node.held(1);
  if (attempt === undefined) throw new Error('nothing was granted');
  const head = Buffer.alloc(5);
  head.writeUInt8(0xc6);
  head.writeUInt32BE(size, 1);
  const hash = await mesh.blobs.writeBytes(Buffer.concat([head, value]));
  const result = encodeBlobReference({ tag: 0x4d, hash, sizeBytes: size + 5 });
  node.report([succeeded(attempt, result)]);
  task.id = `${attempt.batch}-${attempt.index}`;
  await vi.waitUntil(async () => (await mesh.call('HEAD', `/v1/blobs/${hash}`)).status === 200, {
    timeout: 40_000,
  });
});
afterAll(async () => {
  await mesh?.stop();
  expect(mesh?.errors).toEqual([]);
});

it('a result is answered from where a Range begins, its tag counted', async () => {
  const path = `/v1/tasks/${task.id}/result`;
  const whole = new Uint8Array(await (await mesh.call('GET', path)).arrayBuffer());
  for (const from of [0, 1, 6, 3 * mib]) {
    const part = await mesh.call('GET', path, { headers: { range: `bytes=${from}-` } });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(
      `bytes ${from}-${whole.length - 1}/${whole.length}`,
    );
    const bytes = new Uint8Array(await part.arrayBuffer());
    expect(sha256(bytes)).toBe(sha256(whole.subarray(from)));
  }
  const behind = await mesh.call('GET', path, { headers: { range: 'bytes=99999999-' } });
  expect(behind.status).toBe(400);
});

it('the Python SDK goes on with a result after each cut', async () => {
  const port = Number(new URL(mesh.url).port);
  await using proxy = await startCuttingProxy({ port, bytesMax: cutAt, cutsMax: 2 });
  const script =
    'import hashlib, perigee, sys\n' +
    `task = perigee.FutureTask(${JSON.stringify(task.group)}, ${JSON.stringify(task.id)})\n` +
    'print(hashlib.sha256(task.result).hexdigest())\n';
  for (const version of ['2.7', '3.11']) {
    const python = findPythons().find((each) => each.isClient && each.version === version);
    const env = {
      ...process.env,
      PYTHONPATH: join(checkout, 'sdk/python/src'),
      PERIGEE_URL: `http://127.0.0.1:${proxy.port}`,
      PERIGEE_TOKEN: mesh.operator,
    };
    const { stdout } = await runProgram(python?.program ?? '', ['-c', script], { env });
    expect(stdout.trim()).toBe(sha256(value));
  }
  expect(proxy.cuts).toBe(2);
  // Each byte of the results came over the line once, with some more for heads and streams.
  expect(proxy.bytesBack).toBeLessThan(2 * size + mib);
});

it('the TypeScript SDK goes on with a result after each cut', async () => {
  const { addresses, peerId, ...rest } = (await (await mesh.call('GET', '/v1/mesh')).json()) as {
    addresses: string[];
    peerId: string;
  };
  const port = Number(/\/tcp\/(\d+)/.exec(addresses[0] ?? '')?.[1]);
  await using proxy = await startCuttingProxy({ port, bytesMax: cutAt, cutsMax: 2 });
  // Says that libp2p is to be found where the line breaks.
  const guide = createServer((_request, response) => {
    const address = `/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${peerId}`;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ ...rest, peerId, addresses: [address] }));
  });
  guide.listen(0, '127.0.0.1');
  await once(guide, 'listening');
  const where = guide.address();
  const url = `http://127.0.0.1:${typeof where === 'object' ? where?.port : 0}`;
  try {
    await using sdk = await connect({ url, token: mesh.operator, environment: {} });
    const found = await sdk.task(task.group, task.id).result({ timeoutMs: 40_000 });
    if (!(found instanceof Uint8Array)) throw new Error('the result is not bytes');
    expect(sha256(found)).toBe(sha256(value));
  } finally {
    guide.closeAllConnections();
    guide.close();
  }
  expect(proxy.cuts).toBe(2);
  expect(proxy.bytesBack).toBeLessThan(size + 2 * mib);
});
