/** Puts the imagery cache of an agent together from its settings. */
import { isAbsolute } from 'node:path';
import { assert } from '../../protocol/base/assert.ts';
import { PerigeeError } from '../../protocol/base/errors.ts';
import { assetId } from '../../protocol/net/asset-id.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { createImageryCache } from './create-imagery-cache.ts';
import type { HeldAsset } from './held-pieces.ts';
import type { ImageryLink } from './imagery-link.ts';
import { createOrigins } from './origins/create-origins.ts';
import { readCredentials } from './origins/credentials.ts';
import type { Mount } from './parse-mounts.ts';
import { createBlockPeers } from './peers/create-block-peers.ts';
import type { BlockHolder, BlockPeers } from './peers/port.ts';
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
  imageryUploadsMax: number;
  imageryCheckOneIn: number;
  imageryHedgeMsMin: number;
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
    /** Other nodes to read with; without it the node reads alone. */
    mesh?: { host: MeshHost; link: ImageryLink };
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
    {
      now,
      random: Math.random,
      ...(deps.mesh === undefined ? {} : { shares: deps.mesh.link.origins }),
    },
    {
      credentials: readCredentials(options.imageryCredentials),
      roots: [...deps.mounts, ...options.imageryRoot.map((path) => ({ path, name: null }))],
      allowed: options.imageryAllow,
      stallMsMax: options.imageryStallMsMax,
      requestsMax: options.imageryRequestsMax,
      requestsPerSecondMax: options.imageryRequestsPerSecondMax,
    },
  );
  const warn = (message: string): void => deps.log.warn({}, message);
  const { mesh } = deps;
  const peers = (holder: BlockHolder): BlockPeers => {
    assert(mesh !== undefined, 'There are peers only on a mesh.');
    const peerKeyOf = (scope: string): Buffer | null => origins.peerKeyOf(scope);
    return createBlockPeers(
      { host: mesh.host, directory: mesh.link, peerKeyOf, now, random: Math.random, warn },
      holder,
      {
        uploadsMax: options.imageryUploadsMax,
        checkOneIn: options.imageryCheckOneIn,
        hedgeMsMin: options.imageryHedgeMsMin,
      },
    );
  };
  const tellHeld = ({ key, meta, pieces }: HeldAsset): void => {
    let bytes = 0;
    for (const piece of pieces.values()) bytes += piece.bytes;
    mesh?.link.heldChanged(assetId(meta.uri), key, bytes);
  };
  return createImageryCache(
    {
      origins,
      now,
      warn,
      ...(mesh === undefined ? {} : { peers, onChanged: tellHeld }),
    },
    {
      folder: `${deps.dataFolder}/imagery`,
      bytesMax: options.imageryCacheBytesMax,
      diskFreeBytesMin: options.imageryDiskFreeBytesMin,
      wholeAssetBytesMax: options.imageryWholeBytesMax,
      freshMs: options.imageryFreshMs,
    },
  );
}
