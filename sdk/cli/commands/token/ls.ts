import type { Command } from 'commander';
import type { TokenView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { listPages } from '../../list-pages.ts';
import { renderTable } from '../../output/table.ts';
import { formatTime } from '../../output/units.ts';

const tokensMax = 10_000;

/** `token ls`. */
export function tokenList(context: CommandContext): Command {
  const command = describeCommand('ls', {
    summary: 'List access tokens, without their secrets.',
    examples: ['token ls'],
  });
  return withJson(command).action(async (options: ShowOptions) => {
    const { items } = await listPages<TokenView>(context, '/v1/tokens', { limit: tokensMax });
    const { columns, outColors } = context.terminal;
    const times = { isRelative: columns !== null, nowMs: context.nowMs() };
    show(context, options, {
      value: items,
      text: renderTable(
        items,
        [
          { title: 'id', text: (token) => token.id, whole: true },
          { title: 'role', text: (token) => token.role },
          { title: 'namespace', text: (token) => token.namespace },
          { title: 'label', text: (token) => token.label },
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
      next: 'token create --namespace NAME --label TEXT',
    });
  });
}
