/** What a measurement says, and how several of them are told. */

/** One measurement. */
export interface Figure {
  /** `product`, `limit`, or the peer's name. */
  of: string;
  scenario: string;
  figure: number;
  unit: string;
  /** Tasks of this measurement, and the processor time that each role used for them, in ms. */
  tasks?: number;
  cpuMs?: Record<string, number>;
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
  /** Microseconds of processor time per task by role, over all runs: the share of each hop. */
  cpuMicrosecondsPerTask?: Record<string, number>;
}

/** What a results file holds. */
export interface Results {
  commit: string;
  at: string;
  machine: Record<string, string | number>;
  /** What an acknowledged submission rests on. */
  durability: string;
  rows: Row[];
  /** The cores alone under the simulator's clock. */
  growth?: GrowthPoint[];
}

/** What one decision costs at one size of a mesh. */
export interface GrowthPoint {
  nodes: number;
  tasks: number;
  decisionsPerSecond: number;
  microsecondsPerDecision: number;
  /** Of one call that comes while every place is taken. */
  microsecondsPerCall: number;
  /** Of one node that comes back in a new session. */
  microsecondsPerReconnect: number;
  /** Heap in use at the end, of the core and the twin of the store. */
  heapBytes: number;
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
      median: medianOf(sorted),
      lowest: sorted[0] ?? Number.NaN,
      highest: sorted.at(-1) ?? Number.NaN,
      runs: sorted.length,
      ...cpuOf(all),
    };
  });
}

/** Of two runs their mean: the better of them would flatter whoever has more to win by it. */
function medianOf(sorted: readonly number[]): number {
  const upper = sorted[sorted.length >> 1] ?? Number.NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
  return (lower + upper) / 2;
}

function cpuOf(figures: readonly Figure[]): Pick<Row, 'cpuMicrosecondsPerTask'> {
  const perTask: Record<string, number> = {};
  let tasks = 0;
  for (const figure of figures) {
    tasks += figure.tasks ?? 0;
    for (const [role, ms] of Object.entries(figure.cpuMs ?? {})) {
      perTask[role] = (perTask[role] ?? 0) + ms * 1_000;
    }
  }
  if (tasks === 0) return {};
  for (const [role, all] of Object.entries(perTask)) {
    perTask[role] = Math.round((10 * all) / tasks) / 10;
    // What did nothing is left out.
    if (perTask[role] === 0) delete perTask[role];
  }
  return { cpuMicrosecondsPerTask: perTask };
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

/** Who used the processor, in µs per task. */
export function describeCpu(row: Row): string {
  const entries = Object.entries(row.cpuMicrosecondsPerTask ?? {});
  if (entries.length === 0) return '';
  const all = entries.reduce((sum, [, each]) => sum + each, 0);
  const shares = entries.map(([role, each]) => `${role} ${((100 * each) / all).toFixed(0)} %`);
  return `  ${show(all)} µs of processor a task: ${shares.join(', ')}`;
}

/** The rows as a table for people. */
export function describeRows(rows: readonly Row[]): string {
  return rows
    .map((row) => {
      const spread = row.runs > 1 ? `  (${show(row.lowest)} to ${show(row.highest)})` : '';
      return `${row.of.padEnd(10)}${row.scenario.padEnd(40)}${show(row.median).padStart(10)} ${row.unit}${spread}${describeCpu(row)}`;
    })
    .join('\n');
}
