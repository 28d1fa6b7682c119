/** A terminal in memory, to run command lines at. */
import { PassThrough, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { runCommandLine } from '../../../../sdk/cli/run.ts';
import type { Terminal } from '../../../../sdk/cli/terminal.ts';

export interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs one command line; by default piped, without colours, with an empty environment. */
export async function runCommand(
  words: readonly string[],
  options: Partial<Pick<Terminal, 'environment' | 'columns' | 'outColors' | 'canAsk'>> & {
    input?: string;
  } = {},
): Promise<Ended> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const [saidOut, saidErr] = [keepAll(stdout), keepAll(stderr)];
  const { input = '', ...given } = options;
  const exitCode = await runCommandLine(words, {
    stdin: Readable.from([input]),
    stdout,
    stderr,
    environment: { PERIGEE_CONFIG: '/nowhere/perigee/config.json' },
    columns: null,
    canAsk: false,
    outColors: false,
    errorColors: false,
    onSignal: () => () => undefined,
    ...given,
  });
  for (const stream of [stdout, stderr]) {
    stream.end();
    await finished(stream);
  }
  return { exitCode, stdout: saidOut(), stderr: saidErr() };
}

function keepAll(stream: PassThrough): () => string {
  let kept = '';
  stream.setEncoding('utf8').on('data', (text: string) => {
    kept += text;
  });
  return () => kept;
}
