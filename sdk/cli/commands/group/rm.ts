import type { Command } from 'commander';
import type { GroupView } from '../../../../protocol/wire/api.ts';
import { confirm } from '../../confirm.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveGroupId } from '../../ids.ts';
import { countOf } from '../../output/units.ts';

/** For the rows of a million tasks, which go a few hundred at a time. */
const removeMsMax = 600_000;

/** `group rm ID`. */
export function groupRemove(context: CommandContext): Command {
  const command = describeCommand('rm', {
    summary: 'Remove a terminated group with its tasks, results and logs.',
    details: 'What was removed is gone for good. Without a terminal it needs --yes.',
    examples: ['group rm 3f2a', 'group rm @last --yes'],
  })
    .argument('<id>', 'id, its beginning, or @last')
    .option('-y, --yes', 'do not ask');
  return withJson(command).action(
    async (text: string, options: ShowOptions & { yes?: boolean }) => {
      const client = await context.client();
      const path = `/v1/groups/${await resolveGroupId(context, text)}`;
      const group = await client.json<GroupView>('GET', path, { signal: context.signal });
      const { succeeded, failed } = group.tasks;
      await confirm(context, options, {
        question: `Remove ${group.name} with ${countOf(succeeded + failed, 'task')} and their results?`,
        command: `group rm ${group.id}`,
      });
      const removed = await client.json<{ id: string }>('POST', `/v1/groups/${group.id}/remove`, {
        signal: context.signal,
        timeoutMs: removeMsMax,
      });
      show(context, options, {
        value: removed,
        text: `${group.name} (${group.id}) is removed.\n`,
        next: 'groups',
      });
    },
  );
}
