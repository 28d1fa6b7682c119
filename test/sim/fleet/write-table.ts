/** Ours beside two other rules on the same seeds, as a table; `node test/sim/fleet/write-table.ts [seeds]`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { boundFormula } from './bound.ts';
import { ownPolicy, policies } from './policies.ts';
import type { FleetResult } from './run-fleet.ts';
import { runFleet } from './run-fleet.ts';
import { scenarios } from './scenarios.ts';

export const tableSeeds = 5;
const begin = '<!-- table: node test/sim/fleet/write-table.ts -->\n';
const end = '<!-- end of table -->\n';
export const page = join(import.meta.dirname, '../../../docs/autoscaling.md');

/** Means over all seeds of one rule in one scenario. */
export interface Measured {
  scenario: string;
  rule: string;
  isDone: boolean;
  doneShare: number;
  machines: number;
  wastedSeconds: number;
  firstTaskSeconds: number;
  makespanSeconds: number;
  byBound: number;
  spent: number;
  leaked: number;
  busyKilled: number;
}

export function measure(seeds: number): Measured[] {
  return scenarios.flatMap((scenario) =>
    Object.entries(policies)
      // The other rules know no caps and no spares.
      .filter(([rule]) => scenario.pool === undefined || rule === ownPolicy)
      .map(([rule, create]) => {
        const results = Array.from({ length: seeds }, (_, seed) =>
          runFleet(scenario, seed + 1, create()),
        );
        const mean = (of: (result: FleetResult) => number): number =>
          results.reduce((sum, result) => sum + of(result), 0) / results.length;
        return {
          scenario: scenario.name,
          rule,
          isDone: results.every(({ done }) => done),
          doneShare: mean(({ doneShare }) => doneShare),
          machines: mean(({ machines }) => machines),
          wastedSeconds: mean(({ wastedSeconds }) => wastedSeconds),
          firstTaskSeconds: mean(({ firstTaskSeconds }) => firstTaskSeconds),
          makespanSeconds: mean(({ makespanSeconds }) => makespanSeconds),
          byBound: mean((one) => one.makespanSeconds / one.boundSeconds),
          spent: mean(({ spent }) => spent),
          leaked: mean(({ leaked }) => leaked),
          busyKilled: mean(({ busyKilled }) => busyKilled),
        };
      }),
  );
}

export function renderTable(rows: readonly Measured[]): string {
  const lines = [
    `Bound = ${boundFormula}.`,
    '',
    '| scenario | rule | machines | wasted, machine-hours | time to first task | makespan ÷ bound | cost | leaked | busy killed |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(
      (row) =>
        `| ${[
          row.scenario,
          row.rule,
          row.machines.toFixed(0),
          (row.wastedSeconds / 3600).toFixed(2),
          `${row.firstTaskSeconds.toFixed(0)} s`,
          row.isDone
            ? row.byBound.toFixed(2)
            : `stopped at its cap, ${(100 * row.doneShare).toFixed(0)} % done`,
          `$${row.spent.toFixed(2)}`,
          row.leaked.toFixed(1),
          row.busyKilled.toFixed(1),
        ].join(' | ')} |`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}

/** What stands in the page now. */
export function readTable(): string {
  const text = readFileSync(page, 'utf8');
  return text.slice(text.indexOf(begin) + begin.length, text.indexOf(end));
}

if (import.meta.main) {
  const given = process.argv[2];
  const table = renderTable(measure(given === undefined ? tableSeeds : Number(given)));
  if (given !== undefined) process.stdout.write(table);
  else {
    const text = readFileSync(page, 'utf8');
    const before = text.slice(0, text.indexOf(begin) + begin.length);
    writeFileSync(page, before + table + text.slice(text.indexOf(end)));
  }
}
