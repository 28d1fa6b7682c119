/** Pages of lists. */
import type { Input } from '../input/fields.ts';
import { readIntegerOr, readTextOr } from '../input/fields.ts';

/** Items of one page: more would hold the event loop while they are written as JSON. */
const limitRange = { min: 1, max: 1_000, fallback: 100 } as const;

/** `limit` and `cursor` of a list. */
export function readPage(input: Input): { limit: number; cursor: string | null } {
  return {
    limit: readIntegerOr(input, 'limit', limitRange),
    cursor: readTextOr(input, 'cursor', { charsMax: 200, fallback: null }),
  };
}
