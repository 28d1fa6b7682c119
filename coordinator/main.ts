/**
 * The coordinator's process: its flags, its log on stderr, its one line on stdout, its signals and
 * its exit codes.
 */
import pino from 'pino';
import { exitCodes, PerigeeError, toError } from '../protocol/base/errors.ts';
import { createHeapShrinker } from '../protocol/net/shrink-heap.ts';
import type { CoordinatorSettings } from './settings.ts';
import { coordinatorHelp, parseSettings } from './settings.ts';
import type { Coordinator } from './start-coordinator.ts';
import { startCoordinator } from './start-coordinator.ts';

async function main(): Promise<void> {
  // Whatever is made below the data directory is its owner’s alone.
  process.umask(0o077);
  if (process.argv.includes('--help') || process.argv.includes('-h')) {
    process.stdout.write(coordinatorHelp());
    return;
  }
  const settings = parseSettings({
    argv: process.argv.slice(2),
    env: process.env,
    isRoot: process.getuid?.() === 0,
  });
  const log = pino(
    { level: settings.logLevel, base: { pid: process.pid } },
    // Synchronous: what led to an end must be read after it.
    pino.destination({ dest: 2, sync: true }),
  );
  const starting = startCoordinator({
    settings,
    log,
    env: process.env,
    onRested: createHeapShrinker(),
    onFatal(error) {
      // The store is the truth: a fresh process on it is safer than one that contradicts itself.
      log.fatal({ err: error }, 'the coordinator cannot go on');
      process.exit(error instanceof PerigeeError ? error.exitCode : exitCodes.failed);
    },
  });
  // From the first moment on: nodes of an earlier run may be adopted before the start is through.
  handleSignals(starting, log);
  announce(await starting, settings);
}

function handleSignals(starting: Promise<Coordinator>, log: pino.Logger): void {
  let stopping = false;
  let coordinator: Coordinator | undefined;
  starting.then(
    (started) => {
      coordinator = started;
    },
    // The start's own caller says what was wrong.
    () => undefined,
  );
  const endNow = (exitCode: number): void => {
    coordinator?.kill();
    process.exit(exitCode);
  };
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) {
      if (signal === 'SIGINT') endNow(exitCodes.interrupted);
      return;
    }
    stopping = true;
    log.info({ signal }, 'stopping');
    starting
      .then((started) => started.stop())
      .then(
        () => process.exit(exitCodes.ok),
        (caught: unknown) => {
          log.error({ err: toError(caught) }, 'could not stop in order');
          endNow(exitCodes.failed);
        },
      );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

function announce(coordinator: Coordinator, settings: CoordinatorSettings): void {
  const { url, token, join, joinToken } = coordinator;
  const line = settings.json
    ? JSON.stringify({ url, token, join, joinToken, pids: coordinator.pids() })
    : `Perigee takes tasks at ${url}\nAgents join ${join}\nTokens: ${settings.data}/token and ${settings.data}/join-token`;
  process.stdout.write(`${line}\n`);
}

/** Says why it ended: to people in two lines, to a program that asked for JSON in one with its code. */
function tell(error: Error): number {
  if (!(error instanceof PerigeeError)) {
    process.stderr.write(`perigee: ${error.stack ?? error.message}\n`);
    return exitCodes.failed;
  }
  const { code, message, fix } = error;
  const line = process.argv.includes('--json')
    ? JSON.stringify({ level: pino.levels.values['fatal'], code, msg: message, fix })
    : `perigee: ${message}\n  ${fix} (${code})`;
  process.stderr.write(`${line}\n`);
  return error.exitCode;
}

main().catch((caught: unknown) => process.exit(tell(toError(caught))));
