import type { Command } from 'commander';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { collect, durationSeconds, wholeNumber } from '../../options.ts';

interface CreateOptions extends ShowOptions {
  namespace?: string[];
  label?: string;
  expires?: number;
  uses?: number;
}

/** `join-token create`. */
export function joinTokenCreate(context: CommandContext): Command {
  const command = describeCommand('create', {
    summary: 'Make a token with which machines may join as nodes; it is shown this once.',
    examples: ['join-token create --label lab --uses 10 --expires 7d'],
  })
    .option(
      '--namespace <name>',
      'whose work the nodes may see; repeatable (default: all)',
      collect,
    )
    .option('--label <text>', 'for lists')
    .option('--expires <duration>', 'after 90s, 15m, 2h, 30d (default: never)', durationSeconds)
    .option('--uses <n>', 'how many machines may join', wholeNumber(1, 1_000_000));
  return withJson(command).action(async (options: CreateOptions) => {
    const client = await context.client();
    const made = await client.json<{ id: string; token: string; join: string }>(
      'POST',
      '/v1/join-tokens',
      {
        body: {
          namespaces: options.namespace,
          label: options.label,
          ttlSeconds: options.expires,
          uses: options.uses,
        },
        signal: context.signal,
      },
    );
    show(context, options, {
      value: made,
      text: `${made.token}\n`,
      next: `agent --join ${made.join} --join-token-file FILE  (on the other machine, the token in FILE)`,
    });
  });
}
