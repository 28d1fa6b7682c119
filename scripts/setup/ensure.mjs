// Brings this machine from whatever it has to ready: says what it will do, does it, says what it
// did. With nothing to do it says nothing.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError, stopRunning } from './commands.mjs';
import { takeLock } from './lock.mjs';
import { logFile, ownFolder, perigeeHome } from './places.mjs';
import { makePlan, removeUnfinished } from './plan.mjs';

/**
 * Does what is missing for the profile, and for recipes beside the default ones, and returns the number of steps that it took.
 * @throws SetupError with what to do about it.
 */
export async function ensureSetup(profile, say, recipes = []) {
  const missing = makePlan(profile, recipes);
  if (missing.length === 0) return 0;
  refuseWithoutRoot(missing, profile);
  // Slot users must be able to read what root makes, whatever the caller's umask.
  process.umask(0o022);
  const onWaiting = () => say('Another set-up is running; waiting for it to end …');
  const locks = [];
  const interrupt = interruptible();
  try {
    locks.push(await takeLock(join(ownFolder, 'setup.lock'), onWaiting));
    locks.push(await takeLock(join(perigeeHome(), 'setup.lock'), onWaiting));
    const steps = makePlan(profile, recipes);
    removeUnfinished();
    if (steps.length === 0) return 0;
    rmSync(logFile, { force: true });
    sayPlan(steps, say);
    const startedMs = Date.now();
    await performAll(steps, say, interrupt.isDone);
    say(`\nSet up in ${seconds(startedMs)}. Next time there is nothing to do.\n`);
    return steps.length;
  } finally {
    for (const free of locks.reverse()) await free();
    interrupt.stop();
  }
}

function refuseWithoutRoot(steps, profile) {
  const debian = steps.find((step) => step.debianPackages !== undefined);
  if (debian === undefined || process.getuid() === 0) return;
  throw new SetupError(
    'These Debian packages are missing, and only root can install them. Run this once, then ' +
      `${profile === 'test' ? 'npm test' : 'npm run setup'} again:\n\n` +
      `  sudo apt-get install -y --no-install-recommends ${debian.debianPackages.join(' ')}`,
  );
}

function sayPlan(steps, say) {
  const width = Math.max(...steps.map((step) => step.what.length));
  say('Perigee will install, once:');
  for (const step of steps) say(`  ${step.what.padEnd(width)}  → ${step.where}`);
  const diskMb = steps.reduce((sum, step) => sum + step.diskMb, 0);
  say(
    `About ${diskMb} MB of disk in all. \`scripts/perigee clean\` removes the images and the ` +
      `client\nenvironments again. Log: ${logFile}\n`,
  );
}

async function performAll(steps, say, isInterrupted) {
  const ends = new Map();
  const results = await Promise.allSettled(
    steps.map((step, index) => {
      // Each step's predecessors stand before it in the list.
      const before = steps.slice(0, index).filter((other) => step.after.includes(other.id));
      const end = Promise.all(before.map((other) => ends.get(other.id))).then(() =>
        isInterrupted() ? undefined : performOne(step, say),
      );
      ends.set(step.id, end);
      return end;
    }),
  );
  const problems = new Set(
    results.filter((result) => result.status === 'rejected').map((result) => result.reason),
  );
  for (const problem of problems) if (!(problem instanceof SetupError)) throw problem;
  if (problems.size > 0) {
    throw new SetupError(
      `${[...problems].map((problem) => problem.message).join('\n\n')}\n` +
        'What was finished stays; run this again to go on.',
    );
  }
}

async function performOne(step, say) {
  const startedMs = Date.now();
  await step.perform({ onNotice: (text) => say(`  note: ${text}`) });
  say(`  done in ${seconds(startedMs).padStart(6)}  ${step.what}`);
}

/** On a signal, ends the running commands; the steps then fail and tidy up behind them. */
function interruptible() {
  let signalSeen;
  const onSignal = (signal) => {
    signalSeen ??= signal;
    stopRunning();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, onSignal);
  return {
    isDone: () => signalSeen !== undefined,
    stop: () => {
      for (const signal of signals) process.off(signal, onSignal);
      if (signalSeen !== undefined) {
        throw new SetupError(`Set-up was interrupted by ${signalSeen}; run it again to go on.`);
      }
    },
  };
}

function seconds(startedMs) {
  return `${((Date.now() - startedMs) / 1000).toFixed(1)} s`;
}
