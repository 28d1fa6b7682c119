/** `bench/compare.ts EARLIER.json LATER.json`: each scenario of both, and by how much it changed. */
import { readFileSync } from 'node:fs';
import { findRow, type Results, show } from './figures.ts';

const [earlierPath, laterPath] = process.argv.slice(2);
if (earlierPath === undefined || laterPath === undefined) {
  process.stderr.write('Usage: bench/compare.ts EARLIER.json LATER.json\n');
  process.exit(2);
}
const read = (path: string): Results => JSON.parse(readFileSync(path, 'utf8')) as Results;
const [earlier, later] = [read(earlierPath), read(laterPath)];
process.stdout.write(`${earlier.commit} → ${later.commit}\n`);
for (const row of later.rows) {
  const before = findRow(earlier.rows, row.of, row.scenario);
  if (before === undefined) continue;
  const change = 100 * (row.median / before.median - 1);
  // Where the two spreads overlap nothing can be said.
  const isNoise = row.lowest <= before.highest && before.lowest <= row.highest;
  process.stdout.write(
    `${row.of.padEnd(10)}${row.scenario.padEnd(40)}${show(before.median).padStart(10)} → ${show(row.median).padStart(10)} ${row.unit.padEnd(12)}${change >= 0 ? '+' : ''}${change.toFixed(0)} %${isNoise ? ' (within the spread)' : ''}\n`,
  );
}
