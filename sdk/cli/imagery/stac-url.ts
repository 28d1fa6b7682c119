/** Addresses of the catalogue, and finding out that a name in a search is none. */
import type { CommandContext } from '../context.ts';

/** Whose collections a command changes. */
export interface OwnerOptions {
  namespace?: string;
  shared?: boolean;
}

/** The path of a collection, or of what is below it. */
export function collectionPath(id: string, below = ''): string {
  return `/v1/stac/collections/${encodeURIComponent(id)}${below}`;
}

/** The query of a change. */
export function ownerQuery(options: OwnerOptions): Record<string, string | boolean | undefined> {
  return {
    namespace: options.namespace,
    shared: options.shared === true ? true : undefined,
  };
}

/**
 * A search in collections that are not there finds nothing, as STAC wants it; a person is told.
 * @throws PerigeeError not_found naming near ids
 */
export async function requireCollections(
  context: CommandContext,
  ids: readonly string[],
): Promise<void> {
  const client = await context.client();
  for (const id of ids) {
    await client.json('GET', collectionPath(id), { signal: context.signal });
  }
}
