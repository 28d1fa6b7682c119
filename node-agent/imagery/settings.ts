/** The agent's settings for imagery; `agentSettingsTable` takes them in. */
import type { Entry } from '../setting-entry.ts';
import { milliseconds } from '../setting-entry.ts';

const mib = 1024 * 1024;
const gib = 1024 * mib;

export const imagerySettingsTable = {
  imageryCredentials: {
    type: 'text',
    default: null,
    flag: 'imagery-credentials',
    env: 'PERIGEE_IMAGERY_CREDENTIALS',
    doc: 'A JSON file, readable by the agent alone, with credentials for imagery by namespace; docs/imagery.md has its form.',
  },
  imageryRoot: {
    type: 'list',
    flag: 'imagery-root',
    doc: 'DIR: a folder below which tasks may read file: assets through the cache, beside those of --mount. Repeatable.',
  },
  imageryAllow: {
    type: 'list',
    flag: 'imagery-allow',
    doc: 'HOST or HOST:PORT that tasks may read assets from though it is loopback or link-local. Repeatable.',
  },
  imageryCacheBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: 20 * gib,
    min: 0,
    max: 2 ** 50,
    flag: 'imagery-cache-bytes',
    env: 'PERIGEE_IMAGERY_CACHE_BYTES_MAX',
    doc: 'Imagery kept on disk; what was used least goes first.',
  },
  imageryDiskFreeBytesMin: {
    type: 'number',
    unit: 'bytes',
    default: 4 * gib,
    min: 0,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_IMAGERY_DISK_FREE_BYTES_MIN',
    doc: 'Free disk that the imagery cache leaves; with less it shrinks, and in the end keeps nothing.',
  },
  imageryWholeBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: 32 * mib,
    min: 0,
    max: 256 * mib,
    flag: null,
    env: 'PERIGEE_IMAGERY_WHOLE_BYTES_MAX',
    doc: 'Assets up to this are fetched and kept whole, larger ones in blocks of 4 MiB.',
  },
  imageryFreshMs: milliseconds(10_000, {
    env: 'PERIGEE_IMAGERY_FRESH_MS',
    doc: 'How long what an origin said of an asset (size and version) is taken to hold.',
  }),
  imageryStallMsMax: milliseconds(30_000, {
    env: 'PERIGEE_IMAGERY_STALL_MS_MAX',
    max: 600_000,
    doc: 'Silence of an origin after which a request is made again.',
  }),
  imageryRequestsMax: {
    type: 'number',
    unit: 'requests',
    default: 32,
    min: 1,
    max: 1_024,
    flag: null,
    env: 'PERIGEE_IMAGERY_REQUESTS_MAX',
    doc: 'Requests at once of this node to one origin, a host or a bucket; its share of the mesh’s may be less.',
  },
  imageryRequestsPerSecondMax: {
    type: 'number',
    unit: 'requests/s',
    default: 500,
    min: 1,
    max: 100_000,
    flag: null,
    env: 'PERIGEE_IMAGERY_REQUESTS_PER_SECOND_MAX',
    doc: 'Requests a second of this node to one origin; its share of the mesh’s may be less.',
  },
  imageryUploadsMax: {
    type: 'number',
    unit: 'blocks',
    default: 16,
    min: 0,
    max: 1_024,
    flag: null,
    env: 'PERIGEE_IMAGERY_UPLOADS_MAX',
    doc: 'Blocks that this node gives to others at once; what comes on top is refused as busy.',
  },
  imageryCheckOneIn: {
    type: 'number',
    unit: 'blocks',
    default: 16,
    min: 1,
    max: 1_000_000,
    flag: null,
    env: 'PERIGEE_IMAGERY_CHECK_ONE_IN',
    doc: 'One block in so many that came from another node is held against 64 KiB of the origin.',
  },
  imageryHedgeMsMin: milliseconds(150, {
    env: 'PERIGEE_IMAGERY_HEDGE_MS_MIN',
    max: 60_000,
    doc: 'Least wait for another node before the origin is asked as well; the 95th percentile of its answers when that is longer.',
  }),
} as const satisfies Record<string, Entry>;
