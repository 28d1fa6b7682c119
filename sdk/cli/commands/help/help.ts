import type { Command } from 'commander';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { CommandContext } from '../../context.ts';
import { describeCommand } from '../../describe-command.ts';
import { listExitCodes } from '../../exit-codes.ts';
import { renderManual } from '../../manual.ts';
import { renderTable } from '../../output/table.ts';
import { programName } from '../../terminal.ts';

/** `help [topic…]`: a command's help, or one of the topics. */
export function helpTopic(context: CommandContext, program: () => Command): Command {
  return describeCommand('help', {
    summary: 'Show help on a command, or on exit-codes; `help manual` prints docs/cli.md.',
    examples: ['help exit-codes', 'help node drain'],
  })
    .argument('[topic...]', 'a command, exit-codes or manual')
    .action((topic: string[]) => {
      context.terminal.stdout.write(renderTopic(context, program(), topic));
    });
}

function renderTopic(context: CommandContext, program: Command, topic: readonly string[]): string {
  if (topic.length === 1 && topic[0] === 'exit-codes') {
    const { columns, outColors } = context.terminal;
    return renderTable(
      listExitCodes(),
      [
        { title: 'code', text: (entry) => String(entry.code), align: 'right' },
        { title: 'name', text: (entry) => entry.name },
        { title: 'meaning', text: (entry) => entry.meaning },
      ],
      { columns, colors: outColors },
    );
  }
  if (topic.length === 1 && topic[0] === 'manual') return renderManual(program);
  let command = program;
  for (const word of topic) {
    const next = command.commands.find((candidate) => candidate.name() === word);
    if (next === undefined) {
      throw new PerigeeError('invalid_request', `There is no help on "${topic.join(' ')}".`, {
        fix: `${programName} help`,
      });
    }
    command = next;
  }
  let text = '';
  // Through outputHelp rather than helpInformation, which leaves the examples out.
  const { writeOut } = command.configureOutput();
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  command.configureOutput({ ...(writeOut === undefined ? {} : { writeOut }) });
  return text;
}
