import type { Command } from 'commander';
import type { GroupView } from '../../../../protocol/wire/api.ts';
import { confirm } from '../../confirm.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveGroupId } from '../../ids.ts';
import { countOf, formatCount } from '../../output/units.ts';

/** Options of `group terminate`, and of `cancel` on a group. */
export interface TerminateOptions extends ShowOptions {
  yes?: boolean;
  drain?: boolean;
}

/** `group terminate ID`. */
export function groupTerminate(context: CommandContext): Command {
  const command = describeCommand('terminate', {
    summary: 'End a group: no new tasks, queued ones are cancelled, running ones are killed.',
    details: 'Results that are there stay readable. Without a terminal it needs --yes.',
    examples: ['group terminate 3f2a', 'group terminate @last --drain --yes'],
  })
    .argument('<id>', 'id, its beginning, or @last')
    .option('--drain', 'let running tasks finish')
    .option('-y, --yes', 'do not ask');
  return withJson(command).action((text: string, options: TerminateOptions) =>
    terminateGroup(context, text, options),
  );
}

/** Terminates a group once the person, or --yes, has agreed to the counts. */
export async function terminateGroup(
  context: CommandContext,
  text: string,
  options: TerminateOptions,
): Promise<void> {
  const path = `/v1/groups/${await resolveGroupId(context, text)}`;
  const client = await context.client();
  const before = await client.json<GroupView>('GET', path, { signal: context.signal });
  const { queued, running } = before.tasks;
  if (queued + running > 0) {
    const end = options.drain === true ? 'let finish' : 'kill';
    await confirm(context, options, {
      question:
        `Cancel ${formatCount(queued)} queued and ${end} ${countOf(running, 'running task')} ` +
        `of ${before.name}?`,
      command: `group terminate ${before.id}`,
    });
  }
  const group = await client.json<GroupView>('DELETE', `/v1/groups/${before.id}`, {
    query: { drain: options.drain === true },
    signal: context.signal,
  });
  show(context, options, {
    value: group,
    text: `${group.name} (${group.id}) is ${group.state}.\n`,
    next: `group ${group.id}`,
  });
}
