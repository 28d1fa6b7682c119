// npm run demo, npm test: set-up first, where something is missing, then the program under the
// project's own Node. It is called by its path: on the very first run the shell still finds the
// old Node.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import { checkNode, SetupError } from './commands.mjs';
import { ensureSetup } from './ensure.mjs';
import { checkout, nodeProgram } from './places.mjs';

const targets = {
  demo: { profile: 'run', program: ['scripts/demo/main.ts'] },
  test: { profile: 'test', program: ['node_modules/vitest/vitest.mjs', 'run'] },
};

const [name, ...parameters] = process.argv.slice(2);
const target = targets[name];
if (target === undefined) {
  process.stderr.write(`Usage: run.mjs ${Object.keys(targets).join('|')} [ARGUMENT …]\n`);
  process.exit(2);
}

try {
  checkNode();
  await ensureSetup(target.profile, console.log);
  process.exitCode = await runToEnd();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`\n${name}: ${error.message}\n`);
  process.exitCode = 1;
}

function runToEnd() {
  const [script, ...first] = target.program;
  const child = spawn(nodeProgram, [join(checkout, script), ...first, ...parameters], {
    cwd: checkout,
    stdio: 'inherit',
  });
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT']) {
    process.on(signal, () => child.kill(signal));
  }
  // A Ctrl-C reaches the child from the terminal itself; a second one would mean "exit now".
  process.on('SIGINT', () => {
    if (!process.stdin.isTTY) child.kill('SIGINT');
  });
  return new Promise((ended, fail) => {
    child.on('error', fail);
    child.on('exit', (status, signal) => ended(status ?? 128 + constants.signals[signal]));
  });
}
