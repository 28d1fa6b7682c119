/** Ours beside two other rules on the same seeds, as a table; `node test/sim/fleet/write-table.ts [seeds]`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { policies } from './policies.ts';
import type { FleetResult } from './run-fleet.ts';
import { runFleet } from './run-fleet.ts';
import { scenarios } from './scenarios.ts';

export const tableSeeds = 3;
const begin = '<!-- table: node test/sim/fleet/write-table.ts -->\n';
const end = '<!-- end of table -->\n';
export const page = join(import.meta.dirname, '../../../docs/autoscaling.md');

export function makeTable(seeds: number): string {
  const lines = [
    '| scenario | rule | machines | wasted, machine-hours | time to first task | makespan ÷ bound | leaked | busy killed |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
  ];
  for (const scenario of scenarios) {
    for (const [name, create] of Object.entries(policies)) {
      const results = Array.from({ length: seeds }, (_, seed) =>
        runFleet(scenario, seed + 1, create()),
      );
      const mean = (of: (result: FleetResult) => number): number =>
        results.reduce((sum, result) => sum + of(result), 0) / results.length;
      const ratio = mean((one) => one.makespanSeconds / one.boundSeconds).toFixed(2);
      const isDone = results.every(({ done }) => done);
      lines.push(
        `| ${[
          scenario.name,
          name,
          mean(({ machines }) => machines).toFixed(0),
          (mean(({ wastedSeconds }) => wastedSeconds) / 3600).toFixed(2),
          `${mean(({ firstTaskSeconds }) => firstTaskSeconds).toFixed(0)} s`,
          isDone ? ratio : 'not done in 24 h',
          mean(({ leaked }) => leaked).toFixed(1),
          mean(({ busyKilled }) => busyKilled).toFixed(1),
        ].join(' | ')} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** What stands in the page now. */
export function readTable(): string {
  const text = readFileSync(page, 'utf8');
  return text.slice(text.indexOf(begin) + begin.length, text.indexOf(end));
}

if (import.meta.main) {
  const given = process.argv[2];
  const table = makeTable(given === undefined ? tableSeeds : Number(given));
  if (given !== undefined) process.stdout.write(table);
  else {
    const text = readFileSync(page, 'utf8');
    const before = text.slice(0, text.indexOf(begin) + begin.length);
    writeFileSync(page, before + table + text.slice(text.indexOf(end)));
  }
}
