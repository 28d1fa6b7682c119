import type { Command } from 'commander';
import type { NodeView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveNodeId, shortNodeId } from '../../ids.ts';

/** `node undrain ID`: takes a drain back. */
export function nodeUndrain(context: CommandContext): Command {
  const command = describeCommand('undrain', {
    summary: 'Let a draining node take tasks again.',
    examples: ['node undrain worker-1'],
  }).argument('<id>', 'name, id or its beginning');
  return withJson(command).action(async (text: string, options: ShowOptions) => {
    const client = await context.client();
    const id = await resolveNodeId(context, text);
    const path = `/v1/nodes/${encodeURIComponent(id)}/undrain`;
    const node = await client.json<NodeView>('POST', path, { signal: context.signal });
    show(context, options, {
      value: node,
      text: `${node.name} (${shortNodeId(node.id)}) is ${node.state}.\n`,
      next: 'nodes',
    });
  });
}
