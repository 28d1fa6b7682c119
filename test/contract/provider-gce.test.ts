import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { InstanceOffer, Provider } from '../../coordinator/autoscaler/provider-port.ts';
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
