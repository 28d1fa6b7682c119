import { type Command, Option } from 'commander';
import type { WhoamiView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { durationSeconds } from '../../options.ts';

interface CreateOptions extends ShowOptions {
  role: string;
  namespace?: string;
  label?: string;
  expires?: number;
}

/** `token create`. */
export function tokenCreate(context: CommandContext): Command {
  const command = describeCommand('create', {
    summary: 'Make an access token; it is shown this once.',
    examples: ['token create --namespace anna --label laptop --expires 30d'],
  })
    .addOption(
      new Option('--role <role>', 'what it may do')
        .choices(['user', 'read', 'operator'])
        .default('user'),
    )
    .option('--namespace <name>', 'whose tasks it is for (default: your own)')
    .option('--label <text>', 'for lists, for example who or what has it')
    .option('--expires <duration>', 'after 90s, 15m, 2h, 30d (default: never)', durationSeconds);
  return withJson(command).action(async (options: CreateOptions) => {
    const client = await context.client();
    const { signal } = context;
    const namespace =
      options.namespace ??
      (await client.json<WhoamiView>('GET', '/v1/whoami', { signal })).namespace;
    const made = await client.json<{ id: string; token: string }>('POST', '/v1/tokens', {
      body: {
        role: options.role,
        namespace,
        label: options.label,
        ttlSeconds: options.expires,
      },
      signal,
    });
    show(context, options, {
      value: { ...made, role: options.role, namespace },
      // The token alone, so that $(…) catches it.
      text: `${made.token}\n`,
      next: `token revoke ${made.id}  (this token is not shown again)`,
    });
  });
}
