import type { GroupView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { resolveGroupId } from '../../ids.ts';
import { renderFields } from '../../output/table.ts';
import { formatBytes, formatCount, formatSeconds, formatTime } from '../../output/units.ts';

/** `group ID`: everything about one group. */
export async function viewGroup(
  context: CommandContext,
  text: string,
  options: ShowOptions,
): Promise<void> {
  const id = await resolveGroupId(context, text);
  const client = await context.client();
  const group = await client.json<GroupView>('GET', `/v1/groups/${id}`, {
    signal: context.signal,
  });
  show(context, options, {
    value: group,
    text: renderGroup(context, group),
    next: `tasks --group ${group.id}`,
  });
}

function renderGroup(context: CommandContext, group: GroupView): string {
  const { columns, outColors } = context.terminal;
  const times = { isRelative: columns !== null, nowMs: context.nowMs() };
  const { queued, running, succeeded, failed } = group.tasks;
  const environment = Object.keys(group.environment);
  return renderFields(
    [
      ['group', `${group.id}  ${group.name}`],
      ['state', group.state],
      [
        'tasks',
        `${formatCount(queued)} queued, ${formatCount(running)} running, ` +
          `${formatCount(succeeded)} succeeded, ${formatCount(failed)} failed`,
      ],
      [
        'image',
        `${group.image}  (${group.imagePython.implementation} ${group.imagePython.version})`,
      ],
      [
        'each task',
        `${group.cpus} cpu, ${formatBytes(group.memoryBytes)}, ` +
          `${formatSeconds(group.taskTimeoutSeconds)} at most, retried ${group.retryCount} times`,
      ],
      [
        'at once',
        group.maximumConcurrency === null ? 'no limit' : `at most ${group.maximumConcurrency}`,
      ],
      ['priority', String(group.priority)],
      ['isolation', `per ${group.isolation}, at least ${group.isolationMin}`],
      ['network', group.network ? 'yes' : 'no'],
      ['environment', environment.length === 0 ? null : environment.join(', ')],
      ['results', group.resultFormat],
      ['created', formatTime(group.createdAt, times)],
      ['terminated', group.terminatedAt === null ? null : formatTime(group.terminatedAt, times)],
    ],
    { columns, colors: outColors },
  );
}
