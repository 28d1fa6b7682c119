import { expect, it } from 'vitest';
import { ownPolicy } from '../sim/fleet/policies.ts';
import { measure, readTable, renderTable, tableSeeds } from '../sim/fleet/write-table.ts';

/** Ours may be so much worse than another rule and still count as no worse. */
const tolerance = 1.06;

it('the fleet does no worse than the other rules, as docs/autoscaling.md shows', {
  timeout: 900_000,
}, () => {
  const rows = measure(tableSeeds);
  expect(readTable()).toBe(renderTable(rows));
  for (const own of rows.filter(({ rule }) => rule === ownPolicy)) {
    for (const other of rows.filter(({ scenario }) => scenario === own.scenario)) {
      const by = `${own.scenario}, beside ${other.rule}`;
      expect(own.makespanSeconds, by).toBeLessThanOrEqual(other.makespanSeconds * tolerance);
      expect(own.spent, by).toBeLessThanOrEqual(other.spent * tolerance);
      expect(own.wastedSeconds, by).toBeLessThanOrEqual(other.wastedSeconds * tolerance);
    }
  }
});
