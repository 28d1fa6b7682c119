import type { Command } from 'commander';
import { confirm } from '../../confirm.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { collectionPath, type OwnerOptions, ownerQuery } from '../../imagery/stac-url.ts';
import { countOf } from '../../output/units.ts';
import { withOwner } from './add.ts';

interface RemoveOptions extends ShowOptions, OwnerOptions {
  yes?: boolean;
}

/** `imagery rm COLLECTION [ITEM]`. */
export function imageryRemove(context: CommandContext): Command {
  const command = describeCommand('rm', {
    summary: 'Take an item, or a whole collection, from the catalogue; files stay where they are.',
    details: 'For a collection it asks first; without a terminal it needs --yes.',
    examples: ['imagery rm landsat7 LE07_214065', 'imagery rm landsat7 --yes'],
  })
    .argument('<collection>', 'its id')
    .argument('[item]', 'its id; the whole collection without it')
    .option('-y, --yes', 'do not ask');
  return withJson(withOwner(command)).action(
    async (collection: string, item: string | undefined, options: RemoveOptions) => {
      const client = await context.client();
      const call = { query: ownerQuery(options), signal: context.signal };
      if (item !== undefined) {
        const path = collectionPath(collection, `/items/${encodeURIComponent(item)}`);
        const value = await client.json<{ id: string }>('DELETE', path, call);
        const next = `imagery ls ${collection}`;
        show(context, options, { value, text: `${item} is removed.\n`, next });
        return;
      }
      await confirm(context, options, {
        question: `Remove the collection ${collection} with all its items?`,
        command: `imagery rm ${collection}`,
      });
      const value = await client.json<{ id: string; items: number }>(
        'DELETE',
        collectionPath(collection),
        { ...call, timeoutMs: 120_000 },
      );
      const text = `${collection} is removed, with ${countOf(value.items, 'item')}.\n`;
      show(context, options, { value, text, next: 'imagery ls' });
    },
  );
}
