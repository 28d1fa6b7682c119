/** A twin of the imagery cache for tests: assets are files of a folder, by the end of their URI. */
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageryCache } from '../../node-agent/imagery/port.ts';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { AssetId, NamespaceName } from '../../protocol/wire/ids.ts';

export interface FolderCache extends ImageryCache {
  /** Assets that are pinned now. */
  readonly pinned: ReadonlySet<string>;
  /** URIs that were asked for ahead. */
  readonly prefetched: readonly string[];
  /** Called before an asset is opened: throws, or holds it up. */
  beforeOpen: ((uri: string, signal: AbortSignal) => Promise<void>) | null;
}

/** Serves `mem://NAMESPACE/FILE` to that namespace from `sources[FILE]`; copies go below `folder`. */
export function createFolderCache(
  folder: string,
  sources: Readonly<Record<string, string>>,
): FolderCache {
  mkdirSync(folder, { recursive: true });
  const pinned = new Set<string>();
  const prefetched: string[] = [];
  const locate = (uri: string, namespace: NamespaceName): string => {
    const match = /^mem:\/\/([a-z]+)\/(.+)$/.exec(uri);
    if (match === null) throw new PerigeeError('asset_invalid', `${uri} is no asset.`);
    if (match[1] !== namespace) {
      throw new PerigeeError('asset_denied', `${uri} is not for ${namespace}.`);
    }
    const from = sources[match[2] ?? ''];
    if (from === undefined) throw new PerigeeError('asset_not_found', `No ${uri}: 404.`);
    const to = join(folder, match[2] ?? '');
    if (!existsSync(to)) copyFileSync(from, to);
    chmodSync(to, 0o444);
    return to;
  };
  const versionOf = (uri: string, path: string) => ({
    asset: createHash('sha256').update(uri).digest('hex').slice(0, 16) as AssetId,
    uri,
    version: '1',
    sizeBytes: statSync(path).size,
  });
  const none = { hits: 0, misses: 0, cacheBytes: 0, peerBytes: 0, originBytes: 0 };
  const cache: FolderCache = {
    pinned,
    prefetched,
    beforeOpen: null,
    stat: async ({ uri, namespace }) => versionOf(uri, locate(uri, namespace)),
    async openWhole({ uri, namespace }, signal) {
      const path = locate(uri, namespace);
      await cache.beforeOpen?.(uri, signal);
      pinned.add(uri);
      return { version: versionOf(uri, path), path, release: () => pinned.delete(uri) };
    },
    read: async (version, { offset, length }, { namespace }) =>
      readFileSync(locate(version.uri, namespace)).subarray(offset, offset + length),
    async prefetch({ uri }) {
      prefetched.push(uri);
    },
    stats: () => ({ ...none, heldBytes: 0, heldAssets: 0, peersDropped: 0, assets: new Map() }),
    start: async () => {},
    stop: async () => {},
  };
  return cache;
}
