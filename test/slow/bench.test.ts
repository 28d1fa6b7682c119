/** The short form of the benchmarks: it fails where a scenario is broken, not where the machine is slow. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findRow, type Results } from '../../bench/figures.ts';
import { checkout, runProgram } from '../setup/run-program.ts';

const scratch = mkdtempSync(join(tmpdir(), 'perigee-bench-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('npm run bench -- --short', () => {
  it('measures both SDKs, idle agents, growth and the limits, and compares with itself', async () => {
    const out = join(scratch, 'short.json');
    const node = join(checkout, 'node_modules/.bin/node');
    const run = await runProgram([node, 'bench/main.ts', '--short', '--out', out]);
    expect(run.status, run.stderr).toBe(0);
    const results = JSON.parse(readFileSync(out, 'utf8')) as Results;
    for (const scenario of [
      'no-op map of 1000',
      'round trip p50',
      'no-op map of 1000, TypeScript',
      'round trip p50, TypeScript',
      '20 idle agents: coordinator memory each, peak',
    ]) {
      expect(findRow(results.rows, 'product', scenario)?.median, scenario).toBeGreaterThan(0);
    }
    for (const scenario of ['bare Python 2.7 pipe loop', 'bare libp2p stream']) {
      expect(findRow(results.rows, 'limit', scenario)?.median, scenario).toBeGreaterThan(0);
    }
    const cpu = findRow(results.rows, 'product', 'no-op map of 1000')?.cpuMicrosecondsPerTask;
    for (const role of ['client', 'coordinator', 'agent', 'worker']) {
      expect(cpu?.[role], role).toBeGreaterThan(0);
    }
    expect(results.growth?.[0]?.decisionsPerSecond).toBeGreaterThan(0);
    const compared = await runProgram([node, 'bench/compare.ts', out, out]);
    expect(compared.status).toBe(0);
    expect(compared.stdout).toMatch(/no-op map of 1000 .*\+0 %/);
  });
});
