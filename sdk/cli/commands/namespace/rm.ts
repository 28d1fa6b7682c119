import type { Command } from 'commander';
import { confirm } from '../../confirm.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';

/** `namespace rm NAME`. */
export function namespaceRemove(context: CommandContext): Command {
  const command = describeCommand('rm', {
    summary: 'Remove a namespace with its results; its groups must have been terminated.',
    details: 'It asks first; without a terminal it needs --yes.',
    examples: ['namespace rm anna --yes'],
  })
    .argument('<name>')
    .option('-y, --yes', 'do not ask');
  return withJson(command).action(
    async (name: string, options: ShowOptions & { yes?: boolean }) => {
      const client = await context.client();
      await confirm(context, options, {
        question: `Remove the namespace ${name} and everything in it?`,
        command: `namespace rm ${name}`,
      });
      await client.json('DELETE', `/v1/namespaces/${encodeURIComponent(name)}`, {
        signal: context.signal,
      });
      show(context, options, {
        value: { namespace: name },
        text: `Namespace ${name} is removed.\n`,
        next: 'namespace ls',
      });
    },
  );
}
