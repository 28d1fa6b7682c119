/** Runs a program of the user's or of a batch system: bounded in time and output, never by a shell. */
import { spawn } from 'node:child_process';

export interface Ran {
  /** Null when it was ended by a signal, ours among them. */
  status: number | null;
  stdout: string;
  stderr: string;
  /** It, or what it left behind with its output open, was not done at its deadline. */
  timedOut: boolean;
}

const outputCharsMax = 16 * 1024 * 1024;
const stderrCharsMax = 4_000;

/** @throws what spawn throws when there is no such program (`code` is ENOENT or EACCES) */
export function runProgram(
  words: readonly string[],
  options: {
    env: Readonly<Record<string, string | undefined>>;
    input?: string;
    msMax: number;
    signal: AbortSignal;
  },
): Promise<Ran> {
  const [program = '', ...parameters] = words;
  return new Promise((done, fail) => {
    const child = spawn(program, parameters, {
      env: options.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      // A group of its own, so that what a script has started ends with it.
      detached: true,
    });
    let stdout = '';
    let stderr = '';
    const settle = (ran: Pick<Ran, 'status' | 'timedOut'>): void => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', giveUp);
      done({ ...ran, stdout, stderr: stderr.trim() });
    };
    /** What has left the group, or hangs in the kernel, could keep the pipes open for ever: nobody waits. */
    const breakOff = (timedOut: boolean): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It ended just now.
      }
      for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.destroy();
      settle({ status: child.exitCode, timedOut });
    };
    const giveUp = (): void => breakOff(false);
    const timer = setTimeout(() => breakOff(true), options.msMax);
    options.signal.addEventListener('abort', giveUp, { once: true });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(0, outputCharsMax);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-stderrCharsMax);
    });
    // A program that does not read its input is no error of ours.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.once('error', (error) => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', giveUp);
      fail(error);
    });
    child.once('close', (status) => settle({ status, timedOut: false }));
    if (options.signal.aborted) giveUp();
  });
}
