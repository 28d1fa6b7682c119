import type { Command } from 'commander';
import type { StatusView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { renderFields } from '../../output/table.ts';
import { countOf, formatBytes, formatCount } from '../../output/units.ts';

/** `status`: the mesh at a glance. */
export function meshStatus(context: CommandContext): Command {
  const command = describeCommand('status', {
    summary: 'Show the mesh at a glance: nodes, slots, tasks and images.',
    examples: ['status', 'status --json'],
  });
  return withJson(command).action(async (options: ShowOptions) => {
    const client = await context.client();
    const status = await client.json<StatusView>('GET', '/v1/status', { signal: context.signal });
    show(context, options, {
      value: { url: client.url, ...status },
      text: renderStatus(context, client.url, status),
      next: status.groups.running > 0 ? 'groups' : 'python mine.py',
    });
  });
}

function renderStatus(context: CommandContext, url: string, status: StatusView): string {
  const { columns, outColors } = context.terminal;
  const { queued, running, succeeded, failed } = status.tasks;
  const nodes = Object.entries(status.nodes).filter(([, count]) => count > 0);
  const { total, busy } = status.slots;
  return renderFields(
    [
      ['mesh', `${url}  (version ${status.version})`],
      ['namespace', status.namespace],
      [
        'nodes',
        nodes.length === 0
          ? 'none now; they appear when work is queued'
          : nodes.map(([state, count]) => `${formatCount(count)} ${state}`).join(', '),
      ],
      ['slots', `${formatCount(busy)} of ${formatCount(total)} busy`],
      ['groups', countOf(status.groups.running, 'running group')],
      [
        'tasks',
        `${formatCount(queued)} queued, ${formatCount(running)} running, ` +
          `${formatCount(succeeded)} succeeded, ${formatCount(failed)} failed`,
      ],
      ['held', renderHeld(status.held)],
      ['images', status.images.length === 0 ? 'none' : status.images.join(', ')],
    ],
    { columns, colors: outColors },
  );
}

function renderHeld(held: StatusView['held']): string {
  if (held === null) return 'not measured yet';
  const { results, logs, blobs } = held;
  const parts = { results, arguments: held.arguments, logs, blobs };
  return Object.entries(parts)
    .map(([what, bytes]) => `${formatBytes(bytes)} of ${what}`)
    .join(', ');
}
