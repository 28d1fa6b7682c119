import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkout, runProgram } from './run-program.ts';

const suites = {
  'sums.test.js': `
let tries = 0;
describe('sums', () => {
  it('adds', () => expect(1 + 1).toBe(2));
  it('subtracts', () => expect({ sum: 3 }).toEqual({ sum: 4 }));
  it.skip('divides', () => undefined);
  it('counts its tries', { retry: 1 }, () => expect((tries += 1)).toBe(2));
});
describe('a mesh', () => {
  afterAll(() => { throw new Error('left running: 17'); });
  it('says much', () => { throw new Error(Array.from({ length: 99 }, (_, at) => 'line ' + at).join('\\n')); });
});
`,
  'unread.test.js': `throw new Error('does not load');`,
  'careless.test.js': `
it('leaves a promise behind', async () => {
  void Promise.reject(new Error('nobody caught this'));
  await new Promise((wake) => setTimeout(wake, 20));
});
`,
};

interface Report {
  passed: number;
  failed: number;
  failures: { file: string; name: string; messages: string[] }[];
  skipped: { file: string; name: string; titles: string[] }[];
  triedAgain: object[];
}

let folder = '';
let report: Report;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-ci-'));
  for (const [name, text] of Object.entries(suites)) writeFileSync(join(folder, name), text);
  const file = join(folder, 'report.json');
  await runProgram(
    [
      ...[process.execPath, join(checkout, 'node_modules/vitest/vitest.mjs'), 'run'],
      ...['--root', folder, '--globals'],
      `--reporter=${join(checkout, 'scripts/ci/reporter.mjs')}`,
    ],
    { cwd: folder, env: { ...process.env, PERIGEE_CI_REPORT: file, VITEST: '' } },
  );
  report = JSON.parse(readFileSync(file, 'utf8')) as Report;
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

it('reports failures of tests, hooks and files, and errors that nobody caught', () => {
  const { failures, skipped, ...rest } = report;
  expect(rest).toEqual({
    passed: 3,
    failed: 5,
    triedAgain: [{ file: 'sums.test.js', name: 'sums > counts its tries' }],
  });
  expect(skipped).toEqual([
    { file: 'sums.test.js', name: 'sums > divides', titles: ['divides', 'sums'] },
  ]);
  const told = failures.map(({ file, name, messages }) => ({ file, name, said: messages.join() }));
  expect(told.sort((one, other) => (one.name < other.name ? -1 : 1))).toMatchObject(
    [
      { file: 'sums.test.js', name: 'a mesh (a hook of it)', said: /left running: 17/ },
      { file: 'sums.test.js', name: 'a mesh > says much', said: /line 98/ },
      { name: 'an error that nobody caught', said: /nobody caught this/ },
      {
        file: 'sums.test.js',
        name: 'sums > subtracts',
        said: /\+ .*"sum": 3[\s\S]*sums\.test\.js:5/,
      },
      { file: 'unread.test.js', name: 'the file itself', said: /does not load/ },
    ].map((row) => ({ ...row, said: expect.stringMatching(row.said) })),
  );
});

it('names them at the end of the log, each in a few lines', async () => {
  const path = join(checkout, 'scripts/ci/summary.mjs');
  const { describeFailures } = (await import(path)) as {
    describeFailures(found: object): string[];
  };
  const { failures, triedAgain } = report;
  const nothing = { failures: [], checks: [], skips: [], triedAgain: [] };
  expect(describeFailures(nothing)).toEqual([]);
  const lines = describeFailures({ failures, triedAgain, checks: ['lint'], skips: report.skipped });
  const at = lines.indexOf('FAILED sums.test.js > a mesh > says much');
  const own = lines.slice(
    at + 1,
    lines.findIndex((line, index) => index > at && !/^ {4}/.test(line)),
  );
  expect(own).toEqual(Array.from({ length: 8 }, (_, line) => `    line ${line}`));
  const text = lines.join('\n');
  expect(text).toMatch(/FAILED sums\.test\.js > sums > subtracts\n {4}expected \{ sum: 3 \}/);
  expect(text).toContain('FAILED the check "lint"');
  expect(text).toContain('not listed in test/skips.md: sums.test.js > sums > divides');
  expect(text).toContain('passed only when it was tried again: sums.test.js > sums > counts');
  const many = Array.from({ length: 90 }, () => failures[0] as object);
  expect(describeFailures({ ...nothing, failures: many }).join('\n')).toContain('and 50 more');
});
