/** One run of coordinator/main.ts as a child in a process group of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Environment } from '../../ts/config.ts';
import { markVariable, signalProcess } from './mesh-processes.ts';
import { describeStartFailure } from './start-failure.ts';

/** What the coordinator prints once it can take tasks. */
export interface ReadyLine {
  url: string;
  token: string;
  join: string;
  joinToken: string;
  pids: Readonly<Record<string, unknown>>;
}

/** How a process ended. */
export interface ProcessEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface CoordinatorProcess {
  readonly pid: number;
  /** The ready line. @throws PerigeeError with the coordinator's own code when it did not start. */
  readonly ready: Promise<ReadyLine>;
  readonly ended: Promise<ProcessEnd>;
  /** Asks it to drain and end. */
  drain(): void;
  /** Ends its whole process group at once. */
  kill(): void;
}

export interface CoordinatorStart {
  flags: readonly string[];
  environment: Environment;
  mark: string;
  onLogLine(line: string): void;
}

const mainFile = fileURLToPath(new URL('../../../coordinator/main.ts', import.meta.url));
/**
 * V8's young space grows to twice 32 MB where the machine has memory, which is more than the
 * coordinator's own state at a million queued tasks; `scripts/perigee coordinator` says the same.
 */
const engineFlags = ['--max-semi-space-size=8'];
const setprivPaths = ['/usr/bin/setpriv', '/bin/setpriv'];
const keptLinesMax = 200;

/** Starts a coordinator. */
export function startCoordinator(start: CoordinatorStart): CoordinatorProcess {
  const [file, ...words] = [
    ...[...orphanGuard(), process.execPath, ...engineFlags],
    ...[mainFile, ...start.flags],
  ];
  const child = spawn(file ?? process.execPath, words, {
    // Its own group, so that Ctrl-C at the terminal reaches `up` alone, which then drains.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...start.environment, [markVariable]: start.mark },
  });
  const lastLines = collectLines(child.stderr, start.onLogLine);
  const ended = waitForEnd(child);
  return {
    pid: child.pid ?? 0,
    ready: readReadyLine(child.stdout, ended, lastLines),
    ended,
    drain: () => child.kill('SIGTERM'),
    kill: () => {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        signalProcess(-child.pid, 'SIGKILL');
      }
    },
  };
}

/** `exited with status 1`, `was killed by SIGKILL`. */
export function describeEnd(end: ProcessEnd): string {
  return end.signal === null ? `exited with status ${end.code}` : `was killed by ${end.signal}`;
}

/**
 * The words that make the kernel stop the coordinator when `up` itself is killed: `kill -9` leaves
 * nobody else who could. Where util-linux's setpriv is missing, the coordinator then stays.
 */
function orphanGuard(): string[] {
  const setpriv = setprivPaths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return setpriv === undefined ? [] : [setpriv, '--pdeathsig', 'TERM', '--'];
}

function waitForEnd(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    // `close` rather than `exit`: then what it wrote last has been read.
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

async function readReadyLine(
  stdout: Readable,
  ended: Promise<ProcessEnd>,
  lastLines: readonly string[],
): Promise<ReadyLine> {
  const lines = createInterface({ input: stdout });
  const first = new Promise<string>((resolve) => lines.once('line', resolve));
  const line = await Promise.race([first, ended]);
  if (typeof line === 'string') {
    const ready = decodeReadyLine(line);
    if (ready !== undefined) return ready;
    throw describeStartFailure([...lastLines, line], 'printed something else');
  }
  throw describeStartFailure(lastLines, describeEnd(line));
}

function decodeReadyLine(line: string): ReadyLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { url, token, join, joinToken, pids } = value as Record<string, unknown>;
  if (typeof url !== 'string' || typeof token !== 'string') return undefined;
  if (typeof join !== 'string' || typeof joinToken !== 'string') return undefined;
  const isMap = typeof pids === 'object' && pids !== null;
  return { url, token, join, joinToken, pids: isMap ? (pids as Record<string, unknown>) : {} };
}

/** Hands each line over, and keeps the last ones for a start that fails. */
function collectLines(stderr: Readable, onLine: (line: string) => void): readonly string[] {
  const kept: string[] = [];
  createInterface({ input: stderr }).on('line', (line) => {
    kept.push(line);
    if (kept.length > keptLinesMax) kept.shift();
    onLine(line);
  });
  return kept;
}
