/**
 * The cache of a node: looks on its disk, then asks whoever is nearer than the origin, then the
 * origin. A full disk makes it slower, for nothing is kept then, but never fails a read.
 */
import { createHash } from 'node:crypto';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { assetId, canonicalUri } from '../../protocol/net/asset-id.ts';
import type { AssetId, NamespaceName } from '../../protocol/wire/ids.ts';
import {
  blockCount,
  blocksOfRange,
  clampRange,
  joinNeighbours,
  overlap,
  rangeOfBlock,
  shapeOf,
  splitRange,
} from './block-plan.ts';
import type { AssetMeta } from './block-store.ts';
import { createBlockStore } from './block-store.ts';
import { createFlights } from './flights.ts';
import type { HeldAsset, HeldDeps } from './held-pieces.ts';
import { createHeldPieces } from './held-pieces.ts';
import { makeBlockHolder } from './make-block-holder.ts';
import { createOriginLooks } from './origin-looks.ts';
import type { Origins } from './origins/create-origins.ts';
import { isOneLook } from './origins/port.ts';
import type { BlockHolder, BlockPeers, PeerAsset, PeerBlock } from './peers/port.ts';
import type { AssetRequest, AssetVersion, ByteRange, ImageryCache, WholeAsset } from './port.ts';
import { noRoom } from './port.ts';
import type { ReadSource } from './read-counts.ts';
import { createReadCounts } from './read-counts.ts';
import { shareRun } from './share-run.ts';

export interface ImagerySettings {
  folder: string;
  bytesMax: number;
  diskFreeBytesMin: number;
  /** Assets up to this are one block, fetched and kept whole. */
  wholeAssetBytesMax: number;
  /** How long what the origin said of an asset is taken to hold. */
  freshMs: number;
}

export interface ImageryDeps extends Partial<Pick<HeldDeps, 'onChanged'>> {
  origins: Origins;
  now(): number;
  warn(message: string): void;
  /** Nodes that may have a block before the origin is asked. */
  peers?: (holder: BlockHolder) => BlockPeers;
}

/** A block in memory, on its way to those who asked and to the disk. */
interface ArrivedBlock {
  bytes: Uint8Array;
  source: ReadSource;
}

/** Blocks that one read brings at a time: what they hold in memory is bounded by it. */
const blocksAtOnce = 8;
/** Assets for which this node fetches on behalf of others; the ones read last. */
const enteredMax = 10_000;

/** A cache on a folder; `start` it before use. */
export function createImageryCache(deps: ImageryDeps, settings: ImagerySettings): ImageryCache {
  const { origins } = deps;
  const store = createBlockStore(settings.folder);
  const held = createHeldPieces(
    {
      warn: deps.warn,
      store,
      onChanged(asset) {
        if (!isOneLook(asset.meta.version)) deps.onChanged?.(asset);
      },
    },
    settings,
  );
  const counts = createReadCounts();
  const looks = createOriginLooks(origins, { now: deps.now, freshMs: settings.freshMs });
  const arrivals = createFlights<ArrivedBlock>();
  const wholes = createFlights<void>();

  /** Assets that somebody here reads, for whom peers may ask: with a namespace that may read them. */
  const entered = new Map<string, { asset: HeldAsset; namespace: NamespaceName }>();
  /** Blocks that are just coming from a peer: another peer must not be made to wait for them. */
  const viaPeer = new Set<string>();
  const peers = deps.peers?.(
    makeBlockHolder({
      held,
      arrivals,
      entered,
      viaPeer,
      bring: (asset, indexes, options) => bring(asset, indexes, options),
      readHeld: (asset, index, range) => readHeld(asset, index, range),
    }),
  );

  /** Nobody, where other nodes cannot know whether they have the same. */
  const peersOf = (asset: HeldAsset): BlockPeers | undefined =>
    isOneLook(asset.meta.version) ? undefined : peers;

  const enter = (version: AssetVersion, namespace: NamespaceName): HeldAsset => {
    const scope = origins.scopeOf({ uri: version.uri, namespace });
    const { blockBytes } = shapeOf(version.sizeBytes, settings.wholeAssetBytesMax);
    const meta: AssetMeta = {
      scope,
      uri: version.uri,
      version: version.version,
      sizeBytes: version.sizeBytes,
      blockBytes,
    };
    const key = createHash('sha256').update(Object.values(meta).join('\0')).digest('hex');
    const asset = held.enter(key, meta);
    if (peersOf(asset) !== undefined) {
      entered.delete(key);
      entered.set(key, { asset, namespace });
      for (const oldest of entered.keys()) {
        if (entered.size <= enteredMax) break;
        entered.delete(oldest);
      }
    }
    return asset;
  };

  const fetchRun = async (
    asset: HeldAsset,
    work: { range: ByteRange; namespace: NamespaceName; signal: AbortSignal },
  ): Promise<Uint8Array> => {
    const { uri, version, sizeBytes } = asset.meta;
    const request = { uri, namespace: work.namespace };
    // No range header can ask for nothing.
    if (work.range.length === 0) return new Uint8Array();
    const parts = await Promise.all(
      splitRange(work.range).map((range) =>
        origins.read(request, { range, version, sizeBytes, signal: work.signal }),
      ),
    );
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
  };

  /** Brings blocks that are not held, each once for all who ask, neighbours in one request. */
  const bring = (
    asset: HeldAsset,
    indexes: readonly number[],
    options: { namespace: NamespaceName; signal: AbortSignal; mayAskOwner?: boolean },
  ): Promise<ArrivedBlock>[] => {
    const fresh = indexes.filter((index) => !arrivals.has(`${asset.key}/${index}`));
    const runs = new Map<number, (index: number, signal: AbortSignal) => Promise<Uint8Array>>();
    const together =
      peersOf(asset)?.hasMembers(asset.key) === true
        ? fresh.map((index) => [index])
        : joinNeighbours(asset.meta, fresh);
    for (const run of together) {
      const share = shareRun(asset.meta, run, (range, signal) =>
        fetchRun(asset, { range, namespace: options.namespace, signal }),
      );
      for (const index of run) runs.set(index, share);
    }
    return indexes.map((index) =>
      arrivals.join(
        `${asset.key}/${index}`,
        async (signal) => {
          const fetchOne = runs.get(index);
          if (fetchOne === undefined) throw new Error('A flight ended before it was joined.');
          const arrived = await bringOne(asset, index, {
            signal,
            mayAskOwner: options.mayAskOwner !== false,
            fromOrigin: (ended) => fetchOne(index, ended),
          });
          await held
            .keep(asset, { index, sum: arrived.sum }, arrived.bytes)
            .catch((caught: unknown) => {
              deps.warn(`A block could not be kept: ${toError(caught).message}`);
            });
          return arrived;
        },
        options.signal,
      ),
    );
  };

  /** From a peer when one has it or is to fetch it, else from the origin; from both when it is slow. */
  const bringOne = async (
    asset: HeldAsset,
    index: number,
    options: {
      signal: AbortSignal;
      mayAskOwner: boolean;
      fromOrigin(signal: AbortSignal): Promise<Uint8Array>;
    },
  ): Promise<PeerBlock> => {
    const others = peersOf(asset);
    const fromOrigin = async (signal: AbortSignal): Promise<PeerBlock> => {
      const bytes = await options.fromOrigin(signal);
      const sum = createHash('sha256').update(bytes).digest('hex');
      others?.settle(asset.key, index, sum);
      return { bytes, sum, source: 'origin' };
    };
    if (others === undefined) return fromOrigin(options.signal);
    const name = `${asset.key}/${index}`;
    const found = await others
      .fetch(peerAssetOf(asset), index, {
        signal: options.signal,
        mayAskOwner: options.mayAskOwner,
        onAsked: () => viaPeer.add(name),
        onGivenUp: () => viaPeer.delete(name),
        fromOrigin,
        check: async (range, signal) => {
          const one = entered.get(asset.key);
          if (one === undefined) return undefined;
          return fetchRun(asset, { range, namespace: one.namespace, signal });
        },
      })
      .finally(() => viaPeer.delete(name));
    return found ?? fromOrigin(options.signal);
  };

  /** A part of a block from the disk; undefined when it is not there. */
  const readHeld = async (
    asset: HeldAsset,
    index: number,
    range: ByteRange,
  ): Promise<Uint8Array | undefined> => {
    for (const name of [index, 'whole'] as const) {
      const piece = await held.use(asset, name);
      if (piece === undefined) continue;
      const start = name === 'whole' ? 0 : index * asset.meta.blockBytes;
      const inPiece = { offset: range.offset - start, length: range.length };
      try {
        return await store.read(asset.key, piece, inPiece);
      } catch (caught) {
        deps.warn(`A cached piece could not be read: ${toError(caught).message}`);
        await held.drop(asset, piece);
      } finally {
        held.leave(piece);
      }
    }
    return undefined;
  };

  const readRange = async (
    asset: HeldAsset,
    given: ByteRange,
    options: { namespace: NamespaceName; signal: AbortSignal },
  ): Promise<Uint8Array> => {
    const range = clampRange(asset.meta, given);
    const id = assetId(asset.meta.uri);
    const output = Buffer.allocUnsafe(range.length);
    const indexes = blocksOfRange(asset.meta, range);
    for (let at = 0; at < indexes.length; at += blocksAtOnce) {
      options.signal.throwIfAborted();
      const some = indexes.slice(at, at + blocksAtOnce);
      const missing: number[] = [];
      await Promise.all(
        some.map(async (index) => {
          const part = overlap(rangeOfBlock(asset.meta, index), range);
          const bytes = await readHeld(asset, index, part);
          if (bytes === undefined) missing.push(index);
          else {
            output.set(bytes, part.offset - range.offset);
            counts.count(id, 'cache', part.length);
          }
        }),
      );
      missing.sort((one, other) => one - other);
      if (missing.length > 0) await peersOf(asset)?.enter(peerAssetOf(asset), options.signal);
      const arriving = bring(asset, missing, options);
      // All are waited for: one that fails must not leave others without a listener.
      const settled = await Promise.allSettled(arriving);
      for (const [place, result] of settled.entries()) {
        if (result.status === 'rejected') throw result.reason;
        const index = missing[place] ?? 0;
        const block = rangeOfBlock(asset.meta, index);
        const part = overlap(block, range);
        const from = part.offset - block.offset;
        output.set(
          result.value.bytes.subarray(from, from + part.length),
          part.offset - range.offset,
        );
        counts.count(id, result.value.source, part.length);
      }
    }
    return output;
  };

  /** Runs a read and, when the source changed, forgets what was known and kept of it. */
  const guard = async <Value>(asset: HeldAsset, act: () => Promise<Value>): Promise<Value> => {
    try {
      return await act();
    } catch (caught) {
      if (caught instanceof PerigeeError && caught.code === 'asset_changed') {
        looks.forget(asset.meta.scope, asset.meta.uri);
        await held.dropAsset(asset);
      }
      throw caught;
    }
  };

  const stat = async (request: AssetRequest, signal: AbortSignal): Promise<AssetVersion> => {
    const uri = canonicalUri(request.uri);
    const found = await looks.look({ ...request, uri }, signal);
    return { asset: assetId(uri), uri, ...found };
  };

  const bringAll = async (
    asset: HeldAsset,
    wanted: ReadonlySet<number>,
    options: { namespace: NamespaceName; signal: AbortSignal },
  ): Promise<void> => {
    const now = held.assets.get(asset.key);
    const missing = [...wanted]
      .filter((index) => now?.pieces.has(index) !== true && now?.pieces.has('whole') !== true)
      .sort((one, other) => one - other);
    const id: AssetId = assetId(asset.meta.uri);
    if (missing.length > 0) await peersOf(asset)?.enter(peerAssetOf(asset), options.signal);
    for (let at = 0; at < missing.length; at += blocksAtOnce) {
      const settled = await Promise.allSettled(
        bring(asset, missing.slice(at, at + blocksAtOnce), options),
      );
      for (const result of settled) {
        if (result.status === 'rejected') throw result.reason;
        counts.count(id, result.value.source, result.value.bytes.length);
      }
    }
  };

  const openPiece = async (
    asset: HeldAsset,
    options: { namespace: NamespaceName; signal: AbortSignal },
  ): Promise<string | undefined> => {
    const isOneBlock = blockCount(asset.meta) === 1;
    const index = isOneBlock ? 0 : 'whole';
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      const piece = await held.use(asset, index);
      if (piece !== undefined) {
        // After it was brought it has been counted as what it was.
        if (attempt === 1) counts.count(assetId(asset.meta.uri), 'cache', piece.bytes);
        return store.pathOf(asset.key, piece);
      }
      // By its number: the only block of an empty file lies in no range.
      if (isOneBlock) await bringAll(asset, new Set([0]), options);
      else {
        const join = (signal: AbortSignal): Promise<void> =>
          assemble(asset, { namespace: options.namespace, signal });
        await wholes.join(asset.key, join, options.signal);
      }
    }
    return undefined;
  };
  const assemble = async (
    asset: HeldAsset,
    options: { namespace: NamespaceName; signal: AbortSignal },
  ): Promise<void> => {
    const length = asset.meta.blockBytes * blocksAtOnce;
    let failure: unknown;
    async function* parts(): AsyncGenerator<Uint8Array> {
      try {
        for (let offset = 0; offset < asset.meta.sizeBytes; offset += length) {
          yield await readRange(asset, { offset, length }, options);
        }
      } catch (caught) {
        failure = caught;
        throw caught;
      }
    }
    const piece = await held.keepWhole(asset, parts);
    if (failure !== undefined) throw failure;
    if (piece !== undefined) held.leave(piece);
  };

  return {
    stat,
    async openWhole(request, signal): Promise<WholeAsset> {
      const version = await stat(request, signal);
      const asset = enter(version, request.namespace);
      const options = { namespace: request.namespace, signal };
      const path = await guard(asset, () => openPiece(asset, options));
      if (path === undefined) {
        throw new PerigeeError(
          'asset_unreachable',
          `${version.uri} has ${version.sizeBytes} bytes, for which the node’s imagery cache has no room.`,
          {
            fix: 'Read windows of it with imagery.read, or give the node a larger cache.',
            details: { [noRoom]: true },
          },
        );
      }
      const index = blockCount(asset.meta) === 1 ? 0 : 'whole';
      const piece = held.assets.get(asset.key)?.pieces.get(index);
      let released = false;
      return {
        version,
        path,
        release() {
          if (released || piece === undefined) return;
          released = true;
          held.leave(piece);
        },
      };
    },
    async read(version, range, options) {
      const asset = enter(version, options.namespace);
      return guard(asset, () => readRange(asset, range, options));
    },
    async prefetch(request, ranges, signal) {
      const version = await stat(request, signal);
      const asset = enter(version, request.namespace);
      const wanted = ranges ?? [{ offset: 0, length: version.sizeBytes }];
      const blocks = new Set(
        wanted.flatMap((range) => blocksOfRange(asset.meta, clampRange(asset.meta, range))),
      );
      const options = { namespace: request.namespace, signal };
      await guard(asset, () => bringAll(asset, blocks, options));
    },
    stats(options) {
      return {
        ...counts.total,
        heldBytes: held.bytes,
        heldAssets: held.assets.size,
        peersDropped: peers?.dropped ?? 0,
        assets: options?.assets === true ? new Map(counts.assets) : new Map(),
      };
    },
    async start() {
      await held.load();
      await peers?.start();
    },
    async stop() {
      await peers?.stop();
      await Promise.all([looks.close(), arrivals.close(), wholes.close()]);
      origins.close();
    },
  };
}

function peerAssetOf(asset: HeldAsset): PeerAsset {
  return {
    key: asset.key,
    asset: assetId(asset.meta.uri),
    shape: asset.meta,
    scope: asset.meta.scope,
  };
}
