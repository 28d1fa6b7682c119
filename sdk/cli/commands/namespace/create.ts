import type { Command } from 'commander';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';

/** `namespace create NAME`. */
export function namespaceCreate(context: CommandContext): Command {
  const command = describeCommand('create', {
    summary: 'Make a namespace: a space of functions, tasks and results of its own.',
    examples: ['namespace create anna'],
  }).argument('<name>', '1-63 of a-z, 0-9 and inner hyphens');
  return withJson(command).action(async (name: string, options: ShowOptions) => {
    const client = await context.client();
    const made = await client.json<{ namespace: string; created: boolean }>(
      'PUT',
      `/v1/namespaces/${encodeURIComponent(name)}`,
      { signal: context.signal },
    );
    show(context, options, {
      value: made,
      text: made.created
        ? `Namespace ${made.namespace} is made.\n`
        : `Namespace ${made.namespace} was there already.\n`,
      next: `token create --namespace ${made.namespace}`,
    });
  });
}
