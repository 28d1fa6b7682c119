import { describe, expect, it } from 'vitest';
import { parsePools } from '../../../../../coordinator/autoscaler/pools/read-pools.ts';

const offer = { type: 'c7i.large', cpus: 2, memoryGiB: 4, pricePerHour: 0.1 };
const pool = (changes: object = {}) => ({
  name: 'aws',
  provider: 'ec2',
  max: 5,
  offers: [offer],
  ...changes,
});
const refusal = (value: unknown): string => {
  try {
    parsePools(value, 'pools.json');
  } catch (caught) {
    return caught instanceof Error ? caught.message : '';
  }
  return 'taken';
};

describe('the pools file', () => {
  it('fills in what is left out', () => {
    const [entry] = parsePools([pool({ ec2: { region: 'r' } })], 'pools.json');
    expect(entry).toMatchObject({
      ...{ name: 'aws', kind: 'ec2', min: 0, max: 5, warm: 0, idleMs: 0 },
      ...{ bootMsMax: 900_000, leaveMsMax: 60_000 },
      ...{ billingFloorMs: 60_000, spendPerHourMax: null, dryRun: false, fields: { region: 'r' } },
      offers: [{ id: 'c7i.large', zone: null, spot: false, shape: { slots: 2, cpus: 2 } }],
    });
  });

  it('takes a pool that is to make no more, and gives back what it has', () => {
    expect(parsePools([pool({ max: 0 })], 'pools.json')).toMatchObject([{ min: 0, max: 0 }]);
  });

  it('takes times in seconds', () => {
    const times = { idleSeconds: 2, bootSecondsMax: 30, leaveSecondsMax: 5 };
    const [entry] = parsePools([pool(times)], 'pools.json');
    expect(entry).toMatchObject({ idleMs: 2_000, bootMsMax: 30_000, leaveMsMax: 5_000 });
  });

  it.each([
    ['no list', {}, 'it must be a list'],
    ['an unknown field', [pool({ maximum: 3 })], 'there is no field "maximum"'],
    ['an unknown provider', [pool({ provider: 'ecs' })], '"provider" is "ecs", not one of ec2'],
    ['fields of another provider', [pool({ gce: {} })], '"gce" stands in a pool of provider "ec2"'],
    ['no maximum', [pool({ max: undefined })], '"max" is missing'],
    ['a minimum over the maximum', [pool({ min: 6 })], '"min" is 6, more than "max", 5'],
    ['spares over the maximum', [pool({ warm: 6 })], '"warm" is 6, more than "max", 5'],
    ['two pools of one name', [pool(), pool()], 'two pools are called "aws"'],
    ['two offers alike', [pool({ offers: [offer, offer] })], 'two offers are called'],
    ['no offer', [pool({ offers: [] })], '"offers" must be a list'],
    ['a cap below one machine', [pool({ spend: { perHour: 0.05 } })], '"spend.perHour" is 0.05'],
    ['a cap below the minimum', [pool({ min: 2, spend: { perHour: 0.15 } })], 'less than 2'],
    [
      'a cap on what has no price',
      [pool({ spend: { total: 5 }, offers: [{ ...offer, pricePerHour: 0 }] })],
      'which has no "pricePerHour"',
    ],
    ['the name of local nodes', [pool({ name: 'local' })], '"name" is "local"'],
  ])('refuses %s, and says where', (_, value, message) => {
    const text = refusal(value);
    expect(text).toContain('pools.json');
    expect(text).toContain(message);
  });
});
