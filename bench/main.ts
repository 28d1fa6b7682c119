/** `npm run bench [RUNS]`: measures a mesh of its own; see README.md here. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const root = resolve(import.meta.dirname, '..');
const perigee = join(root, 'scripts/perigee');
const runs = Number(process.argv[2] ?? 3);

interface Figure {
  scenario: string;
  figure: number;
  unit: string;
}

const folder = mkdtempSync(join(tmpdir(), 'perigee-bench-'));
const environment = { ...process.env, PERIGEE_CONFIG: join(folder, 'config.json') };
const up = spawn(perigee, ['up', '--json', '--data', join(folder, 'data')], {
  env: environment,
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  await once(createInterface({ input: up.stdout }), 'line');
  const rows = summarize(await measure());
  process.stderr.write(`${describeRows(rows)}\n`);
  process.stdout.write(`${JSON.stringify({ ...machine(), runs, rows }, null, 2)}\n`);
} finally {
  up.kill('SIGTERM');
  if (up.exitCode === null && up.signalCode === null) await once(up, 'exit');
  rmSync(folder, { recursive: true, force: true });
}

async function measure(): Promise<Figure[]> {
  const script = join(root, 'bench/scenarios.py');
  const client = spawn(perigee, ['python', script, String(runs)], {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const figures: Figure[] = [];
  const ended = once(client, 'close');
  for await (const line of createInterface({ input: client.stdout })) {
    figures.push(JSON.parse(line) as Figure);
  }
  const [code] = (await ended) as [number | null];
  if (code !== 0) throw new Error(`The client ended with ${code}.`);
  return figures;
}

interface Row {
  scenario: string;
  unit: string;
  median: number;
  lowest: number;
  highest: number;
}

function summarize(figures: readonly Figure[]): Row[] {
  return [...Map.groupBy(figures, (figure) => figure.scenario)].map(([scenario, all]) => {
    const sorted = all.map((one) => one.figure).sort((one, other) => one - other);
    return {
      scenario,
      unit: all[0]?.unit ?? '',
      median: sorted[sorted.length >> 1] ?? Number.NaN,
      lowest: sorted[0] ?? Number.NaN,
      highest: sorted.at(-1) ?? Number.NaN,
    };
  });
}

function describeRows(rows: readonly Row[]): string {
  const number = (value: number) =>
    (value < 100 ? value.toFixed(2) : value.toFixed(0)).padStart(10);
  return rows
    .map(
      (row) =>
        `${row.scenario.padEnd(28)}${number(row.median)} ${row.unit}  (${number(row.lowest).trim()} to ${number(row.highest).trim()})`,
    )
    .join('\n');
}

function machine(): Record<string, string | number> {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  });
  return {
    commit: commit.trim(),
    at: new Date().toISOString(),
    processor: cpus()[0]?.model ?? '',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
  };
}
