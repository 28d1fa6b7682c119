/** Puts the imagery cache of an agent together from its settings. */
import { isAbsolute } from 'node:path';
import { PerigeeError } from '../../protocol/base/errors.ts';
import { createImageryCache } from './create-imagery-cache.ts';
import { createOrigins } from './origins/create-origins.ts';
import { readCredentials } from './origins/credentials.ts';
import type { Mount } from './parse-mounts.ts';
import type { ImageryCache } from './port.ts';

/** The agent's settings that imagery goes by. */
export interface ImageryOptions {
  imageryCredentials: string | null;
  imageryRoot: readonly string[];
  imageryAllow: readonly string[];
  imageryCacheBytesMax: number;
  imageryDiskFreeBytesMin: number;
  imageryWholeBytesMax: number;
  imageryFreshMs: number;
  imageryStallMsMax: number;
  imageryRequestsMax: number;
  imageryRequestsPerSecondMax: number;
}

/**
 * A cache that is not started yet.
 * @throws PerigeeError invalid_request when the credentials or a root are at fault.
 */
export function openImagery(
  options: ImageryOptions,
  deps: {
    dataFolder: string;
    mounts: readonly Mount[];
    log: { warn(fields: object, message: string): void };
  },
): ImageryCache {
  for (const root of options.imageryRoot) {
    if (isAbsolute(root)) continue;
    throw new PerigeeError('invalid_request', `--imagery-root: '${root}' is no absolute path.`, {
      fix: 'Give the folder from the root on.',
    });
  }
  const now = (): number => performance.now();
  const origins = createOrigins(
    { now, random: Math.random },
    {
      credentials: readCredentials(options.imageryCredentials),
      roots: [...deps.mounts, ...options.imageryRoot.map((path) => ({ path, name: null }))],
      allowed: options.imageryAllow,
      stallMsMax: options.imageryStallMsMax,
      requestsMax: options.imageryRequestsMax,
      requestsPerSecondMax: options.imageryRequestsPerSecondMax,
    },
  );
  return createImageryCache(
    { origins, now, warn: (message) => deps.log.warn({}, message) },
    {
      folder: `${deps.dataFolder}/imagery`,
      bytesMax: options.imageryCacheBytesMax,
      diskFreeBytesMin: options.imageryDiskFreeBytesMin,
      wholeAssetBytesMax: options.imageryWholeBytesMax,
      freshMs: options.imageryFreshMs,
    },
  );
}
