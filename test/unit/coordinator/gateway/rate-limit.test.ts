import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { createRateLimit } from '../../../../coordinator/gateway/rate-limit.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { connect } from '../../../../sdk/ts/connect.ts';
import { findPythons } from '../../../python/find-pythons.ts';
import { checkout } from '../../../setup/run-program.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { problem, startGatewayMesh } from './gateway-mesh.ts';

const runProgram = promisify(execFile);

let mesh: GatewayMesh | undefined;
afterEach(async () => {
  await mesh?.stop();
  expect(mesh?.errors ?? []).toEqual([]);
  mesh = undefined;
});

/** How many of so many calls in a row a token gets through. */
function countTaken(limit: { take(tokenId: string): void }, tokenId: string, calls: number) {
  let taken = 0;
  let told: unknown;
  for (let call = 0; call < calls; call += 1) {
    try {
      limit.take(tokenId);
      taken += 1;
    } catch (caught) {
      told = caught;
    }
  }
  return { taken, told };
}

describe('a token’s bucket', () => {
  it('lets a burst through, then the steady rate, each token for itself', () => {
    const clock = { value: 1_000, nowMs: () => clock.value };
    const limit = createRateLimit(clock, { callsPerSecondMax: 10, callsBurst: 5 });
    const first = countTaken(limit, 'one', 20);
    expect(first.taken).toBe(5);
    expect(first.told).toBeInstanceOf(PerigeeError);
    expect(first.told).toMatchObject({ code: 'rate_limited', details: { retryAfterSeconds: 1 } });
    expect(countTaken(limit, 'other', 20).taken).toBe(5);
    clock.value += 300;
    expect(countTaken(limit, 'one', 20).taken).toBe(3);
    clock.value += 60_000;
    expect(countTaken(limit, 'one', 20).taken).toBe(5);
    clock.value -= 60_000;
    expect(countTaken(limit, 'one', 20).taken).toBe(0);
  });

  it('says how long to wait, and knows no limit at 0', () => {
    const clock = { nowMs: () => 1_000 };
    const slow = createRateLimit(clock, { callsPerSecondMax: 0.1, callsBurst: 1 });
    expect(countTaken(slow, 'one', 2).told).toMatchObject({ details: { retryAfterSeconds: 10 } });
    const free = createRateLimit(clock, { callsPerSecondMax: 0, callsBurst: 1 });
    expect(countTaken(free, 'one', 1_000).taken).toBe(1_000);
  });
});

describe('a client that calls too often', () => {
  it('is answered 429 with Retry-After over HTTP, and others are not', async () => {
    mesh = await startGatewayMesh({ callsPerSecondMax: 0.01, callsBurst: 3 });
    const ask = (token?: string) =>
      mesh?.call('GET', '/v1/whoami', token === undefined ? {} : { token });
    for (let call = 0; call < 3; call += 1) expect((await ask())?.status).toBe(200);
    const refused = await ask();
    expect(refused?.status).toBe(429);
    expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(1);
    if (refused !== undefined) expect((await problem(refused)).code).toBe('rate_limited');
    expect((await ask(await mesh.token('alice', 'user')))?.status).toBe(200);
  });

  it('is waited out by the TypeScript SDK, over libp2p', async () => {
    mesh = await startGatewayMesh({ callsPerSecondMax: 10, callsBurst: 2 });
    await using sdk = await connect({ url: mesh.url, token: mesh.operator, environment: {} });
    const began = performance.now();
    for (let call = 0; call < 8; call += 1) {
      expect((await sdk.whoami()).namespace).toBe('default');
    }
    // Nine calls in all, seven of them beyond the burst.
    expect(performance.now() - began).toBeGreaterThan(500);
  });

  it('is waited out by the Python SDK', async () => {
    mesh = await startGatewayMesh({ callsPerSecondMax: 10, callsBurst: 2 });
    const script =
      'import perigee, sys\n' +
      'client = perigee.AsyncTasks()\n' +
      'print([client._transport.get_json("/v1/whoami")["role"] for _ in range(5)])\n';
    const python = findPythons().find(({ version }) => version === '3.11')?.program ?? '';
    const env = {
      ...process.env,
      PYTHONPATH: join(checkout, 'sdk/python/src'),
      PERIGEE_URL: mesh.url,
      PERIGEE_TOKEN: mesh.operator,
    };
    const { stdout } = await runProgram(python, ['-c', script], { env });
    expect(stdout.match(/operator/g)).toHaveLength(5);
  });
});
