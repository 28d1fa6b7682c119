/** Blocks of arguments near at hand for grants: the latest used, within a bound of bytes. */
import { assert } from '../../protocol/base/assert.ts';
import { indexBlock, sliceBlock } from '../../protocol/wire/block.ts';
import type { BatchNumber } from '../../protocol/wire/ids.ts';
import type { Store } from '../store/port.ts';

interface CachedBlock {
  block: Uint8Array;
  offsets: Uint32Array;
}

/** A run of tasks of a batch. */
export interface BlockRun {
  batch: BatchNumber;
  lo: number;
  count: number;
}

export interface BlockCache {
  /** Remembers a block that is on disk by now. */
  keep(batch: BatchNumber, count: number, block: Uint8Array): void;
  /** The payloads of a run, when the block is at hand. */
  find(run: BlockRun): Uint8Array | undefined;
  /** The payloads of a run, from the store when they must. */
  get(run: BlockRun): Promise<Uint8Array>;
}

/** An empty cache; `bytesMax` bounds it, but for the one block that is in use. */
export function createBlockCache(
  store: Pick<Store, 'findBatch' | 'getBlock'>,
  bytesMax: number,
): BlockCache {
  // In order of use: the first is dropped first.
  const blocks = new Map<BatchNumber, CachedBlock>();
  let bytes = 0;
  const add = (batch: BatchNumber, cached: CachedBlock): void => {
    const old = blocks.get(batch);
    if (old !== undefined) {
      blocks.delete(batch);
      bytes -= sizeOf(old);
    }
    blocks.set(batch, cached);
    bytes += sizeOf(cached);
    for (const [oldest, { block, offsets }] of blocks) {
      if (bytes <= bytesMax || oldest === batch) break;
      blocks.delete(oldest);
      bytes -= sizeOf({ block, offsets });
    }
  };
  const find = (run: BlockRun): Uint8Array | undefined => {
    const cached = blocks.get(run.batch);
    if (cached === undefined) return undefined;
    // Used last now.
    blocks.delete(run.batch);
    blocks.set(run.batch, cached);
    return sliceBlock(cached.block, cached.offsets, run);
  };
  return {
    keep: (batch, count, block) => add(batch, { block, offsets: indexBlock(block, count) }),
    find,
    async get(run) {
      const at = find(run);
      if (at !== undefined) return at;
      const batch = await readBlock(store, run.batch);
      add(run.batch, batch);
      return sliceBlock(batch.block, batch.offsets, run);
    },
  };
}

async function readBlock(
  store: Pick<Store, 'findBatch' | 'getBlock'>,
  number: BatchNumber,
): Promise<CachedBlock> {
  const batch = await store.findBatch(number);
  assert(batch !== undefined, `a grant of batch ${number}, which is not in the store`);
  const block = await store.getBlock(number);
  return { block, offsets: indexBlock(block, batch.count) };
}

function sizeOf(cached: CachedBlock): number {
  return cached.block.length + cached.offsets.byteLength;
}
