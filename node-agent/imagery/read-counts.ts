/** Who was served from where, in all and for the assets read last. */
import type { AssetId } from '../../protocol/wire/ids.ts';
import type { AssetStats } from './port.ts';

export type ReadSource = 'cache' | 'peer' | 'origin';

export interface ReadCounts {
  readonly total: Readonly<AssetStats>;
  readonly assets: ReadonlyMap<AssetId, AssetStats>;
  count(asset: AssetId, source: ReadSource, bytes: number): void;
}

const assetsMax = 10_000;

export function createReadCounts(): ReadCounts {
  const total = noReads();
  const assets = new Map<AssetId, AssetStats>();
  return {
    total,
    assets,
    count(asset, source, bytes) {
      const own = assets.get(asset) ?? noReads();
      assets.delete(asset);
      assets.set(asset, own);
      for (const oldest of assets.keys()) {
        if (assets.size <= assetsMax) break;
        assets.delete(oldest);
      }
      for (const one of [total, own]) {
        if (source === 'cache') one.hits += 1;
        else one.misses += 1;
        one[`${source}Bytes`] += bytes;
      }
    },
  };
}

function noReads(): AssetStats {
  return { hits: 0, misses: 0, cacheBytes: 0, peerBytes: 0, originBytes: 0 };
}
