// What a run of vitest comes to, written as JSON to PERIGEE_CI_REPORT: every failure with where it is
// and what it said, also those that belong to no test (a hook, a file that does not load, an error
// that nobody caught), which vitest's own JSON leaves out.
import { writeFileSync } from 'node:fs';

export class CiReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const report = { passed: 0, failed: 0, failures: [], skipped: [], triedAgain: [] };
    const fail = (file, name, errors) => {
      report.failed += 1;
      report.failures.push({ file, name, messages: errors.map(textOf) });
    };
    for (const module of modules) {
      const file = module.relativeModuleId;
      const ofModule = module.errors();
      if (ofModule.length > 0) fail(file, 'the file itself', ofModule);
      else if (module.state() === 'pending' || module.state() === 'queued') {
        fail(file, 'the file itself', [{ message: 'It did not come to its end.' }]);
      }
      for (const suite of module.children.allSuites()) {
        const errors = suite.errors();
        if (errors.length > 0) fail(file, `${suite.fullName} (a hook of it)`, errors);
      }
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        if (state === 'failed') fail(file, test.fullName, errors ?? []);
        else if (state === 'passed') {
          report.passed += 1;
          if (test.diagnostic()?.flaky) report.triedAgain.push({ file, name: test.fullName });
        } else {
          report.skipped.push({ file, name: test.fullName, titles: titlesOf(test) });
        }
      }
    }
    if (unhandledErrors.length > 0) {
      fail('(no file)', 'an error that nobody caught', unhandledErrors);
    }
    writeFileSync(process.env.PERIGEE_CI_REPORT, JSON.stringify(report));
  }
}

/** A test's own title and those of the suites around it. */
function titlesOf(test) {
  const titles = [];
  for (let part = test; part.type !== 'module'; part = part.parent) titles.push(part.name);
  return titles;
}

/** The message first, then what tells where: the stack begins with the message as a rule. */
function textOf(error) {
  const message = String(error.message ?? error);
  const stack = String(error.stack ?? '');
  const places = stack.split('\n').filter((line) => /^\s+at /.test(line));
  const diff = typeof error.diff === 'string' ? `\n${error.diff}` : '';
  const cause = error.cause === undefined ? '' : `\ncause: ${textOf(error.cause)}`;
  return [message + diff + cause, ...places.slice(0, 2)].join('\n');
}

// biome-ignore lint/style/noDefaultExport: vitest takes a reporter from the default export.
export default CiReporter;
