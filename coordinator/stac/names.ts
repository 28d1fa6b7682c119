/** Names in the catalogue, and the errors for those that it does not have. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { findNear } from '../gateway/input/near-names.ts';

/** The namespace of collections that everybody reads; no namespace has an empty name. */
export const everybodysName = '';

/** The error not_found for a collection, with those whose ids are near. */
export function unknownCollection(id: string, known: readonly string[]): PerigeeError {
  const near = findNear(id, known);
  const hint = near.length === 0 ? '.' : `; did you mean ${near.join(', ')}?`;
  return new PerigeeError('not_found', `There is no collection "${id.slice(0, 80)}"${hint}`, {
    fix: '`scripts/perigee imagery ls` shows the collections that there are.',
  });
}

/** The error not_found for an item. */
export function unknownItem(collection: string, id: string): PerigeeError {
  const named = `"${id.slice(0, 80)}" in ${collection.slice(0, 80)}`;
  return new PerigeeError('not_found', `There is no item ${named}.`, {
    fix: `\`scripts/perigee imagery search --collections ${collection.slice(0, 80)}\` shows what there is.`,
  });
}
