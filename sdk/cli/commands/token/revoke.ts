import type { Command } from 'commander';
import type { TokenView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { findOne } from '../../ids.ts';
import { listPages } from '../../list-pages.ts';

const tokensMax = 10_000;

/** `token revoke ID`. */
export function tokenRevoke(context: CommandContext): Command {
  const command = describeCommand('revoke', {
    summary: 'End an access token now.',
    examples: ['token revoke 7c1e'],
  }).argument('<id>', 'id or its beginning');
  return withJson(command).action(async (text: string, options: ShowOptions) => {
    const client = await context.client();
    const { items } = await listPages<TokenView>(context, '/v1/tokens', { limit: tokensMax });
    const { id } = findOne(items, text, {
      noun: 'token',
      list: 'token ls',
      namesOf: (token) => [token.id],
    });
    await client.json('DELETE', `/v1/tokens/${encodeURIComponent(id)}`, {
      signal: context.signal,
    });
    show(context, options, { value: { id }, text: `Token ${id} is revoked.\n`, next: 'token ls' });
  });
}
