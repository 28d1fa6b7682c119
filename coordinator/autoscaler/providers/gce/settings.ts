/** What a pool of Google Compute Engine machines says below `"gce"` in the pools file. */
import {
  readIntegerOr,
  readObject,
  readText,
  readTextOr,
  readTextsOrNull,
  refuseUnknownFields,
} from '../../../gateway/input/fields.ts';

export interface GceSettings {
  project: string;
  /** For offers without a zone: Google chooses one of the region's. */
  region: string;
  /** Of the boot disk: `projects/debian-cloud/global/images/family/debian-12`. */
  image: string;
  diskGib: number;
  network: string | null;
  subnetwork: string | null;
  /** Of the machines; null for none. */
  serviceAccount: string | null;
  networkTags: readonly string[];
  /** Another endpoint than Google's. */
  endpoint: string | null;
}

const fieldNames = [
  'project',
  'region',
  'image',
  'diskGib',
  'network',
  'subnetwork',
  'serviceAccount',
  'networkTags',
  'endpoint',
];
const charsMax = 512;
const text = { charsMax, fallback: null };

/** @throws PerigeeError invalid_request */
export function parseGceSettings(fields: unknown): GceSettings {
  const input = readObject(fields, '"gce"');
  refuseUnknownFields(input, fieldNames, '"gce"');
  return {
    project: readText(input, 'project', charsMax),
    region: readText(input, 'region', charsMax),
    image: readTextOr(input, 'image', {
      charsMax,
      fallback: 'projects/debian-cloud/global/images/family/debian-12',
    }),
    diskGib: readIntegerOr(input, 'diskGib', { min: 10, max: 65_536, fallback: 20 }),
    network: readTextOr(input, 'network', text),
    subnetwork: readTextOr(input, 'subnetwork', text),
    serviceAccount: readTextOr(input, 'serviceAccount', text),
    networkTags: readTextsOrNull(input, 'networkTags', 64) ?? [],
    endpoint: readTextOr(input, 'endpoint', text),
  };
}
