import type { Command } from 'commander';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { type CommandContext, type ShowOptions, say, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { readStac } from '../../imagery/read-stac.ts';
import { collectionPath, type OwnerOptions, ownerQuery } from '../../imagery/stac-url.ts';
import { wholeNumber } from '../../options.ts';
import { countOf } from '../../output/units.ts';

interface AddOptions extends ShowOptions, OwnerOptions {
  collection?: string;
  follow: number;
}

interface Added {
  collection: string;
  created: number;
  replaced: number;
}

type Fields = Readonly<Record<string, unknown>>;

/** Of one call: below the server's bounds, and a step of which a person sees the next soon. */
const batchItemsMax = 1_000;
const batchBytesMax = 8 * 1024 * 1024;
/** For one batch to be on disk. */
const batchMs = 120_000;

/** `imagery add FILE_OR_URL…`. */
export function imageryAdd(context: CommandContext): Command {
  const command = describeCommand('add', {
    summary: 'Put STAC items and collections into the catalogue.',
    details:
      'Takes items, FeatureCollections, collections and catalogues, as JSON or one a line; links of ' +
      'collections and catalogues are followed. What is there already is replaced. Addresses of ' +
      'assets are told from the document’s own.',
    examples: [
      'imagery add scene.json --collection landsat7',
      'imagery add https://example.org/catalog.json',
    ],
  })
    .argument('<source...>', 'files or URLs')
    .option('--collection <id>', 'put the items into this collection, whatever they say')
    .option(
      '--follow <n>',
      'open at most so many linked documents',
      wholeNumber(0, 1_000_000),
      10_000,
    );
  return withJson(withOwner(command)).action(async (sources: string[], options: AddOptions) => {
    const added = await addAll(context, sources, options);
    const [first] = added;
    if (first === undefined) {
      throw new PerigeeError('stac_invalid', `There is no item in ${sources.join(', ')}.`, {
        fix: 'Give a document with items, or one whose links lead to items.',
      });
    }
    show(context, options, {
      value: added,
      text: added
        .map(
          ({ collection, created, replaced }) =>
            `${collection}: ${countOf(created, 'new item')}, ${replaced} replaced\n`,
        )
        .join(''),
      next: `imagery search --collections ${first.collection}`,
    });
  });
}

/** Options of commands that change collections. */
export function withOwner(command: Command): Command {
  return command
    .option('--namespace <name>', 'the namespace whose collection it is (operators)')
    .option('--shared', 'a collection that all namespaces read (operators)');
}

async function addAll(
  context: CommandContext,
  sources: readonly string[],
  options: AddOptions,
): Promise<Added[]> {
  const client = await context.client();
  const { signal } = context;
  const query = ownerQuery(options);
  const totals = new Map<string, Added>();
  const batches = new Map<string, { items: Fields[]; bytes: number }>();
  const totalOf = (collection: string): Added => {
    const total = totals.get(collection) ?? { collection, created: 0, replaced: 0 };
    totals.set(collection, total);
    return total;
  };
  const send = async (collection: string): Promise<void> => {
    const batch = batches.get(collection);
    batches.delete(collection);
    if (batch === undefined) return;
    const put = await client.json<Added>('POST', collectionPath(collection, '/items'), {
      body: batch.items,
      query,
      signal,
      timeoutMs: batchMs,
    });
    const total = totalOf(collection);
    total.created += put.created;
    total.replaced += put.replaced;
  };
  const documents = readStac(sources, {
    followMax: options.follow,
    signal,
    onSkipped: (text) => say(context, text),
  });
  for await (const { kind, document, from } of documents) {
    if (kind === 'collection') {
      const id = options.collection ?? document['id'];
      await client.json('POST', '/v1/stac/collections', {
        body: { ...document, id },
        query,
        signal,
      });
      totalOf(String(id));
      continue;
    }
    const collection = options.collection ?? document['collection'];
    if (typeof collection !== 'string' || collection === '') {
      throw new PerigeeError('stac_invalid', `An item in ${from} names no collection.`, {
        fix: 'Say which: --collection ID.',
      });
    }
    const batch = batches.get(collection) ?? { items: [], bytes: 0 };
    batches.set(collection, batch);
    batch.items.push({ ...document, collection });
    batch.bytes += JSON.stringify(document).length;
    const isFull = batch.items.length >= batchItemsMax || batch.bytes >= batchBytesMax;
    if (isFull) await send(collection);
  }
  for (const collection of [...batches.keys()]) await send(collection);
  return [...totals.values()];
}
