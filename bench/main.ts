/**
 * `npm run bench -- [all | peers | growth] [SCENARIO …] [--runs N] [--short] [--out FILE]`: measures
 * meshes of its own; see README.md here.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import type { Figure, Results } from './figures.ts';
import { describeRows, summarize } from './figures.ts';
import { measureGrowth } from './growth.ts';
import { measureImageryCache } from './imagery-cache.ts';
import { measureImageryTasks } from './imagery-task.ts';
import { measureLimits } from './limits/measure.ts';
import { describePeers } from './peers/describe.ts';
import { measurePeers } from './peers/measure.ts';
import { measureScenario, type ScenarioName, scenarioNames } from './product/measure.ts';
import { checkout } from './product/mesh.ts';
import { writeReport } from './report/write-report.ts';

const usage = `npm run bench -- [all | peers [dask|ray|celery|hyperqueue|bullmq …] | growth | imagery] [SCENARIO …] [--runs N] [--short] [--out FILE]
npm run bench -- report FILE    writes docs/performance.md's table and charts from a file of results
Scenarios: ${scenarioNames.join(', ')}, limits; all of these by default. imagery by its name alone.`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '3' },
      'idle-agents': { type: 'string', default: '1000' },
      short: { type: 'boolean', default: false },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${usage}\n`);
    return;
  }
  const [first] = positionals;
  if (first === 'report') {
    writeReport(positionals[1] ?? '');
    return;
  }
  const options = { runs: Number(values.runs), idleAgents: Number(values['idle-agents']) };
  const figures =
    positionals[0] === 'imagery'
      ? await measureImagery(values.short ? 1 : options.runs, values.short)
      : values.short
        ? await measureShort()
        : await measure(positionals, options);
  const rows = summarize(figures);
  const withGrowth = first === 'growth' || first === 'all';
  const growth = values.short
    ? measureGrowth({ nodesMax: 100, tasksMax: 10_000, decisions: 10_000 })
    : withGrowth
      ? measureGrowth()
      : undefined;
  const results: Results = {
    commit: commit(),
    at: new Date().toISOString(),
    machine: machine(),
    durability: 'SQLite WAL, synchronous=FULL, group commit; every acknowledged task is on disk',
    rows,
    ...(growth === undefined ? {} : { growth }),
  };
  process.stderr.write(`\n${describeRows(rows)}\n${describePeers(rows)}`);
  const text = `${JSON.stringify(results, null, 2)}\n`;
  if (values.out === undefined) process.stdout.write(text);
  else writeFileSync(values.out, text);
}

/** One small run of each kind: breaks where a scenario is broken, not where the machine is slow. */
async function measureShort(): Promise<Figure[]> {
  const options = { runs: 1, idleAgents: 20 };
  const figures: Figure[] = [];
  for (const name of ['short', 'trips', 'typescript', 'idle-agents'] as const) {
    figures.push(...(await measureScenario(name, options)));
  }
  return [...figures, ...(await measureLimits())];
}

/** The cache alone, then as tasks read through it; the short form only sees that all of it runs. */
async function measureImagery(runs: number, isShort: boolean): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (let run = 0; run < runs; run += 1) {
    figures.push(...(await measureImageryCache({ sceneMib: isShort ? 32 : 256 })));
  }
  const size = isShort
    ? { side: 2_048, reads: 10, seconds: 0.2 }
    : { side: 5_120, reads: 200, seconds: 2 };
  return [...figures, ...(await measureImageryTasks({ runs, ...size }))];
}

async function measure(
  words: readonly string[],
  options: { runs: number; idleAgents: number },
): Promise<Figure[]> {
  const [first, ...rest] = words;
  if (first === 'growth') return [];
  if (first === 'all') {
    const figures: Figure[] = [];
    for (const name of scenarioNames) figures.push(...(await measureScenario(name, options)));
    // Peers last: what they leave in the page cache and on the disk must not stand in our way.
    const peers = await measurePeers({ runs: Math.min(options.runs, 2), names: [] });
    return [...figures, ...(await measureLimits()), ...peers];
  }
  if (first === 'peers') {
    const peers = await measurePeers({ runs: options.runs, names: rest });
    const ours: Figure[] = [];
    for (const name of ['maps', 'trips', 'typescript'] as const) {
      ours.push(...(await measureScenario(name, options)));
    }
    return [...ours, ...peers, ...(await measureLimits())];
  }
  const isName = (word: string): word is ScenarioName =>
    (scenarioNames as readonly string[]).includes(word);
  const unknown = words.filter((word) => !isName(word) && word !== 'limits');
  if (unknown.length > 0) throw new Error(`No scenario is called ${unknown.join(', ')}.\n${usage}`);
  const figures: Figure[] = [];
  for (const name of words.length === 0 ? scenarioNames : words.filter(isName)) {
    figures.push(...(await measureScenario(name, options)));
  }
  const withLimits = words.length === 0 || words.includes('limits');
  return withLimits ? [...figures, ...(await measureLimits())] : figures;
}

function commit(): string {
  const command = ['describe', '--always', '--dirty'];
  return execFileSync('git', command, { cwd: checkout, encoding: 'utf8' }).trim();
}

function machine(): Record<string, string | number> {
  return {
    processor: cpus()[0]?.model ?? '',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
  };
}

await main();
