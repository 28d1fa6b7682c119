/** What a pool of EC2 machines says below `"ec2"` in the pools file. */
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { Input } from '../../../gateway/input/fields.ts';
import {
  readObject,
  readText,
  readTextOr,
  readTextsOrNull,
  refuseUnknownFields,
} from '../../../gateway/input/fields.ts';

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
const text = { charsMax, fallback: null };

/** @throws PerigeeError invalid_request */
export function parseEc2Settings(fields: unknown): Ec2Settings {
  const input = readObject(fields, '"ec2"');
  refuseUnknownFields(input, fieldNames, '"ec2"');
  const settings: Ec2Settings = {
    region: readText(input, 'region', charsMax),
    image: readTextOr(input, 'image', text),
    launchTemplate: readTextOr(input, 'launchTemplate', text),
    launchTemplateVersion: readTextOr(input, 'launchTemplateVersion', {
      charsMax,
      fallback: '$Default',
    }),
    subnets: readSubnets(input),
    securityGroups: readTextsOrNull(input, 'securityGroups', 5) ?? [],
    instanceProfile: readTextOr(input, 'instanceProfile', text),
    keyName: readTextOr(input, 'keyName', text),
    endpoint: readTextOr(input, 'endpoint', text),
  };
  if (settings.image === null && settings.launchTemplate === null) {
    throw new PerigeeError('invalid_request', '"ec2" has neither "image" nor "launchTemplate".', {
      fix: 'Name an AMI of Debian 12 or Ubuntu 22.04 or later as "image", or a launch template that has one.',
    });
  }
  return settings;
}

function readSubnets(input: Input): Record<string, string> {
  if (input['subnets'] === undefined) return {};
  const given = readObject(input['subnets'], '"subnets"');
  return Object.fromEntries(
    Object.keys(given).map((zone) => [zone, readText(given, zone, charsMax)]),
  );
}
