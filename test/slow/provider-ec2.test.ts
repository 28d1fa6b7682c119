import {
  EC2Client,
  paginateDescribeInstances,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceOffer, Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { loadProvider } from '../../coordinator/autoscaler/providers/load-provider.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { Ec2Proxy } from '../clouds/ec2-proxy.ts';
import { startEc2Proxy } from '../clouds/ec2-proxy.ts';
import { testProvider } from '../contract/provider-suite.ts';
import type { MotoServer } from '../setup/moto.ts';
import { startMoto } from '../setup/moto.ts';

const region = 'eu-west-1';
/** Whose machines a test sees; a new one for each, for moto forgets nothing. */
let coordinators = 0;
let moto: MotoServer;
let proxy: Ec2Proxy;
let direct: EC2Client;

const offer = (id: string, type: string, zone: string | null): InstanceOffer => ({
  id,
  type,
  zone,
  spot: true,
  shape: { slots: 2, cpus: 2, memoryBytes: 4 * 2 ** 30, isolation: 'strong', network: false },
  pricePerHour: 0.02,
});

beforeAll(async () => {
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' });
  moto = await startMoto();
  proxy = await startEc2Proxy(moto.url);
  direct = new EC2Client({ region, endpoint: moto.url });
});
afterAll(async () => {
  direct?.destroy();
  await proxy?.stop();
  await moto?.stop();
});

async function open(
  coordinator: string,
  offers: readonly InstanceOffer[] = [offer('small', 'c5.large', 'eu-west-1a')],
): Promise<Provider> {
  const create = await loadProvider('ec2', { region, image: 'ami-12c6146b', endpoint: proxy.url });
  return create({ pool: 'ec2', offers, coordinator, env: process.env });
}

async function machines(coordinator: string): Promise<string[]> {
  const ids: string[] = [];
  const filters = [{ Name: 'tag:perigee:coordinator', Values: [coordinator] }];
  for await (const page of paginateDescribeInstances({ client: direct }, { Filters: filters })) {
    for (const { Instances } of page.Reservations ?? []) {
      for (const { InstanceId, State } of Instances ?? []) {
        if (State?.Name !== 'terminated' && InstanceId !== undefined) ids.push(InstanceId);
      }
    }
  }
  return ids;
}

testProvider({
  name: 'ec2',
  effectMsMax: 10_000,
  troubles: ['lostAnswer', 'stockout', 'quota', 'throttled', 'denied', 'unavailable'],
  hasInterruption: true,
  async open() {
    coordinators += 1;
    const coordinator = `coordinator-${coordinators}`;
    const opened: Provider[] = [];
    const keep = async (whose: string): Promise<Provider> => {
      const provider = await open(whose);
      opened.push(provider);
      return provider;
    };
    proxy.listDelayMs = 300;
    const fail = (trouble: string) => async () => {
      proxy.trouble = trouble;
    };
    return {
      provider: await keep(coordinator),
      userData: '#!/bin/sh\n',
      reopen: () => keep(coordinator),
      openStranger: () => keep(`${coordinator}-stranger`),
      troubles: {
        async lostAnswer() {
          proxy.lostAnswers = 1;
        },
        stockout: fail('stockout'),
        quota: fail('quota'),
        throttled: fail('throttled'),
        denied: fail('denied'),
        unavailable: fail('unavailable'),
      },
      async heal() {
        proxy.trouble = null;
        proxy.lostAnswers = 0;
      },
      async interrupt() {
        for (const id of await machines(coordinator)) proxy.interrupted.add(id);
      },
      countMachines: async () => (await machines(coordinator)).length,
      async close() {
        proxy.trouble = null;
        for (const provider of opened) await provider.close();
        const left = await machines(coordinator);
        if (left.length > 0) {
          await direct.send(new TerminateInstancesCommand({ InstanceIds: left }));
        }
      },
    };
  },
});

describe('provider ec2, beyond what all do', () => {
  const { signal } = new AbortController();

  it('finds an unknown type and a zone without the type before the first machine', async () => {
    const provider = await open('checks', [
      offer('a', 'c5.enormous', null),
      offer('b', 'c5.large', 'mars-north-1a'),
    ]);
    const faults = await provider.check(signal);
    expect(faults.map(({ code }) => code)).toEqual(['type', 'zone']);
    expect(faults[1]?.fix).toContain('eu-west-1a');
    await provider.close();
  });

  it('keeps to the first machine when it is asked again with another token inside', async () => {
    const provider = await open('repeats');
    proxy.listDelayMs = 0;
    const instance = 'ec2-0000cccc' as InstanceId;
    const first = await provider.create({ instance, offer: 'small', userData: 'one' }, signal);
    expect(await provider.create({ instance, offer: 'small', userData: 'two' }, signal)).toBe(
      first,
    );
    expect(await machines('repeats')).toEqual([first]);
    await provider.close();
  });

  it('reads a fleet of several pages', async () => {
    const provider = await open('pages');
    proxy.listDelayMs = 0;
    const wanted = Array.from({ length: 205 }, (_, index) => `ec2-${1000 + index}` as InstanceId);
    await Promise.all(
      wanted.map((instance) => provider.create({ instance, offer: 'small', userData: '' }, signal)),
    );
    expect([...(await provider.list(signal)).keys()].sort()).toEqual(wanted);
    await provider.close();
  });

  it('refuses settings without an image, and names a misspelt field', async () => {
    await expect(loadProvider('ec2', { region })).rejects.toThrow(/neither "image"/);
    await expect(loadProvider('ec2', { region, imagee: 'ami-1' })).rejects.toThrow(
      /did you mean "image"/,
    );
  });
});
