/** Runs one command line and answers its exit code; the one place where errors become both. */
import { type Command, CommanderError } from 'commander';
import { exitCodes } from '../../protocol/base/errors.ts';
import { createContext } from './context.ts';
import { describeError, Interrupted, renderComplaint, renderProblem } from './output/errors.ts';
import { createProgram } from './program.ts';
import type { Terminal } from './terminal.ts';

/** Exit code of the command line `words` (without the program), run at a terminal. */
export async function runCommandLine(
  words: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const controller = new AbortController();
  const unsubscribe = terminal.onSignal((signal) => controller.abort(new Interrupted(signal)));
  const context = createContext(terminal, {
    signal: controller.signal,
    nowMs: () => Date.now(),
  });
  const program = createProgram(context);
  try {
    if (words.length === 0) program.outputHelp();
    else await program.parseAsync(words, { from: 'user' });
    return exitCodes.ok;
  } catch (thrown) {
    // What waited for the signal throws an AbortError of its own.
    const isAbort = thrown instanceof Error && thrown.name === 'AbortError';
    const caught: unknown =
      isAbort && controller.signal.aborted ? controller.signal.reason : thrown;
    return complain(caught, { words, command: findCommandPath(program, words) }, terminal);
  } finally {
    unsubscribe();
  }
}

/** The words that name a command, as far as they do. */
function findCommandPath(program: Command, words: readonly string[]): string {
  const path: string[] = [];
  let command: Command | undefined = program;
  for (const word of words) {
    command = command.commands.find((candidate) => candidate.name() === word);
    if (command === undefined) break;
    path.push(word);
  }
  return path.join(' ');
}

function complain(
  caught: unknown,
  line: { words: readonly string[]; command: string },
  terminal: Terminal,
): number {
  if (caught instanceof Interrupted) return caught.exitCode;
  if (caught instanceof CommanderError) {
    if (caught.exitCode === 0) return exitCodes.ok;
    // A noun without its verb: its help is already on standard error.
    if (caught.code === 'commander.help') return exitCodes.usage;
  }
  const complaint = describeError(caught, line.command);
  terminal.stderr.write(
    line.words.includes('--json')
      ? renderProblem(complaint)
      : renderComplaint(complaint, terminal.errorColors),
  );
  return complaint.exitCode;
}
