// The checks of .ci/run, in order. Plain Node 18: it runs before set-up has brought a newer one.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'perigee-ci-'));
const node = join(root, 'node_modules/.bin/node');
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const counts = { passed: 0, failed: 0 };
const began = Date.now();

/** A check that passes or fails as a whole. */
function check(name, command, parameters, options = {}) {
  const start = Date.now();
  console.log(`\n=== ${name}`);
  const { status } = spawnSync(command, parameters, { cwd: root, stdio: 'inherit', ...options });
  const passed = status === 0;
  console.log(
    `=== ${name}: ${passed ? 'passed' : 'FAILED'} in ${((Date.now() - start) / 1000).toFixed(0)} s`,
  );
  return passed;
}

function count(passed) {
  counts[passed ? 'passed' : 'failed'] += 1;
}

/** Runs tests and counts them one by one; a skip must be listed, with its reason, in test/skips.md. */
function tests(name, command, parameters) {
  const file = join(scratch, `${name.replaceAll(/\W+/g, '-')}.json`);
  const passed = check(name, command, [
    ...parameters,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
  ]);
  let results;
  try {
    results = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    console.log(`${name}: no results were written`);
    counts.failed += 1;
    return;
  }
  counts.passed += results.numPassedTests;
  counts.failed += results.numFailedTests;
  if (results.numTotalTests === 0) counts.failed += 1;
  // A file that does not even load has no failed test: count it, or it would pass unseen.
  if (!passed && results.numFailedTests === 0) counts.failed += 1;
  const listed = readFileSync(join(root, 'test/skips.md'), 'utf8');
  for (const file of results.testResults) {
    for (const test of file.assertionResults) {
      if (test.status !== 'pending' && test.status !== 'skipped' && test.status !== 'todo')
        continue;
      const known =
        listed.includes(test.title) || test.ancestorTitles.some((title) => listed.includes(title));
      console.log(
        `skipped: ${test.fullName}${known ? ' (listed)' : ' — NOT LISTED in test/skips.md'}`,
      );
      if (!known) counts.failed += 1;
    }
  }
}

try {
  tests('npm test', 'npm', ['test', '--']);
  count(
    check('types', node, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', '.']),
  );
  count(check('lint', join(root, 'node_modules/.bin/biome'), ['ci', '--error-on-warnings', '.']));
  count(check('documents', node, [join(root, 'scripts/check-docs.ts')]));
  tests('slower tests', node, [vitest, 'run', '--config', 'test/slow/vitest.config.ts']);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`\nin ${((Date.now() - began) / 60_000).toFixed(1)} minutes`);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
