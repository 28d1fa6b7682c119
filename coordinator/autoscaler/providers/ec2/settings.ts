/** What a pool of EC2 machines says below `"ec2"` in the pools file. */
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { readObject, readText } from '../../../gateway/input/fields.ts';
import type { PoolFields } from '../pool-fields.ts';
import { readPoolFields } from '../pool-fields.ts';

export interface Ec2Settings {
  region: string;
  /** AMI; null when the launch template names one. */
  image: string | null;
  /** Id (`lt-…`) or name; null for none. */
  launchTemplate: string | null;
  launchTemplateVersion: string;
  /** By zone. An offer in a zone that is not here takes the zone's default subnet. */
  subnets: Readonly<Record<string, string>>;
  securityGroups: readonly string[];
  instanceProfile: string | null;
  keyName: string | null;
  /** Another endpoint than the region's, for clouds that speak EC2. */
  endpoint: string | null;
}

const fieldNames = [
  'region',
  'image',
  'launchTemplate',
  'launchTemplateVersion',
  'subnets',
  'securityGroups',
  'instanceProfile',
  'keyName',
  'endpoint',
];
const charsMax = 256;

/** @throws PerigeeError invalid_request */
export function parseEc2Settings(fields: unknown): Ec2Settings {
  const pool = readPoolFields(fields, { provider: 'ec2', known: fieldNames, charsMax });
  const settings: Ec2Settings = {
    region: pool.text('region'),
    image: pool.textOrNull('image'),
    launchTemplate: pool.textOrNull('launchTemplate'),
    launchTemplateVersion: pool.textOr('launchTemplateVersion', '$Default'),
    subnets: readSubnets(pool),
    securityGroups: pool.texts('securityGroups', 5),
    instanceProfile: pool.textOrNull('instanceProfile'),
    keyName: pool.textOrNull('keyName'),
    endpoint: pool.textOrNull('endpoint'),
  };
  if (settings.image === null && settings.launchTemplate === null) {
    throw new PerigeeError('invalid_request', '"ec2" has neither "image" nor "launchTemplate".', {
      fix: 'Name an AMI of Debian 12 or Ubuntu 22.04 or later as "image", or a launch template that has one.',
    });
  }
  return settings;
}

function readSubnets({ input }: PoolFields): Record<string, string> {
  if (input['subnets'] === undefined) return {};
  const given = readObject(input['subnets'], '"subnets"');
  return Object.fromEntries(
    Object.keys(given).map((zone) => [zone, readText(given, zone, charsMax)]),
  );
}
