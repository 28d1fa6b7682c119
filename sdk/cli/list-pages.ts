/** Lists of any length, a page at a time. */
import type { Page } from '../../protocol/wire/api.ts';
import type { CommandContext } from './context.ts';

const pageItemsMax = 1000;

/** The first `limit` items of a list, and whether there are more. */
export async function listPages<Item>(
  context: CommandContext,
  path: string,
  options: { limit: number; query?: Readonly<Record<string, string | undefined>> },
): Promise<{ items: Item[]; more: boolean }> {
  const client = await context.client();
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<Item> = await client.json('GET', path, {
      query: {
        ...options.query,
        limit: Math.min(pageItemsMax, options.limit - items.length),
        cursor,
      },
      signal: context.signal,
    });
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== null && items.length < options.limit);
  return { items, more: cursor !== null };
}
