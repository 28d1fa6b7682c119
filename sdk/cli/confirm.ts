/** Asks before anything that cannot be taken back. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { type CommandContext, readLine, type ShowOptions } from './context.ts';
import { programName } from './terminal.ts';

/**
 * Returns when the person agrees, or `--yes` was given.
 * @throws PerigeeError invalid_request when nobody can be asked, conflict when the answer is no.
 */
export async function confirm(
  context: CommandContext,
  options: ShowOptions & { yes?: boolean },
  asked: { question: string; command: string },
): Promise<void> {
  if (options.yes === true) return;
  const { canAsk, stderr } = context.terminal;
  if (!canAsk || options.json === true) {
    throw new PerigeeError('invalid_request', `Nobody is here to ask: ${asked.question}`, {
      fix: `${programName} ${asked.command} --yes`,
    });
  }
  stderr.write(`${asked.question} [y/N] `);
  const answer = (await readLine(context)).trim().toLowerCase();
  if (answer === 'y' || answer === 'yes') return;
  throw new PerigeeError('conflict', 'Nothing was changed: the answer was no.', {
    fix: `${programName} ${asked.command} --yes`,
  });
}
