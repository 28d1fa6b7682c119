import type { Command } from 'commander';
import type { GroupView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, say, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { listPages } from '../../list-pages.ts';
import { wholeNumber } from '../../options.ts';
import { type Column, renderTable } from '../../output/table.ts';
import { oneLine } from '../../output/text.ts';
import { formatCount, formatTime } from '../../output/units.ts';

interface ListOptions extends ShowOptions {
  name?: string;
  limit: number;
}

/** `groups` and `group ls`: the functions of the namespace, newest first. */
export function groupList(context: CommandContext, name: string): Command {
  const command = describeCommand(name, {
    summary: 'List the groups, one for each create_function, newest first.',
    examples: [name === 'ls' ? 'group ls' : 'groups', 'groups --name ndvi', 'groups --json'],
  })
    .option('--name <name>', 'only groups of this name')
    .option('--limit <n>', 'at most this many', wholeNumber(1, 100_000), 50);
  return withJson(command).action(async (options: ListOptions) => {
    const { items, more } = await listPages<GroupView>(context, '/v1/groups', {
      limit: options.limit,
      query: { name: options.name },
    });
    const { columns, outColors } = context.terminal;
    show(context, options, {
      value: items,
      text:
        items.length === 0
          ? emptyText(options)
          : renderTable(items, groupColumns(context), { columns, colors: outColors }),
      next: nextAfter(items, options),
    });
    if (more && options.json !== true) say(context, `There are more; --limit shows them.`);
  });
}

function nextAfter(items: readonly GroupView[], options: ListOptions): string {
  const [newest] = items;
  if (newest !== undefined) return `group ${newest.id}`;
  return options.name === undefined ? 'python mine.py' : 'groups';
}

function emptyText(options: ListOptions): string {
  return options.name === undefined
    ? 'No groups yet. A script makes one with create_function.\n'
    : `No group has the name ${oneLine(options.name)}.\n`;
}

function groupColumns(context: CommandContext): Column<GroupView>[] {
  const isRelative = context.terminal.columns !== null;
  const nowMs = context.nowMs();
  return [
    { title: 'id', text: (group) => group.id, whole: true },
    { title: 'name', text: (group) => group.name },
    {
      title: 'state',
      text: (group) => group.state,
      style: (group) => (group.state === 'running' ? 'green' : 'dim'),
    },
    { title: 'queued', text: (group) => formatCount(group.tasks.queued), align: 'right' },
    { title: 'running', text: (group) => formatCount(group.tasks.running), align: 'right' },
    { title: 'succeeded', text: (group) => formatCount(group.tasks.succeeded), align: 'right' },
    {
      title: 'failed',
      text: (group) => formatCount(group.tasks.failed),
      align: 'right',
      style: (group) => (group.tasks.failed > 0 ? 'red' : undefined),
    },
    { title: 'created', text: (group) => formatTime(group.createdAt, { isRelative, nowMs }) },
    { title: 'image', text: (group) => group.image },
  ];
}
