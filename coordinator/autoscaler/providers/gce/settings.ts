/** What a pool of Google Compute Engine machines says below `"gce"` in the pools file. */
import { readPoolFields } from '../pool-fields.ts';

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
const debian = 'projects/debian-cloud/global/images/family/debian-12';

/** @throws PerigeeError invalid_request */
export function parseGceSettings(fields: unknown): GceSettings {
  const pool = readPoolFields(fields, { provider: 'gce', known: fieldNames, charsMax });
  return {
    project: pool.text('project'),
    region: pool.text('region'),
    image: pool.textOr('image', debian),
    diskGib: pool.integerOr('diskGib', { min: 10, max: 65_536, fallback: 20 }),
    network: pool.textOrNull('network'),
    subnetwork: pool.textOrNull('subnetwork'),
    serviceAccount: pool.textOrNull('serviceAccount'),
    networkTags: pool.texts('networkTags', 64),
    endpoint: pool.textOrNull('endpoint'),
  };
}
