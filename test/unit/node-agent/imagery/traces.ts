/** A skewed trace of blocks with one-off scans, and what policies keep of it; the bench uses it too. */
import { createEviction } from '../../../../node-agent/imagery/eviction.ts';
import { nextBelow, nextFloat, seedRandom } from '../../../../protocol/base/random.ts';

/** Scenes by Zipf's law, a few neighbouring blocks each time; one read in ten scans a fresh scene. */
export function makeTrace(seed: number): string[] {
  const random = seedRandom(seed);
  const scenes = 2_000;
  const weights = Array.from({ length: scenes }, (_, at) => 1 / (at + 1) ** 0.9);
  const sums: number[] = [];
  let sum = 0;
  for (const weight of weights) {
    sum += weight;
    sums.push(sum);
  }
  const trace: string[] = [];
  for (let read = 0; trace.length < 100_000; read += 1) {
    if (nextFloat(random) < 0.1) {
      for (let block = 0; block < 32; block += 1) trace.push(`scan${read}/${block}`);
      continue;
    }
    const wanted = nextFloat(random) * sum;
    const scene = sums.findIndex((upTo) => upTo >= wanted);
    const first = nextBelow(random, 28);
    for (let block = first; block < first + 4; block += 1) trace.push(`${scene}/${block}`);
  }
  return trace;
}

export function hitRateOfPolicy(trace: readonly string[], count: number): number {
  const eviction = createEviction(count);
  const held = new Set<string>();
  let hits = 0;
  for (const id of trace) {
    if (held.has(id)) {
      hits += 1;
      eviction.touch(id);
      continue;
    }
    while (held.size >= count) held.delete(eviction.takeVictim(() => false) ?? '');
    held.add(id);
    eviction.add(id, 1);
  }
  return hits / trace.length;
}

export function hitRateOfLru(trace: readonly string[], count: number): number {
  const held = new Set<string>();
  let hits = 0;
  for (const id of trace) {
    if (held.delete(id)) hits += 1;
    held.add(id);
    if (held.size > count) {
      const [oldest = ''] = held;
      held.delete(oldest);
    }
  }
  return hits / trace.length;
}
