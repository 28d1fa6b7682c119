/** What a measurement says, and how several of them are told. */

/** One measurement. */
export interface Figure {
  /** `product`, `limit`, or the peer's name. */
  of: string;
  scenario: string;
  figure: number;
  unit: string;
}

/** All measurements of one scenario in one run. */
export interface Row {
  of: string;
  scenario: string;
  unit: string;
  median: number;
  lowest: number;
  highest: number;
  runs: number;
}

/** What a results file holds. */
export interface Results {
  commit: string;
  at: string;
  machine: Record<string, string | number>;
  /** What an acknowledged submission rests on. */
  durability: string;
  rows: Row[];
}

/** One row a scenario, in the order in which they were first measured. */
export function summarize(figures: readonly Figure[]): Row[] {
  const groups = Map.groupBy(figures, ({ of, scenario }) => `${of}\0${scenario}`);
  return [...groups.values()].map((all) => {
    const sorted = all.map(({ figure }) => figure).sort((one, other) => one - other);
    const [first] = all;
    return {
      of: first?.of ?? '',
      scenario: first?.scenario ?? '',
      unit: first?.unit ?? '',
      median: sorted[sorted.length >> 1] ?? Number.NaN,
      lowest: sorted[0] ?? Number.NaN,
      highest: sorted.at(-1) ?? Number.NaN,
      runs: sorted.length,
    };
  });
}

/** The row of a scenario, if it was measured. */
export function findRow(rows: readonly Row[], of: string, scenario: string): Row | undefined {
  return rows.find((row) => row.of === of && row.scenario === scenario);
}

/** A number as people read it: three digits that count. */
export function show(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en-US');
  return Number(value.toPrecision(3)).toString();
}

/** The rows as a table for people. */
export function describeRows(rows: readonly Row[]): string {
  return rows
    .map((row) => {
      const spread = row.runs > 1 ? `  (${show(row.lowest)} to ${show(row.highest)})` : '';
      return `${row.of.padEnd(10)}${row.scenario.padEnd(40)}${show(row.median).padStart(10)} ${row.unit}${spread}`;
    })
    .join('\n');
}
