import type { Command } from 'commander';
import type { JoinTokenView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { listPages } from '../../list-pages.ts';
import { renderTable } from '../../output/table.ts';
import { formatTime } from '../../output/units.ts';

const tokensMax = 10_000;

interface ListOptions extends ShowOptions {
  all?: boolean;
}

/** `join-token ls`. Every local node is given a token of one use: used up, they would bury the rest. */
export function joinTokenList(context: CommandContext): Command {
  const command = describeCommand('ls', {
    summary: 'List join tokens, without their secrets.',
    details: 'Tokens without a use left are shown only with --all.',
    examples: ['join-token ls', 'join-token ls --all --json'],
  }).option('--all', 'also those that are used up');
  return withJson(command).action(async (options: ListOptions) => {
    const page = await listPages<JoinTokenView>(context, '/v1/join-tokens', {
      limit: tokensMax,
    });
    const items = page.items.filter((token) => options.all === true || token.usesLeft !== 0);
    const { columns, outColors } = context.terminal;
    const times = { isRelative: columns !== null, nowMs: context.nowMs() };
    show(context, options, {
      value: items,
      text: renderTable(
        items,
        [
          { title: 'id', text: (token) => token.id, whole: true },
          { title: 'label', text: (token) => token.label },
          { title: 'namespaces', text: (token) => token.namespaces?.join(', ') ?? 'all' },
          { title: 'uses left', text: (token) => String(token.usesLeft ?? 'any'), align: 'right' },
          { title: 'created', text: (token) => formatTime(token.createdAt, times) },
          { title: 'expires', text: (token) => formatTime(token.expiresAt, times) },
          {
            title: 'revoked',
            text: (token) => formatTime(token.revokedAt, times),
            style: (token) => (token.revokedAt === null ? undefined : 'red'),
          },
        ],
        { columns, colors: outColors },
      ),
      next: 'join-token create --label TEXT',
    });
  });
}
