import { describe, expect, it } from 'vitest';
import { runImagePlacement } from './image-placement.ts';

const median = (waits: readonly number[]): number => waits[waits.length >> 1] ?? Number.NaN;

describe('placement by images', () => {
  it.each([0.2, 0.7])(
    'with one node in sixteen that has it, at load %d, waits at most twice as long as with all',
    (load) => {
      for (const seed of [1, 2, 3]) {
        const all = runImagePlacement(seed, { holders: 16, load });
        const one = runImagePlacement(seed, { holders: 1, load });
        process.stdout.write(
          `load ${load}, seed ${seed}: median wait ${median(one).toFixed(1)} ms, all have it ` +
            `${median(all).toFixed(1)} ms; longest ${one.at(-1)?.toFixed(0)} ms of ${one.length} tasks\n`,
        );
        expect(one.length).toBeGreaterThan(2_000);
        expect(median(one)).toBeLessThanOrEqual(2 * median(all));
        // The first wait for the fetch, and for the while in which the one node is preferred.
        expect(one.at(-1)).toBeLessThan(15_000);
      }
    },
    60_000,
  );
});
