/** Neighbouring blocks that are wanted one by one and fetched together. */
import { rangeOfBlock } from './block-plan.ts';
import type { AssetMeta } from './block-store.ts';
import { whenAllAborted } from './flights.ts';
import type { ByteRange } from './port.ts';

/** One request for a run of blocks, made when the first is asked for, given up when all are. */
export function shareRun(
  meta: AssetMeta,
  run: readonly number[],
  fetch: (range: ByteRange, signal: AbortSignal) => Promise<Uint8Array>,
): (index: number, signal: AbortSignal) => Promise<Uint8Array> {
  const first = run[0] ?? 0;
  const start = rangeOfBlock(meta, first).offset;
  const last = rangeOfBlock(meta, run.at(-1) ?? 0);
  const range = { offset: start, length: last.offset + last.length - start };
  const signals: AbortSignal[] = [];
  let work: Promise<Uint8Array> | undefined;
  return async (index, signal) => {
    signals.push(signal);
    // The blocks of a run are asked for in one turn: by the next one their signals are all here.
    work ??= Promise.resolve().then(() => fetch(range, whenAllAborted(signals)));
    const bytes = await work;
    const own = rangeOfBlock(meta, index);
    return bytes.subarray(own.offset - start, own.offset - start + own.length);
  };
}
