/**
 * Bounds what passing bytes leave behind. Each byte of a transfer is copied three or four times on its
 * way through libp2p, into buffers that are dead a moment later; V8 by itself sweeps them up when
 * some 64 MB of them have come together. Measured with 500 MB: a sender grows by 15 MB, not by 67.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { heapGrowthBytes, passedBytesMax, quietMsMax } from './limits.ts';

type Collect = (options: { type: 'minor' | 'major'; flavor?: 'last-resort' }) => void;

let passedBytes = 0;
let found: Collect | undefined;
let quiet: NodeJS.Timeout | undefined;

/** Counts bytes that any transfer has passed on, and collects young buffers now and then: about 1 ms. */
export function countPassedBytes(bytes: number): void {
  passedBytes += bytes;
  if (passedBytes < passedBytesMax) return;
  passedBytes = 0;
  findCollect()({ type: 'minor' });
  if (quiet === undefined) allowGrowth();
  else quiet.refresh();
}

/**
 * V8 counts living buffers outside the heap as growth of the heap, and marks all of it when that has
 * grown by a third: for a heap of 20 MB every 7 MB of results in hand, at 30 ms each, which was half of
 * an agent's work. While bytes pass, a small heap may grow by more before it is marked.
 */
function allowGrowth(): void {
  const live = getHeapStatistics().used_heap_size;
  const percent = Math.floor((100 * heapGrowthBytes) / live);
  // A large heap grows by as much anyway.
  if (percent >= 100) setFlagsFromString(`--heap-growing-percent=${percent}`);
  quiet = setTimeout(() => {
    quiet = undefined;
    setFlagsFromString('--heap-growing-percent=0');
  }, quietMsMax).unref();
}

/**
 * Collects all garbage, also the cipher of each noise frame, which no minor collection frees and which
 * keeps the memory around it from going back to the system. Takes some 25 ms with an agent's heap, and
 * far more with a coordinator's: not for one.
 */
export function collectAll(): void {
  findCollect()({ type: 'major' });
}

/** Collects again and again until nothing more goes, and gives free pages back to the system. */
export function collectForLastResort(): void {
  findCollect()({ type: 'major', flavor: 'last-resort' });
}

/** Node shows it in contexts that are made while the flag is set, and nowhere else. */
function findCollect(): Collect {
  if (found === undefined) {
    setFlagsFromString('--expose-gc');
    found = runInNewContext('gc') as Collect;
    setFlagsFromString('--no-expose-gc');
  }
  return found;
}
