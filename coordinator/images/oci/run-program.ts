/** Runs skopeo, umoci and what else makes an image, with their output shown as it comes. */
import { spawn } from 'node:child_process';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';

export interface ProgramOptions {
  signal: AbortSignal;
  /** Each piece of output, both streams. */
  onOutput?: (text: string) => void;
  env?: NodeJS.ProcessEnv;
  /** After that it is killed. */
  msMax: number;
}

export interface ProgramEnd {
  exitCode: number | null;
  stdout: string;
  /** The end of what it said on stderr. */
  complaint: string;
}

/** Standard output that is kept; manifests and configurations are far smaller. */
const stdoutCharsMax = 8 * 1024 * 1024;
const complaintCharsMax = 4_000;

/** The package that has each program, where their names differ or not. */
const installLine = 'Run `apt-get install -y skopeo umoci` on the coordinator’s machine.';

/**
 * Runs a program to its end, whatever that is. Killing takes its whole process group along.
 * @throws PerigeeError setup_missing when there is no such program, timed_out
 */
export async function runProgram(
  program: string,
  words: readonly string[],
  options: ProgramOptions,
): Promise<ProgramEnd> {
  options.signal.throwIfAborted();
  const child = spawn(program, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: options.env ?? process.env,
    detached: true,
  });
  let timedOut = false;
  const kill = (): void => {
    if (child.pid === undefined || child.exitCode !== null) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (caught) {
      const error = toError(caught);
      // It ended in this instant.
      if (!('code' in error) || error.code !== 'ESRCH') throw error;
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, options.msMax);
  options.signal.addEventListener('abort', kill, { once: true });
  let stdout = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout = (stdout + text).slice(0, stdoutCharsMax);
    options.onOutput?.(text);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-complaintCharsMax);
    options.onOutput?.(text);
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  try {
    const exitCode = await promise;
    options.signal.throwIfAborted();
    if (timedOut) {
      const seconds = options.msMax / 1_000;
      throw new PerigeeError('timed_out', `${program} was not done after ${seconds} s.`, {
        fix: 'Try again; what was begun has been removed.',
      });
    }
    return { exitCode, stdout, complaint: complaint.trim() };
  } catch (caught) {
    const error = toError(caught);
    if (!('code' in error) || error.code !== 'ENOENT') throw error;
    throw new PerigeeError('setup_missing', `The program ${program} is not installed.`, {
      cause: error,
      fix: installLine,
    });
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', kill);
  }
}
