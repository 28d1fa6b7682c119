import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

// The tests that are too slow for `npm test`; `.ci/run` runs them, one file at a time.
export default defineConfig({
  test: {
    root: resolve(import.meta.dirname, '../..'),
    include: ['test/slow/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    // Of the tests that are side by side in a file: most of them wait most of the time.
    maxConcurrency: 3,
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
