import { getHeapStatistics } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { collectForLastResort } from '../../../../protocol/net/collect-buffers.ts';
import { createHeapShrinker } from '../../../../protocol/net/shrink-heap.ts';

const mib = 1024 * 1024;

function heapOf(usedBytes: number, totalBytes: number) {
  const heap = { used_heap_size: usedBytes, total_heap_size: totalBytes, collected: 0 };
  const shrink = createHeapShrinker({
    measure: () => heap,
    collect() {
      heap.collected += 1;
      heap.total_heap_size = heap.used_heap_size;
    },
  });
  return { heap, shrink };
}

describe('a heap shrinker', () => {
  it('collects once, and again when the heap has grown by enough', () => {
    const { heap, shrink } = heapOf(20 * mib, 60 * mib);
    expect(shrink()).toBe(true);
    expect(shrink()).toBe(false);
    heap.total_heap_size = 35 * mib;
    expect(shrink()).toBe(false);
    heap.total_heap_size = 37 * mib;
    expect(shrink()).toBe(true);
    expect(heap.collected).toBe(2);
  });

  it('leaves a heap alone whose collection would take too long', () => {
    const { heap, shrink } = heapOf(300 * mib, 600 * mib);
    expect(shrink()).toBe(false);
    expect(heap.collected).toBe(0);
  });

  it('really gives room back', () => {
    let garbage: string[][] | undefined = Array.from({ length: 20_000 }, (_, one) =>
      Array.from({ length: 100 }, (_, other) => `${one} ${other}`),
    );
    const grown = getHeapStatistics().total_heap_size;
    expect(garbage.length).toBe(20_000);
    garbage = undefined;
    collectForLastResort();
    expect(getHeapStatistics().total_heap_size).toBeLessThan(grown - 16 * mib);
  });
});
