import type { Command } from 'commander';
import type { NodeView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveNodeId, shortNodeId } from '../../ids.ts';

/** `node drain ID`: the node takes nothing new, finishes what runs, and leaves. */
export function nodeDrain(context: CommandContext): Command {
  const command = describeCommand('drain', {
    summary: 'Let a node finish what runs, take nothing new, and leave.',
    details: 'It can be undone with `node undrain` as long as the node has not left.',
    examples: ['node drain worker-1'],
  }).argument('<id>', 'name, id or its beginning');
  return withJson(command).action(async (text: string, options: ShowOptions) => {
    const client = await context.client();
    const id = await resolveNodeId(context, text);
    const node = await client.json<NodeView>('POST', `/v1/nodes/${encodeURIComponent(id)}/drain`, {
      signal: context.signal,
    });
    show(context, options, {
      value: node,
      text: `${node.name} (${shortNodeId(node.id)}) is ${node.state}; it finishes ${node.busy} running.\n`,
      next: `node undrain ${shortNodeId(node.id)}`,
    });
  });
}
