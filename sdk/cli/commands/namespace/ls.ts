import type { Command } from 'commander';
import type { NamespaceView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { listPages } from '../../list-pages.ts';
import { renderTable } from '../../output/table.ts';
import { formatTime } from '../../output/units.ts';

const namespacesMax = 10_000;

/** `namespace ls`. */
export function namespaceList(context: CommandContext): Command {
  const command = describeCommand('ls', {
    summary: 'List the namespaces of the mesh.',
    examples: ['namespace ls'],
  });
  return withJson(command).action(async (options: ShowOptions) => {
    const { items } = await listPages<NamespaceView>(context, '/v1/namespaces', {
      limit: namespacesMax,
    });
    const { columns, outColors } = context.terminal;
    const times = { isRelative: columns !== null, nowMs: context.nowMs() };
    show(context, options, {
      value: items,
      text: renderTable(
        items,
        [
          { title: 'namespace', text: (item) => item.namespace, whole: true },
          { title: 'created', text: (item) => formatTime(item.createdAt, times) },
        ],
        { columns, colors: outColors },
      ),
      next: 'namespace create NAME',
    });
  });
}
