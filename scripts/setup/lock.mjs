// One set-up at a time. The kernel's flock is held by a child that ends when our end of its stdin
// closes, so that a set-up that is killed in any way frees the lock.

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { SetupError } from './commands.mjs';

const waitNoticeMs = 1000;

/** Waits for the lock and returns the function that frees it. */
export async function takeLock(path, onWaiting) {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw new SetupError(
      `Cannot make ${dirname(path)}: ${error.message}\n` +
        'Set PERIGEE_HOME to a folder that you may write, and run this again.',
      { cause: error },
    );
  }
  // Its own process group: a Ctrl-C must not free the lock while we still tidy up.
  const holder = spawn('flock', [path, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  const notice = setTimeout(onWaiting, waitNoticeMs);
  try {
    await new Promise((held, fail) => {
      let problem = '';
      holder.stderr.on('data', (text) => {
        problem += text;
      });
      holder.stdout.once('data', held);
      holder.on('error', (error) => fail(new SetupError(`flock failed: ${error.message}`)));
      holder.on('exit', () => fail(new SetupError(`Cannot lock ${path}: ${problem.trim()}`)));
    });
  } finally {
    clearTimeout(notice);
  }
  return () =>
    new Promise((freed) => {
      holder.once('exit', freed);
      holder.stdin.end();
    });
}
