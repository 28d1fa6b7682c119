/** The cache as other nodes see it: what it holds, what is coming, and fetching on their behalf. */
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import { blockCount, rangeOfBlock } from './block-plan.ts';
import type { Flights } from './flights.ts';
import type { HeldAsset, HeldPieces } from './held-pieces.ts';
import type { BlockHolder } from './peers/port.ts';
import type { ByteRange } from './port.ts';

export interface BlockHolderDeps {
  held: HeldPieces;
  arrivals: Pick<Flights<unknown>, 'has'>;
  /** Assets that somebody here reads, with a namespace that may read them. */
  entered: ReadonlyMap<string, { asset: HeldAsset; namespace: NamespaceName }>;
  /** Blocks that are just coming from a peer: another peer must not be made to wait for them. */
  viaPeer: ReadonlySet<string>;
  bring(
    asset: HeldAsset,
    indexes: readonly number[],
    options: { namespace: NamespaceName; signal: AbortSignal; mayAskOwner: boolean },
  ): Promise<{ bytes: Uint8Array }>[];
  readHeld(asset: HeldAsset, index: number, range: ByteRange): Promise<Uint8Array | undefined>;
}

export function makeBlockHolder(cache: BlockHolderDeps): BlockHolder {
  return {
    findSum: (key, index) => cache.held.assets.get(key)?.pieces.get(index)?.sum,
    listHeld(key) {
      const asset = cache.held.assets.get(key);
      return [...(asset?.pieces.values() ?? [])].flatMap(({ index, sum }) =>
        index === 'whole' ? [] : [{ index, sum }],
      );
    },
    listComing(key) {
      const one = cache.entered.get(key);
      if (one === undefined) return [];
      return Array.from({ length: blockCount(one.asset.meta) }, (_, index) => index).filter(
        (index) => cache.arrivals.has(`${key}/${index}`) && !cache.viaPeer.has(`${key}/${index}`),
      );
    },
    scopeOf: (key) => (cache.held.assets.get(key) ?? cache.entered.get(key)?.asset)?.meta.scope,
    async read(key, index) {
      const asset = cache.held.assets.get(key);
      if (asset === undefined || index >= blockCount(asset.meta)) return undefined;
      return cache.readHeld(asset, index, rangeOfBlock(asset.meta, index));
    },
    isComing: (key, index) =>
      cache.arrivals.has(`${key}/${index}`) && !cache.viaPeer.has(`${key}/${index}`),
    mayFetch: (key, index) => cache.entered.has(key) && !cache.viaPeer.has(`${key}/${index}`),
    async fetch(key, index, signal) {
      const one = cache.entered.get(key);
      if (one === undefined || index >= blockCount(one.asset.meta)) return undefined;
      const options = { namespace: one.namespace, signal, mayAskOwner: false };
      const [arrived] = await Promise.all(cache.bring(one.asset, [index], options));
      return arrived?.bytes;
    },
    async discard(key, index) {
      const asset = cache.held.assets.get(key);
      const piece = asset?.pieces.get(index);
      if (asset !== undefined && piece !== undefined) await cache.held.drop(asset, piece);
    },
  };
}
