import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { PoolSpec } from '../../coordinator/autoscaler/lifecycle/state.ts';
import {
  createFleetState,
  defaultLifecycleSettings,
} from '../../coordinator/autoscaler/lifecycle/state.ts';
import { stepFleet } from '../../coordinator/autoscaler/lifecycle/step.ts';
import { defaultFleetSettings } from '../../coordinator/autoscaler/plan/inputs.ts';
import { planFleet } from '../../coordinator/autoscaler/plan/plan-fleet.ts';
import { parsePools } from '../../coordinator/autoscaler/pools/read-pools.ts';
import type { InstanceOffer, Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { createGceProvider } from '../../coordinator/autoscaler/providers/gce/create-provider.ts';
import { parseGceSettings } from '../../coordinator/autoscaler/providers/gce/settings.ts';
import { loadProvider } from '../../coordinator/autoscaler/providers/load-provider.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { GceServer } from '../clouds/gce-server.ts';
import { startGceServer } from '../clouds/gce-server.ts';
import { testProvider } from './provider-suite.ts';

let server: GceServer;
let folder: string;
let coordinators = 0;
const { signal } = new AbortController();

const offer = (id: string, type: string, zone: string | null): InstanceOffer => ({
  id,
  type,
  zone,
  spot: true,
  shape: { slots: 2, cpus: 2, memoryBytes: 8 * 2 ** 30, isolation: 'strong', network: false },
  pricePerHour: 0.02,
});

const fleetPool: PoolSpec = {
  ...{ pool: 'gce', provider: 'gce', instancesMin: 0, instancesMax: 1, warm: 0, idleMs: 0 },
  ...{ billingFloorMs: 0, spendPerHourMax: null, spendTotalMax: null, namespaces: null },
  ...{ offers: [offer('small', 'e2-standard-2', null)], bootMsGuess: 1_000, bootMsMax: 10_000 },
  ...{ leaveMsMax: 1_000, killAfterMs: 1_000, retryBaseMs: 1_000, retryMaxMs: 1_000 },
  dryRun: false,
};

beforeAll(async () => {
  server = await startGceServer();
  folder = mkdtempSync(join(tmpdir(), 'perigee-gce-'));
  // A service account with a key of its own: the SDK signs its calls as it would for Google.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = {
    type: 'service_account',
    project_id: 'test-project',
    private_key_id: '1',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    client_email: 'perigee@test-project.iam.gserviceaccount.com',
    client_id: '1',
    token_uri: `${server.url}/token`,
  };
  writeFileSync(join(folder, 'key.json'), JSON.stringify(key), { mode: 0o600 });
  process.env['GOOGLE_APPLICATION_CREDENTIALS'] = join(folder, 'key.json');
});
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function open(
  coordinator: string,
  offers: readonly InstanceOffer[] = [offer('small', 'e2-standard-2', 'europe-west1-b')],
): Promise<Provider> {
  const create = await loadProvider('gce', {
    project: 'test-project',
    region: 'europe-west1',
    endpoint: server.url,
  });
  return create({ pool: 'gce', offers, coordinator, env: process.env });
}

for (const [name, zone] of [
  ['gce', 'europe-west1-b'],
  ['gce-regional', null],
] as const) {
  testProvider({
    name,
    effectMsMax: 10_000,
    troubles: ['lostAnswer', 'stockout', 'quota', 'throttled', 'denied', 'unavailable'],
    hasInterruption: true,
    async open() {
      coordinators += 1;
      const coordinator = `coordinator-${coordinators}`;
      const offers = [offer('small', 'e2-standard-2', zone)];
      // A regional answer names no zone: the machine is found by its label, at once or not at all.
      server.listDelayMs = zone === null ? 0 : 200;
      const opened: Provider[] = [];
      const keep = async (whose: string): Promise<Provider> => {
        const provider = await open(whose, offers);
        opened.push(provider);
        return provider;
      };
      const fail = (trouble: string) => async () => {
        server.trouble = trouble;
      };
      return {
        provider: await keep(coordinator),
        userData: '#!/bin/sh\n',
        reopen: () => keep(coordinator),
        openStranger: () => keep(`${coordinator}-stranger`),
        troubles: {
          async lostAnswer() {
            server.lostAnswers = 1;
          },
          stockout: fail('stockout'),
          quota: fail('quota'),
          throttled: fail('throttled'),
          denied: fail('denied'),
          unavailable: fail('unavailable'),
        },
        async heal() {
          server.trouble = null;
          server.lostAnswers = 0;
        },
        async interrupt() {
          for (const machine of server.machines.values()) machine.status = 'STOPPING';
        },
        countMachines: async () => server.machines.size,
        async close() {
          for (const provider of opened) await provider.close();
          server.trouble = null;
          server.machines.clear();
        },
      };
    },
  });
}

describe('provider gce, beyond what all do', () => {
  it('finds an unknown type and a zone without the type before the first machine', async () => {
    const provider = await open('checks', [
      offer('a', 'e2-enormous', 'europe-west1-b'),
      offer('b', 'e2-standard-2', 'mars-north1-a'),
    ]);
    expect((await provider.check(signal)).map(({ code }) => code)).toEqual(['type', 'type']);
    await provider.close();
  });

  it('tells that there are no credentials, and lets the process live', async () => {
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', undefined);
    vi.stubEnv('HOME', folder);
    vi.stubEnv('METADATA_SERVER_DETECTION', 'none');
    const unhandled: unknown[] = [];
    const note = (error: unknown): number => unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      const provider = await open('nobody');
      expect(await provider.check(signal)).toMatchObject([{ code: 'denied' }]);
      await expect(provider.list(signal)).rejects.toMatchObject({ failure: 'denied' });
      await new Promise((done) => setTimeout(done, 50));
      expect(unhandled).toEqual([]);
      await provider.close();
    } finally {
      process.off('unhandledRejection', note);
      vi.unstubAllEnvs();
    }
  });

  it('makes a machine of an offer with the usual id, and knows it again', async () => {
    server.listDelayMs = 0;
    const [pool] = parsePools(
      [
        {
          ...{ name: 'gce', provider: 'gce', max: 1 },
          offers: [
            { type: 'e2-standard-2', zone: 'europe-west1-b', spot: true, cpus: 2, memoryGiB: 8 },
          ],
        },
      ],
      'pools.json',
    );
    const provider = await open('defaults', pool?.offers);
    const instance = 'gce-0000dddd' as InstanceId;
    const wanted = 'e2-standard-2/europe-west1-b/spot';
    await provider.create({ instance, offer: wanted, userData: '' }, signal);
    expect((await provider.list(signal)).get(instance)?.offer).toBe(wanted);
    const later = await open('defaults', [offer('other', 'e2-standard-2', 'europe-west1-b')]);
    expect((await later.list(signal)).get(instance)?.offer).toBe(null);
    server.machines.clear();
    await later.close();
    await provider.close();
  });

  it.each(['TERMINATED', 'SUSPENDED'])(
    'has a machine that is %s, and that nobody asked for, deleted',
    async (status) => {
      server.listDelayMs = 0;
      const provider = await open(status);
      const instance = 'gce-0000eeee' as InstanceId;
      await provider.create({ instance, offer: 'small', userData: '' }, signal);
      for (const machine of server.machines.values()) machine.status = status;
      const found = await provider.list(signal);
      // It stopped by its own power-off as likely as by Google's doing.
      expect(found.get(instance)).toMatchObject({ state: 'running', interrupted: false });
      const fleet = createFleetState({
        pools: [fleetPool],
        settings: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
        decide: planFleet,
        nextId: () => '1',
      });
      const listed = { kind: 'listed' as const, pool: 'gce', found, askedAtMs: 0 };
      for (const order of stepFleet(fleet, listed, 0)) {
        if (order.kind !== 'terminate') continue;
        await provider.terminate(order.instance, order.handle, signal);
      }
      expect(server.machines.size).toBe(0);
      await provider.close();
    },
  );

  it('waits on for a machine that takes longer than one call, and hears of a late stockout', async () => {
    server.listDelayMs = 0;
    server.operationMs = 2_200;
    const settings = parseGceSettings({
      ...{ project: 'test-project', region: 'europe-west1', endpoint: server.url },
    });
    const offers = [offer('small', 'e2-standard-2', 'europe-west1-b')];
    const deps = { pool: 'gce', offers, coordinator: 'slow', env: process.env };
    const provider = createGceProvider(settings, deps, 1_000);
    try {
      const instance = 'gce-0000ffff' as InstanceId;
      const request = { instance, offer: 'small', userData: '' };
      expect(await provider.create(request, signal)).toContain(instance);
      server.trouble = 'stockout';
      const next = { ...request, instance: 'gce-0000abcd' as InstanceId };
      await expect(provider.create(next, signal)).rejects.toMatchObject({
        ...{ failure: 'stockout', mayHaveMade: false },
      });
      expect(provider.answerMsMax).toBeGreaterThan(5_000);
    } finally {
      server.trouble = null;
      server.operationMs = 100;
      server.machines.clear();
      await provider.close();
    }
  });

  it('reads a fleet of several pages', async () => {
    server.listDelayMs = 0;
    const provider = await open('pages');
    const wanted = ['gce-1', 'gce-2', 'gce-3', 'gce-4', 'gce-5'];
    for (const name of wanted) {
      await provider.create({ instance: name as InstanceId, offer: 'small', userData: '' }, signal);
    }
    expect([...(await provider.list(signal)).keys()].sort()).toEqual(wanted);
    server.machines.clear();
    await provider.close();
  });
});
