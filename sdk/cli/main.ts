#!/usr/bin/env node
/** The `perigee` command line. `scripts/perigee` execs it. */
import { toError } from '../../protocol/base/errors.ts';
import { runCommandLine } from './run.ts';
import { createTerminal } from './terminal.ts';

// `perigee logs … | head` closes the pipe early; that is no failure of ours.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if ('code' in error && error.code === 'EPIPE') process.exit();
    throw toError(error);
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2), createTerminal(process));
