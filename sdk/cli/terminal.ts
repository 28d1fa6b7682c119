/** The streams and surroundings of one command, given to it so that tests can look at both ends. */
import type { Readable, Writable } from 'node:stream';
import type { Environment } from '../ts/config.ts';

export interface Terminal {
  stdin: Readable;
  stdout: Writable;
  stderr: Writable;
  environment: Environment;
  /** Width of standard output; null when it is not a terminal: then nothing is cut. */
  columns: number | null;
  /** Whether a person can answer a question. */
  canAsk: boolean;
  outColors: boolean;
  errorColors: boolean;
  /** Calls the listener at SIGINT, SIGTERM or SIGHUP until the returned function is called. */
  onSignal(listener: (signal: NodeJS.Signals) => void): () => void;
}

/** What of the process a terminal is made of. */
export interface ProcessStreams {
  stdin: Readable & { isTTY?: boolean };
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean };
  env: Environment;
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
}

/** The name by which people call the program; hints and messages use it. */
export const programName = 'scripts/perigee';

const handledSignals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const columnsFallback = 80;

/** The terminal of a process, after `NO_COLOR`, `FORCE_COLOR`, `TERM` and `PERIGEE_FORCE_TTY`. */
export function createTerminal(streams: ProcessStreams): Terminal {
  const environment = streams.env;
  const forcedColumns = Number(environment['PERIGEE_FORCE_TTY'] ?? '0');
  const isForced = Number.isInteger(forcedColumns) && forcedColumns > 0;
  const isOutTerminal = isForced || streams.stdout.isTTY === true;
  const isErrorTerminal = isForced || streams.stderr.isTTY === true;
  const columns = isForced ? forcedColumns : (streams.stdout.columns ?? columnsFallback);
  return {
    stdin: streams.stdin,
    stdout: streams.stdout,
    stderr: streams.stderr,
    environment,
    columns: isOutTerminal ? columns : null,
    canAsk: streams.stdin.isTTY === true && isErrorTerminal && environment['CI'] === undefined,
    outColors: wantsColors(environment, isOutTerminal),
    errorColors: wantsColors(environment, isErrorTerminal),
    onSignal(listener) {
      for (const signal of handledSignals) streams.on(signal, listener);
      return () => {
        for (const signal of handledSignals) streams.off(signal, listener);
      };
    },
  };
}

function wantsColors(environment: Environment, isTerminal: boolean): boolean {
  const isSet = (name: string): boolean => (environment[name] ?? '') !== '';
  if (isSet('NO_COLOR')) return false;
  if (isSet('FORCE_COLOR')) return environment['FORCE_COLOR'] !== '0';
  return isTerminal && environment['TERM'] !== 'dumb';
}
