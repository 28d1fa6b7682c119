/** The short form of the imagery benchmarks: it fails where a part is broken, not where the machine is slow. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { findRow, type Results } from '../../bench/figures.ts';
import { checkout, runProgram } from '../setup/run-program.ts';

const scratch = mkdtempSync(join(tmpdir(), 'perigee-bench-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

it('measures every part of imagery beside its limit', async () => {
  const out = join(scratch, 'imagery.json');
  const node = join(checkout, 'node_modules/.bin/node');
  const run = await runProgram([node, 'bench/main.ts', 'imagery', '--short', '--out', out]);
  expect(run.status, run.stderr).toBe(0);
  const results = JSON.parse(readFileSync(out, 'utf8')) as Results;
  for (const [scenario, beside] of [
    ['origin to disk, 4 at once', 'curl'],
    ['node to node, encrypted, to disk', 'limit'],
    ['hits of 1000 blocks on a trace with scans', 'LRU'],
    ['cached windows of a whole file, in the sandbox', 'limit'],
    ['cached windows of a file filled as it is read, in the sandbox', 'limit'],
    ['warm block to a mapped view p99', 'limit'],
    ['cached pages, all sandboxes together', 'limit'],
    ['job of 64 windows over HTTP, cold', '/vsicurl'],
    ['job of 64 windows over HTTP, warm', '/vsicurl'],
  ] as const) {
    for (const of of ['product', beside]) {
      const row = findRow(results.rows, of, `imagery: ${scenario}`);
      expect(row?.median, `${of}: ${scenario}`).toBeGreaterThan(0);
    }
  }
});
