import { type Command, Option } from 'commander';
import type { TaskView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, say, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveGroupId, shortNodeId } from '../../ids.ts';
import { listPages } from '../../list-pages.ts';
import { wholeNumber } from '../../options.ts';
import { type Column, renderTable } from '../../output/table.ts';
import type { Style } from '../../output/text.ts';
import { formatBytes, formatSeconds, formatTime } from '../../output/units.ts';

interface ListOptions extends ShowOptions {
  group?: string;
  state?: string;
  limit: number;
}

/** `tasks` and `task ls`: tasks, newest first. */
export function taskList(context: CommandContext, name: string): Command {
  const command = describeCommand(name, {
    summary: 'List tasks, newest first.',
    examples: [
      name === 'ls' ? 'task ls' : 'tasks',
      'tasks --group @last --state running',
      'tasks --limit 1000 --json',
    ],
  })
    .option('--group <id>', 'only tasks of this group (id, its beginning, or @last)')
    .addOption(
      new Option('--state <state>', 'only tasks in this state').choices([
        'queued',
        'running',
        'done',
      ]),
    )
    .option('--limit <n>', 'at most this many', wholeNumber(1, 1_000_000), 50);
  return withJson(command).action(async (options: ListOptions) => {
    const group =
      options.group === undefined ? undefined : await resolveGroupId(context, options.group);
    const { items, more } = await listPages<TaskView>(context, '/v1/tasks', {
      limit: options.limit,
      query: { group, state: options.state },
    });
    const { columns, outColors } = context.terminal;
    show(context, options, {
      value: items,
      text:
        items.length === 0
          ? 'No such tasks.\n'
          : renderTable(items, taskColumns(context), { columns, colors: outColors }),
      next: items.length === 0 ? 'groups' : `task ${items[0]?.id ?? '@last'}`,
    });
    if (more && options.json !== true) say(context, 'There are more; --limit shows them.');
  });
}

/** What a task is doing or how it ended, in one word. */
export function taskWord(task: TaskView): string {
  if (task.state !== 'done') return task.state;
  return task.status === 'SUCCESS' ? 'succeeded' : (task.code ?? 'failed');
}

/** The colour of `taskWord`. */
export function taskStyle(task: TaskView): Style | undefined {
  if (task.state === 'running') return 'blue';
  if (task.state === 'queued') return undefined;
  if (task.code === 'cancelled') return 'magenta';
  return task.status === 'SUCCESS' ? 'green' : 'red';
}

function taskColumns(context: CommandContext): Column<TaskView>[] {
  const isRelative = context.terminal.columns !== null;
  const nowMs = context.nowMs();
  return [
    { title: 'id', text: (task) => task.id, whole: true },
    { title: 'group', text: (task) => task.groupName },
    { title: 'state', text: taskWord, style: taskStyle },
    {
      title: 'runtime',
      text: (task) => (task.runtimeSeconds === null ? '-' : formatSeconds(task.runtimeSeconds)),
      align: 'right',
    },
    {
      title: 'memory',
      text: (task) =>
        task.peakMemoryBytes === null || task.peakMemoryBytes === 0
          ? '-'
          : formatBytes(task.peakMemoryBytes),
      align: 'right',
    },
    { title: 'node', text: (task) => (task.node === null ? '-' : shortNodeId(task.node)) },
    { title: 'submitted', text: (task) => formatTime(task.submittedAt, { isRelative, nowMs }) },
    {
      title: 'error',
      text: (task) => (task.exception === null ? '' : `${task.exception}: ${task.message ?? ''}`),
    },
  ];
}
