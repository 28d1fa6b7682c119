import type { Command } from 'commander';
import { type CommandContext, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { isTaskId, lastId, resolveTaskId } from '../../ids.ts';
import { type TerminateOptions, terminateGroup } from '../group/terminate.ts';

/** `cancel ID`: one task, or a whole group. */
export function taskCancel(context: CommandContext): Command {
  const command = describeCommand('cancel', {
    summary: 'Cancel a task, or terminate a whole group.',
    details:
      'A task that runs is killed with everything it started; its log is kept. ' +
      '@last is the newest task. A group asks first, and without a terminal it needs --yes.',
    examples: ['cancel 17-3', 'cancel 3f2a --yes'],
  })
    .argument('<id>', 'a task, @last, or a group (id or its beginning)')
    .option('--drain', 'of a group: let running tasks finish')
    .option('-y, --yes', 'do not ask');
  return withJson(command).action(async (text: string, options: TerminateOptions) => {
    if (text !== lastId && !isTaskId(text)) {
      await terminateGroup(context, text, options);
      return;
    }
    const client = await context.client();
    const id = await resolveTaskId(context, text);
    const { state } = await client.json<{ state: string }>('POST', `/v1/tasks/${id}/cancel`, {
      signal: context.signal,
    });
    show(context, options, {
      value: { id, state },
      text:
        state === 'done' ? `${id} was already done.\n` : `${id} was ${state}; it is cancelled.\n`,
      next: `task ${id}`,
    });
  });
}
