/** The order of results, and going on behind one of them whatever has been added since. */
import type { Condition, SqlValue } from './condition.ts';
import { allOf, anyOf, compare, literal } from './condition.ts';
import type { Property } from './property.ts';
import { readProperty, refuse } from './property.ts';

/** One thing that results are sorted by. */
export interface OrderKey {
  value: Condition;
  isDescending: boolean;
  /** Never null: SQL's comparison tells all. */
  isWhole: boolean;
}

const keysMax = 8;

/** Latest first; the key of the row settles what is left equal. */
const byTime: readonly OrderKey[] = [
  { value: { sql: 'item.at_ms', values: [] }, isDescending: true, isWhole: true },
  { value: { sql: 'item.key', values: [] }, isDescending: true, isWhole: true },
];

/**
 * `sortby` as a text (`-datetime,+id`) or as a list of texts or `{field, direction}`.
 * @throws PerigeeError invalid_request
 */
export function readOrder(sortby: unknown): readonly OrderKey[] {
  if (sortby === undefined || sortby === null || sortby === '') return byTime;
  const parts: readonly unknown[] = typeof sortby === 'string' ? sortby.split(',') : asList(sortby);
  if (parts.length === 0) return byTime;
  if (parts.length > keysMax) throw refuse('sortby', `must name at most ${keysMax} properties`);
  const wanted = parts.map(readPart);
  return [
    ...wanted.flatMap(({ property, isDescending }) => keysOf(property, isDescending)),
    {
      value: { sql: 'item.key', values: [] },
      isDescending: wanted[0]?.isDescending ?? true,
      isWhole: true,
    },
  ];
}

/** `order by` of the keys. */
export function orderSql(keys: readonly OrderKey[]): Condition {
  return {
    sql: keys
      .map(({ value, isDescending }) => `${value.sql} ${isDescending ? 'desc' : 'asc'}`)
      .join(', '),
    values: keys.flatMap(({ value }) => value.values),
  };
}

/** What comes behind the row that has these values. */
export function behind(keys: readonly OrderKey[], last: readonly SqlValue[]): Condition {
  const steps = keys.map((key, place) =>
    allOf([
      ...keys
        .slice(0, place)
        .map((earlier, index) => compare(earlier.value, 'is', literal(last[index] ?? null))),
      compare(key.value, key.isDescending ? '<' : '>', literal(last[place] ?? null)),
    ]),
  );
  const first = keys[0];
  // Says again what the rest implies, in a form for which an index is used.
  const bound =
    first?.isWhole === true
      ? [compare(first.value, first.isDescending ? '<=' : '>=', literal(last[0] ?? null))]
      : [];
  return allOf([...bound, anyOf(steps)]);
}

function keysOf(property: Property, isDescending: boolean): OrderKey[] {
  if (property.name === 'datetime') {
    return [{ value: { sql: 'item.at_ms', values: [] }, isDescending, isWhole: true }];
  }
  if (property.type === null) return [{ value: property.value, isDescending, isWhole: true }];
  const isMissing = { sql: `(${property.value.sql} is null)`, values: property.value.values };
  // Items that lack it come last, whichever way it is sorted.
  return [
    { value: isMissing, isDescending: false, isWhole: true },
    { value: property.value, isDescending, isWhole: false },
  ];
}

function readPart(part: unknown): { property: Property; isDescending: boolean } {
  if (typeof part === 'string') {
    const name = part.trim().replace(/^[+-]/, '');
    return { property: readProperty(name, 'sortby'), isDescending: part.trim().startsWith('-') };
  }
  const fields = typeof part === 'object' && part !== null ? (part as Record<string, unknown>) : {};
  const direction = fields['direction'] ?? 'asc';
  if (direction !== 'asc' && direction !== 'desc') {
    throw refuse('sortby', 'must have "asc" or "desc" as direction');
  }
  return {
    property: readProperty(fields['field'], 'sortby'),
    isDescending: direction === 'desc',
  };
}

function asList(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw refuse('sortby', 'must be a list of properties');
}
