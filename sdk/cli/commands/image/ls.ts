import type { Command } from 'commander';
import type { ImageView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { listPages } from '../../list-pages.ts';
import { renderTable } from '../../output/table.ts';
import { formatBytes } from '../../output/units.ts';

const imagesMax = 10_000;

/** `images`, `image ls`: the environments that functions may run in. */
export function imageList(context: CommandContext, name: string): Command {
  const command = describeCommand(name, {
    summary: 'List the images that functions may run in.',
    examples: [name === 'ls' ? 'image ls' : name],
  });
  return withJson(command).action(async (options: ShowOptions) => {
    const { items } = await listPages<ImageView>(context, '/v1/images', { limit: imagesMax });
    const { columns, outColors } = context.terminal;
    show(context, options, {
      value: items,
      text:
        items.length === 0
          ? 'No node has an image yet. `npm run setup` builds them.\n'
          : renderTable(
              items,
              [
                { title: 'name', text: (image) => image.name, whole: true },
                {
                  title: 'python',
                  text: (image) => `${image.python.implementation} ${image.python.version}`,
                },
                { title: 'state', text: (image) => image.state.replace('_', ' ') },
                { title: 'arch', text: (image) => image.arch },
                { title: 'size', text: (image) => formatBytes(image.sizeBytes), align: 'right' },
                { title: 'nodes', text: (image) => String(image.nodes), align: 'right' },
                { title: 'digest', text: (image) => image.digest.slice(0, 19) },
                {
                  title: 'also called',
                  text: (image) => image.names.filter((name) => name !== image.name).join(', '),
                },
              ],
              { columns, colors: outColors },
            ),
      next: 'python mine.py',
    });
  });
}
