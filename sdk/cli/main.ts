#!/usr/bin/env node
/** The `perigee` command line. `scripts/perigee` execs it. */
import { enableCompileCache } from 'node:module';
import { compileCacheFolder } from './compile-cache.ts';

enableCompileCache(compileCacheFolder);
// What is imported statically would be compiled before the cache is there.
const [{ toError }, { runCommandLine }, { createTerminal }] = await Promise.all([
  import('../../protocol/base/errors.ts'),
  import('./run.ts'),
  import('./terminal.ts'),
]);

// `perigee logs … | head` closes the pipe early; that is no failure of ours. A mesh goes on without a reader,
// and stops in order: what reads it gets the same Ctrl-C, and ends sooner.
const isMesh = process.argv[2] === 'up';
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    const isGone = 'code' in error && (error.code === 'EPIPE' || error.code === 'EIO');
    if (!isGone) throw toError(error);
    if (!isMesh) process.exit();
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2), createTerminal(process));
