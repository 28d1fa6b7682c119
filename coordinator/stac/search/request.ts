/** The parameters of an item search, from a query or a body alike. */
import { createHash } from 'node:crypto';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { StacGeometry } from '../../../protocol/stac/item.ts';
import type { Box } from '../geometry.ts';
import {
  boxesAround,
  boxOf,
  findBoxFault,
  findGeometryFault,
  geometryOfBox,
  splitBox,
} from '../geometry.ts';
import type { Interval } from '../instants.ts';
import { readInterval } from '../instants.ts';
import type { Condition, SqlValue } from './condition.ts';
import { readFilter } from './cql2.ts';
import type { Selection } from './fields.ts';
import { readSelection } from './fields.ts';
import type { OrderKey } from './order.ts';
import { readOrder } from './order.ts';
import { refuse } from './property.ts';
import { readQuery } from './query.ts';

/** A search that can be run. */
export interface SearchRequest {
  /** Null for all that the caller sees. */
  collections: readonly string[] | null;
  ids: readonly string[] | null;
  /** Where, as boxes to find it by and as the exact thing; null for anywhere. */
  place: { boxes: readonly Box[]; geometry: StacGeometry; isBox: boolean } | null;
  time: Interval | null;
  conditions: readonly Condition[];
  order: readonly OrderKey[];
  selection: Selection | null;
  limit: number;
  /** Where the page before ended, and what it counted. */
  after: { last: readonly SqlValue[]; matched: number } | null;
  /** Tells this search from others, so that a token goes on with its own. */
  fingerprint: string;
}

const parameterNames = [
  'collections',
  'ids',
  'bbox',
  'intersects',
  'datetime',
  'query',
  'filter',
  'filter-lang',
  'filter-crs',
  'sortby',
  'fields',
  'limit',
  'token',
];
const listMax = 10_000;
/** More are not given in one page, though more may be asked for. */
const limitMax = 1_000;
const limitDefault = 10;
const defaultCrs = /^http:\/\/www\.opengis\.net\/def\/crs\/OGC\/1\.3\/CRS84h?$/;

type Parameters = Readonly<Record<string, unknown>>;

/** @throws PerigeeError invalid_request */
export function readSearch(parameters: Parameters): SearchRequest {
  for (const name of Object.keys(parameters)) {
    if (!parameterNames.includes(name)) {
      throw new PerigeeError('invalid_request', `A search has no parameter "${name}".`, {
        fix: `Parameters are ${parameterNames.join(', ')}.`,
        details: { field: name },
      });
    }
  }
  const { token, limit, ...search } = parameters;
  const fingerprint = createHash('sha256').update(canonical(search)).digest('hex').slice(0, 12);
  const order = readOrder(parameters['sortby']);
  return {
    collections: readTexts(parameters['collections'], 'collections'),
    ids: readTexts(parameters['ids'], 'ids'),
    place: readPlace(parameters),
    time: readTime(parameters['datetime']),
    conditions: [...readQuery(fromJson(parameters['query'], 'query')), ...readCql2(parameters)],
    order,
    selection: readSelection(parameters['fields']),
    limit: readLimit(limit),
    after: readToken(token, { fingerprint, keys: order.length }),
    fingerprint,
  };
}

/** The token of the page behind the row with these values. */
export function writeToken(
  request: SearchRequest,
  page: { last: readonly SqlValue[]; matched: number },
): string {
  const text = JSON.stringify([request.fingerprint, page.matched, ...page.last]);
  return Buffer.from(text).toString('base64url');
}

function readToken(
  token: unknown,
  search: { fingerprint: string; keys: number },
): SearchRequest['after'] {
  if (token === undefined || token === null || token === '') return null;
  const [fingerprint, matched, ...last] = decodeToken(token);
  const isOwn = fingerprint === search.fingerprint && last.length === search.keys;
  if (isOwn && typeof matched === 'number') return { last: last as SqlValue[], matched };
  throw new PerigeeError('invalid_request', 'The token belongs to another search.', {
    fix: 'Follow the "next" link as it is, or search from the start without a token.',
    details: { field: 'token' },
  });
}

function decodeToken(token: unknown): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(String(token), 'base64url').toString('utf8'));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

function readPlace(parameters: Parameters): SearchRequest['place'] {
  const { bbox, intersects } = parameters;
  const hasBox = bbox !== undefined && bbox !== null && bbox !== '';
  const geometry = fromJson(intersects, 'intersects');
  if (geometry !== undefined && geometry !== null) {
    if (hasBox) throw refuse('bbox', 'and "intersects" exclude each other');
    const fault = findGeometryFault(geometry);
    if (fault !== undefined) throw refuse('intersects', fault);
    const wanted = geometry as StacGeometry;
    return { boxes: boxesAround(wanted).flatMap(splitBox), geometry: wanted, isBox: false };
  }
  if (!hasBox) return null;
  const corners = typeof bbox === 'string' ? bbox.split(',').map(toNumber) : bbox;
  const fault = findBoxFault(corners);
  if (fault !== undefined) throw refuse('bbox', fault);
  const box = boxOf(corners as number[]);
  return { boxes: splitBox(box), geometry: geometryOfBox(box), isBox: true };
}

function readTime(value: unknown): Interval | null {
  if (value === undefined || value === null || value === '') return null;
  if (typeof value !== 'string') throw refuse('datetime', 'must be a text');
  return readInterval(value);
}

function readCql2(parameters: Parameters): Condition[] {
  const { filter } = parameters;
  const [language, crs] = [parameters['filter-lang'], parameters['filter-crs']];
  if (crs !== undefined && crs !== null && !defaultCrs.test(String(crs))) {
    throw refuse('filter-crs', 'must be CRS84');
  }
  const isText = typeof filter === 'string' && !filter.trimStart().startsWith('{');
  if (isText || (language !== undefined && language !== null && language !== 'cql2-json')) {
    throw refuse('filter', 'is read in CQL2’s JSON only ("filter-lang": "cql2-json")');
  }
  return readFilter(fromJson(filter, 'filter'));
}

function readLimit(value: unknown): number {
  if (value === undefined || value === null || value === '') return limitDefault;
  const limit = typeof value === 'string' ? toNumber(value) : value;
  if (Number.isInteger(limit) && (limit as number) >= 1) return Math.min(limit as number, limitMax);
  throw refuse('limit', `must be a whole number from 1 to ${limitMax}`);
}

function readTexts(value: unknown, field: string): string[] | null {
  if (value === undefined || value === null || value === '') return null;
  const list: unknown = typeof value === 'string' ? value.split(',') : value;
  const isGood = Array.isArray(list) && list.length <= listMax;
  if (!isGood || !list.every((each) => typeof each === 'string')) {
    throw refuse(field, `must be a list of at most ${listMax} texts`);
  }
  return list.length === 0 ? null : list;
}

/** In a query, objects are JSON texts. */
function fromJson(value: unknown, field: string): unknown {
  if (typeof value !== 'string') return value;
  if (value === '') return undefined;
  try {
    return JSON.parse(value);
  } catch {
    throw refuse(field, 'must be JSON');
  }
}

function toNumber(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** The same text for the same search, whatever the order of its fields. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}
