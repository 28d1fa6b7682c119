/** A terminal in memory, to run command lines at. */
import { PassThrough, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { runCommandLine } from '../../../../sdk/cli/run.ts';
import { createTerminal, type Terminal } from '../../../../sdk/cli/terminal.ts';
import type { Environment } from '../../../../sdk/ts/config.ts';

export interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs one command line; by default piped, without colours, with an environment that names no mesh. */
export function runCommand(
  words: readonly string[],
  options: Partial<Pick<Terminal, 'environment' | 'columns' | 'outColors' | 'onSignal'>> = {},
): Promise<Ended> {
  return runAt(words, (streams) => ({
    ...streams,
    environment: { PERIGEE_CONFIG: '/nowhere/perigee/config.json' },
    columns: null,
    canAsk: false,
    outColors: false,
    errorColors: false,
    onSignal: () => () => undefined,
    ...options,
  }));
}

/** Runs one command line as the launcher does, but in this process, piped and without signals. */
export function runInProcess(words: readonly string[], env: Environment): Promise<Ended> {
  const ignore = (): void => undefined;
  return runAt(words, (streams) => createTerminal({ ...streams, env, on: ignore, off: ignore }));
}

interface Streams {
  stdin: Readable;
  stdout: PassThrough;
  stderr: PassThrough;
}

async function runAt(
  words: readonly string[],
  makeTerminal: (streams: Streams) => Terminal,
): Promise<Ended> {
  const streams = {
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
  };
  const [saidOut, saidErr] = [keepAll(streams.stdout), keepAll(streams.stderr)];
  const exitCode = await runCommandLine(words, makeTerminal(streams));
  for (const stream of [streams.stdout, streams.stderr]) {
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
