import type { Command } from 'commander';
import type { ImageDetailView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { formatBytes } from '../../output/units.ts';
import { imageUrl, printLog } from './build.ts';

interface ImageShowOptions extends ShowOptions {
  log?: boolean;
}

/** `image show NAME`: where it comes from, what is in it, where it is. */
export function imageShow(context: CommandContext): Command {
  const command = describeCommand('show', {
    summary: 'Show one image: what it is made of, and which nodes have it.',
    examples: ['image show perigee/geospatial:py2.7', 'image show zonal --log'],
  })
    .argument('<id>', 'name, digest, or its beginning')
    .option('--log', 'what its build printed, on standard error, until it is over');
  return withJson(command).action(async (id: string, options: ImageShowOptions) => {
    const client = await context.client();
    const { signal } = context;
    if (options.log === true) await printLog(context, id);
    const image = await client.json<ImageDetailView>('GET', imageUrl(id), { signal });
    show(context, options, { value: image, text: describe(image), next: 'images' });
  });
}

function describe(image: ImageDetailView): string {
  const packages = Object.entries(image.packages).map(([name, version]) => `${name} ${version}`);
  const rows: readonly (readonly [string, string])[] = [
    ['name', image.names.join(', ')],
    ['digest', image.digest],
    ['kind', image.kind],
    ['state', image.state],
    ['python', `${image.python.implementation} ${image.python.version}`],
    ['arch', image.arch],
    ['size', formatBytes(image.sizeBytes)],
    ['base', image.baseName ?? image.base ?? ''],
    ['from', image.reference ?? ''],
    ['requirements', image.requirements.join(', ')],
    ['packages', packages.join(', ')],
    ['why it failed', image.failure?.message ?? ''],
    ['fix', image.failure?.fix ?? ''],
    ['nodes', image.nodeNames.join(', ')],
  ];
  return rows
    .filter(([, value]) => value !== '')
    .map(([title, value]) => `${title.padEnd(13)}  ${value}\n`)
    .join('');
}
