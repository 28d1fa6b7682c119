import { expect, it } from 'vitest';
import { makeTable, readTable, tableSeeds } from '../sim/fleet/write-table.ts';

it('docs/autoscaling.md shows what the simulation measures', { timeout: 600_000 }, () => {
  expect(readTable()).toBe(makeTable(tableSeeds));
});
