// The checks of .ci/run, in order. Plain Node 18: it runs before set-up has brought a newer one.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeFailures } from './ci/summary.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'perigee-ci-'));
const node = join(root, 'node_modules/.bin/node');
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const counts = { passed: 0, failed: 0 };
const found = { failures: [], checks: [], skips: [], triedAgain: [] };
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

/** A check that is no set of tests counts as one. */
function count(name, command, parameters) {
  if (check(name, command, parameters)) counts.passed += 1;
  else fail(name);
}

function fail(name) {
  counts.failed += 1;
  found.checks.push(name);
}

/** Runs tests and counts them one by one; a skip must be listed, with its reason, in test/skips.md. */
function tests(name, command, parameters) {
  const file = join(scratch, `${name.replaceAll(/\W+/g, '-')}.json`);
  const reporter = join(root, 'scripts/ci/reporter.mjs');
  const passed = check(
    name,
    command,
    [...parameters, '--reporter=default', `--reporter=${reporter}`],
    { env: { ...process.env, PERIGEE_CI_REPORT: file } },
  );
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    console.log(`${name}: no results were written`);
    fail(name);
    return;
  }
  counts.passed += report.passed;
  counts.failed += report.failed;
  found.failures.push(...report.failures);
  found.triedAgain.push(...report.triedAgain);
  if (report.passed + report.failed === 0) fail(name);
  // Whatever else made it fail would pass unseen.
  if (!passed && report.failed === 0) fail(name);
  const listed = readFileSync(join(root, 'test/skips.md'), 'utf8');
  for (const skip of report.skipped) {
    const known = skip.titles.some((title) => listed.includes(title));
    console.log(`skipped: ${skip.name}${known ? ' (listed)' : ' — NOT LISTED in test/skips.md'}`);
    if (known) continue;
    counts.failed += 1;
    found.skips.push(skip);
  }
}

try {
  tests('npm test', 'npm', ['test', '--']);
  count('types', node, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', '.']);
  count('lint', join(root, 'node_modules/.bin/biome'), ['ci', '--error-on-warnings', '.']);
  count('documents', node, [join(root, 'scripts/check-docs.ts')]);
  tests('slower tests', node, [vitest, 'run', '--config', 'test/slow/vitest.config.ts']);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
for (const line of describeFailures(found)) console.log(line);
console.log(`\nin ${((Date.now() - began) / 60_000).toFixed(1)} minutes`);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
