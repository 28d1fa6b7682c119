/**
 * `npm run bench -- report FILE`: puts the figures of a file of results into docs/performance.md, between
 * its marks, and draws its charts. The text around them is written by hand.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GrowthPoint, type Results, type Row, show } from '../figures.ts';
import { comparePeers } from '../peers/describe.ts';
import { peerNotes } from '../peers/measure.ts';
import { checkout } from '../product/mesh.ts';
import { type Bar, drawBars, drawLines } from './chart.ts';
import { findTargets } from './targets.ts';

/** @throws Error when the file is no results, or the document has lost a mark. */
export function writeReport(path: string): void {
  const results = JSON.parse(readFileSync(path, 'utf8')) as Results;
  const docs = join(checkout, 'docs');
  const page = join(docs, 'performance.md');
  // A file of some scenarios changes what it has figures of, and nothing else.
  const ofRows: Record<string, string> =
    results.rows.length === 0
      ? {}
      : {
          machine: describeMachine(results),
          targets: targetTable(results.rows),
          peers: peerTable(results.rows),
          hops: hopTable(results.rows),
          all: fullTable(results.rows),
        };
  const sections = { ...ofRows, growth: growthTable(results.growth ?? []) };
  let text = readFileSync(page, 'utf8');
  for (const [name, content] of Object.entries(sections)) {
    if (content !== '') text = replaceSection(text, name, content);
  }
  writeFileSync(page, text);
  const bars = throughputBars(results.rows);
  if (bars.length > 0) {
    const title = 'No-op tasks a second, end to end (logarithmic)';
    writeFileSync(join(docs, 'performance.svg'), drawBars(title, bars));
  }
  if (results.growth !== undefined) {
    writeFileSync(join(docs, 'performance-growth.svg'), growthChart(results.growth));
  }
}

function replaceSection(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- figures: ${name} -->`, `<!-- end: ${name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`docs/performance.md has lost its mark "${begin}".`);
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
}

function describeMachine({ commit, at, machine, durability }: Results): string {
  const { processor, cores, memoryBytes, kernel, node } = machine;
  const memory = `${show(Number(memoryBytes) / 2 ** 30)} GiB`;
  return `Commit ${commit}, ${at.slice(0, 10)}: ${processor}, ${cores} cores, ${memory}, Linux ${kernel}, Node ${node}. Durability: ${durability}.`;
}

function targetTable(rows: readonly Row[]): string {
  const lines = findTargets(rows).map(
    ({ what, target, measured, isMet }) =>
      `| ${what} | ${target} | ${measured} | ${isMet ? 'yes' : 'no'} |`,
  );
  return ['| what | target | measured | met |', '| --- | --- | --- | --- |', ...lines].join('\n');
}

function peerTable(rows: readonly Row[]): string {
  const comparisons = comparePeers(rows);
  if (comparisons.length === 0) return '';
  const lines = comparisons.map(
    ({ peer, scenario, theirs, ours, ratio }) =>
      `| ${peer} | ${scenario} | ${show(theirs.median)} ${theirs.unit} | ${show(ours.median)} ${ours.unit} | ${show(ratio)} × | ${peerNotes[peer] ?? ''} |`,
  );
  const head = [
    '| peer | scenario | peer | Perigee | ratio | what the peer does not do |',
    '| --- | --- | --- | --- | --- | --- |',
  ];
  return [...head, ...lines].join('\n');
}

const hopRoles = ['client', 'coordinator', 'agent', 'worker'] as const;

function hopTable(rows: readonly Row[]): string {
  const lines = rows.flatMap((row) => {
    const cpu = row.cpuMicrosecondsPerTask;
    if (cpu === undefined) return [];
    const all = Object.values(cpu).reduce((sum, each) => sum + each, 0);
    const shares = hopRoles.map((role) => {
      const each = cpu[role] ?? 0;
      return `${show(each)} (${((100 * each) / all).toFixed(0)} %)`;
    });
    return [`| ${row.scenario} | ${shares.join(' | ')} | ${show(all)} |`];
  });
  const head = [
    `| scenario | ${hopRoles.join(' | ')} | all |`,
    `| --- | ${hopRoles.map(() => '---').join(' | ')} | --- |`,
  ];
  return [...head, ...lines].join('\n');
}

function fullTable(rows: readonly Row[]): string {
  const lines = rows.map(
    (row) =>
      `| ${row.of} | ${row.scenario} | ${show(row.median)} ${row.unit} | ${row.runs > 1 ? `${show(row.lowest)} to ${show(row.highest)}` : ''} |`,
  );
  return ['| of | scenario | median | spread |', '| --- | --- | --- | --- |', ...lines].join('\n');
}

function growthTable(points: readonly GrowthPoint[]): string {
  if (points.length === 0) return '';
  const lines = points.map(
    (point) =>
      `| ${show(point.nodes)} | ${show(point.tasks)} | ${show(point.decisionsPerSecond)} | ${show(point.microsecondsPerDecision)} µs | ${show(point.microsecondsPerCall)} µs | ${show(point.microsecondsPerReconnect)} µs | ${show(point.heapBytes / 1e6)} MB |`,
  );
  const head = [
    '| nodes | tasks queued | decisions/s | a decision | a call while all is taken | a node comes back | heap |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ];
  return [...head, ...lines].join('\n');
}

function throughputBars(rows: readonly Row[]): Bar[] {
  const scenario = 'no-op map of 10000';
  return rows
    .filter((row) => row.unit === 'tasks/s')
    .filter((row) =>
      row.of !== 'product' ? row.scenario !== 'no-op map of 1000' : /^no-op map/.test(row.scenario),
    )
    .map((row) => ({
      label:
        row.of === 'product'
          ? row.scenario
          : `${row.of}${row.scenario === scenario ? '' : `, ${row.scenario}`}`,
      value: row.median,
      unit: '/s',
      isOurs: row.of === 'product',
    }));
}

function growthChart(points: readonly GrowthPoint[]): string {
  const byTasks = points.filter(({ nodes }) => nodes === 100);
  const byNodes = points.filter(({ tasks }) => tasks === 1_000_000);
  return drawLines(
    'Cost of one decision as the mesh grows',
    { x: 'tasks queued (100 nodes), or nodes (1M tasks)', y: 'µs' },
    [
      {
        name: 'by tasks queued, 100 nodes',
        points: byTasks.map(({ tasks, microsecondsPerDecision: y }) => ({ x: tasks, y })),
      },
      {
        name: 'by nodes, 1M tasks',
        points: byNodes.map(({ nodes, microsecondsPerDecision: y }) => ({ x: nodes, y })),
      },
    ],
  );
}
