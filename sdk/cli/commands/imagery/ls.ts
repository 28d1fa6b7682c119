import type { Command } from 'commander';
import type { StacCollection } from '../../../../protocol/stac/item.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { requireCollections } from '../../imagery/stac-url.ts';
import { wholeNumber } from '../../options.ts';
import { renderTable } from '../../output/table.ts';
import { formatCount } from '../../output/units.ts';
import { readSearch, showItems } from './search.ts';

interface ListOptions extends ShowOptions {
  limit: number;
}

type ListedCollection = StacCollection & {
  title?: string;
  'perigee:items': number;
  'perigee:shared': boolean;
};

/** `imagery ls [COLLECTION]`: the collections, or what one holds. */
export function imageryList(context: CommandContext): Command {
  const command = describeCommand('ls', {
    summary: 'List the collections of the catalogue, or the items of one.',
    examples: ['imagery ls', 'imagery ls landsat7 --limit 20'],
  })
    .argument('[collection]', 'its id')
    .option('--limit <n>', 'at most this many items', wholeNumber(1, 1_000_000), 50);
  return withJson(command).action(async (collection: string | undefined, options: ListOptions) => {
    if (collection === undefined) return listCollections(context, options);
    await requireCollections(context, [collection]);
    const wanted = { collections: [collection] };
    const found = await readSearch(context, wanted, options.limit);
    showItems(context, options, { found, next: `imagery rm ${collection}` });
  });
}

async function listCollections(context: CommandContext, options: ShowOptions): Promise<void> {
  const client = await context.client();
  const { collections } = await client.json<{ collections: ListedCollection[] }>(
    'GET',
    '/v1/stac/collections',
    { signal: context.signal },
  );
  const { columns, outColors } = context.terminal;
  show(context, options, {
    value: collections,
    text:
      collections.length === 0
        ? 'There is no collection yet.\n'
        : renderTable(
            collections,
            [
              { title: 'id', text: ({ id }) => id, whole: true },
              {
                title: 'items',
                text: (collection) => formatCount(collection['perigee:items']),
                align: 'right',
              },
              { title: 'from', text: (collection) => dayOf(collection, 0) },
              { title: 'to', text: (collection) => dayOf(collection, 1) },
              {
                title: 'for',
                text: (collection) => (collection['perigee:shared'] ? 'everybody' : 'namespace'),
              },
              { title: 'title', text: ({ title, description }) => title ?? description },
            ],
            { columns, colors: outColors },
          ),
    next:
      collections[0] === undefined
        ? 'imagery add FILE_OR_URL'
        : `imagery search --collections ${collections[0].id}`,
  });
}

function dayOf(collection: ListedCollection, end: 0 | 1): string {
  return collection.extent.temporal.interval[0]?.[end]?.slice(0, 10) ?? '..';
}
