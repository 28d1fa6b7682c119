import { describe, expect, it } from 'vitest';
import { parseEc2Settings } from '../../../../../coordinator/autoscaler/providers/ec2/settings.ts';
import { parseGceSettings } from '../../../../../coordinator/autoscaler/providers/gce/settings.ts';
import { parseSlurmSettings } from '../../../../../coordinator/autoscaler/providers/slurm/settings.ts';

const cases = [
  {
    provider: 'ec2',
    parse: parseEc2Settings,
    least: { region: 'eu-west-1', image: 'ami-1' },
    defaults: { launchTemplateVersion: '$Default', subnets: {}, securityGroups: [], keyName: null },
    given: { subnets: { a: 'subnet-1' }, securityGroups: ['sg-1'], endpoint: 'http://e' },
  },
  {
    provider: 'gce',
    parse: parseGceSettings,
    least: { project: 'p', region: 'r' },
    defaults: {
      ...{ image: 'projects/debian-cloud/global/images/family/debian-12', diskGib: 20 },
      ...{ network: null, networkTags: [], serviceAccount: null },
    },
    given: { diskGib: 50, networkTags: ['a'], subnetwork: 's' },
  },
  {
    provider: 'slurm',
    parse: parseSlurmSettings,
    least: {},
    defaults: { partition: null, timeLimitMinutes: null, extra: [], folder: '/tmp' },
    given: { partition: 'main', timeLimitMinutes: 5, extra: ['--exclusive'] },
  },
] as const;

describe.each(cases)('fields of $provider', ({ provider, parse, least, defaults, given }) => {
  it('have their defaults, and are what the file says', () => {
    expect(parse(least)).toMatchObject({ ...least, ...defaults });
    expect(parse({ ...least, ...given })).toMatchObject(given);
  });

  it('are refused by name when they are unknown, missing or of another kind', () => {
    expect(() => parse({ ...least, colour: 'red' })).toThrow(/colour/);
    expect(() => parse([])).toThrow(provider);
    for (const [field, value] of Object.entries(given)) {
      const wrong = typeof value === 'string' ? 5 : 'x'.repeat(5_000);
      expect(() => parse({ ...least, [field]: wrong })).toThrow(field);
    }
    for (const field of Object.keys(least)) {
      const without = Object.fromEntries(Object.entries(least).filter(([name]) => name !== field));
      expect(() => parse(without)).toThrow(field);
    }
  });
});
