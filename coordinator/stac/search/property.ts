/** What a property's name stands for in SQL, and comparing it with a value of JSON. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import { findInstant } from '../instants.ts';
import type { Condition, SqlValue } from './condition.ts';
import { compare, literal } from './condition.ts';

export type Operator = '=' | '<>' | '<' | '<=' | '>' | '>=';

/** A property of items, by its name with or without `properties.`. */
export interface Property {
  name: string;
  /** Its value; null where an item lacks it. */
  value: Condition;
  /** Its JSON type, where it is a field of the document. */
  type: Condition | null;
  /** Its value as milliseconds since 1970. */
  instant: Condition | null;
}

/** The whole of a row of `item`. */
export const bodySql = '(select body from document where document.key = item.key)';

const charsMax = 128;
const timeNames = ['datetime', 'start_datetime', 'end_datetime', 'created', 'updated'];

/** @throws PerigeeError invalid_request for what is no property's name. */
export function readProperty(written: unknown, field: string): Property {
  const name = typeof written === 'string' ? written.replace(/^properties\./, '') : '';
  // A quote would end the name within the path.
  if (name === '' || name.length > charsMax || /["\\\p{Cc}]/u.test(name)) {
    throw refuse(field, `names no property: ${JSON.stringify(written)?.slice(0, 80)}`);
  }
  if (name === 'geometry' || name === 'bbox' || name === 'assets' || name === 'links') {
    throw refuse(field, `cannot compare "${name}"; use bbox or intersects`);
  }
  if (name === 'id') return { name, value: plain('item.id'), type: null, instant: null };
  if (name === 'collection') {
    const sql = '(select id from collection where collection.key = item.collection)';
    return { name, value: plain(sql), type: null, instant: null };
  }
  const path = `$.properties."${name}"`;
  const value = { sql: `json_extract(${bodySql}, ?)`, values: [path] };
  const type = { sql: `json_type(${bodySql}, ?)`, values: [path] };
  const read = { sql: `instant(${value.sql})`, values: value.values };
  const instant = name === 'datetime' ? plain('item.at_ms') : read;
  return { name, value, type, instant: timeNames.includes(name) ? instant : null };
}

/**
 * Compares a property with a value of JSON. Values of another type than the property's fit nothing;
 * a text that is a time is compared as one where the property is a time.
 */
export function compareProperty(
  property: Property,
  operator: Operator,
  value: unknown,
): Condition | undefined {
  if (typeof value === 'boolean') {
    if (property.type === null || (operator !== '=' && operator !== '<>')) return undefined;
    return compare(property.type, operator, literal(value ? 'true' : 'false'));
  }
  if (typeof value !== 'string' && !(typeof value === 'number' && Number.isFinite(value))) {
    return undefined;
  }
  const atMs = typeof value === 'string' ? findInstant(value) : undefined;
  if (atMs !== undefined && property.instant !== null) {
    return compareInstant(property.instant, operator, atMs);
  }
  const compared = compare(property.value, operator, literal(value as SqlValue));
  if (operator === '=') return compared;
  const types = typeof value === 'number' ? "('integer', 'real')" : "('text')";
  return {
    sql: `${compared.sql} and typeof(${property.value.sql}) in ${types}`,
    values: [...compared.values, ...property.value.values],
  };
}

/** Compares a time. */
export function compareInstant(left: Condition, operator: Operator, atMs: number): Condition {
  return compare(left, operator, literal(atMs));
}

/** A text with `*` and `?` as themselves, for SQLite's `glob`, which minds case. */
export function escapeGlob(text: string): string {
  return text.replace(/[*?[]/g, '[$&]');
}

export function refuse(field: string, why: string): PerigeeError {
  return new PerigeeError('invalid_request', `"${field}" ${why}.`, { details: { field } });
}

function plain(sql: string): Condition {
  return { sql, values: [] };
}
