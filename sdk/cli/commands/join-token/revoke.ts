import type { Command } from 'commander';
import type { JoinTokenView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { findOne } from '../../ids.ts';
import { listPages } from '../../list-pages.ts';

const tokensMax = 10_000;

/** `join-token revoke ID`. */
export function joinTokenRevoke(context: CommandContext): Command {
  const command = describeCommand('revoke', {
    summary: 'End a join token now; nodes that joined with it stay.',
    examples: ['join-token revoke 7c1e'],
  }).argument('<id>', 'id or its beginning');
  return withJson(command).action(async (text: string, options: ShowOptions) => {
    const client = await context.client();
    const { items } = await listPages<JoinTokenView>(context, '/v1/join-tokens', {
      limit: tokensMax,
    });
    const { id } = findOne(items, text, {
      noun: 'join token',
      list: 'join-token ls',
      namesOf: (token) => [token.id],
    });
    await client.json('DELETE', `/v1/join-tokens/${encodeURIComponent(id)}`, {
      signal: context.signal,
    });
    show(context, options, {
      value: { id },
      text: `Join token ${id} is revoked.\n`,
      next: 'join-token ls',
    });
  });
}
