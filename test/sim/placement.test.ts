import { describe, expect, it } from 'vitest';
import { type PlacementReport, runPlacement, usualPlan } from './placement.ts';

const seeds = Array.from({ length: 10 }, (_, at) => at + 1);

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

function show(name: string, reports: readonly PlacementReport[]): string {
  const hits = reports.map((report) => report.localHits);
  const seconds = mean(reports.map((report) => report.makespanMs)) / 1000;
  const range = `${percent(Math.min(...hits))} to ${percent(Math.max(...hits))}`;
  return `${name}: local hits ${percent(mean(hits))} (${range}), makespan ${seconds.toFixed(1)} s`;
}

describe('placement by what tasks read', () => {
  it('finds most scenes where it runs the task, and ends sooner than first come first served', () => {
    const fifo = seeds.map((seed) => runPlacement(seed, { isPlaced: false }));
    const placed = seeds.map((seed) => runPlacement(seed, { isPlaced: true }));
    const saved = placed.map((report, at) => 1 - report.makespanMs / (fifo[at]?.makespanMs ?? 0));
    process.stdout.write(
      `${usualPlan.nodes} nodes, ${usualPlan.tasks} tasks, ${usualPlan.scenes} scenes, ${seeds.length} seeds\n` +
        `${show('first come first served', fifo)}\n${show('placed by assets', placed)}\n` +
        `makespan less by ${percent(mean(saved))} (at least ${percent(Math.min(...saved))})\n`,
    );
    for (const report of [...fifo, ...placed]) expect(report.tasks).toBe(usualPlan.tasks);
    for (const report of placed) expect(report.localHits).toBeGreaterThanOrEqual(0.65);
    for (const share of saved) expect(share).toBeGreaterThanOrEqual(0.15);
  }, 120_000);

  it('is the same for the same seed', () => {
    const plan = { ...usualPlan, tasks: 1_000 };
    expect(runPlacement(7, { isPlaced: true, plan })).toEqual(
      runPlacement(7, { isPlaced: true, plan }),
    );
  });
});
