/**
 * Runs a search. What is in a place is found by the tree of boxes, which knows times as well; all
 * else by the order of time, or within a collection that is small beside it.
 */
import type Database from 'better-sqlite3';
import type { StacGeometry } from '../../../protocol/stac/item.ts';
import type { Box } from '../geometry.ts';
import type { Condition, SqlValue } from './condition.ts';
import { allOf, anyOf } from './condition.ts';
import { behind, orderSql } from './order.ts';
import { bodySql } from './property.ts';
import type { SearchRequest } from './request.ts';
import { writeToken } from './request.ts';

/** A collection that the caller sees. */
export interface SearchedCollection {
  key: number;
  id: string;
  itemCount: number;
}

export interface SearchPage {
  items: { collection: string; body: string }[];
  matched: number;
  next: string | null;
}

/** What the SQL functions of a search look at. */
export interface SearchState {
  geometry: StacGeometry | null;
  endsAtMs: number;
}

/** So many rows are sorted at once rather than looked through in the order of time. */
const sortedRowsMax = 20_000;

/** Searches within the collections. */
export function runSearch(
  database: Database.Database,
  search: { request: SearchRequest; collections: readonly SearchedCollection[] },
): SearchPage {
  const { request, collections } = search;
  if (collections.length === 0) return { items: [], matched: 0, next: null };
  const names = new Map(collections.map(({ key, id }) => [key, id]));
  const where = allOf([
    ...(request.place === null ? [] : [inPlace(request.place.boxes, request)]),
    inCollections(collections, request),
    ...(request.ids === null ? [] : [among('item.id', request.ids)]),
    ...inTime(request),
    ...request.conditions,
    ...(request.place === null ? [] : [exactly(request.place)]),
    { sql: 'in_time()', values: [] },
  ]);
  const matched = request.after?.matched ?? count(database, { where, request, collections });
  const order = orderSql(request.order);
  const page =
    request.after === null ? where : allOf([behind(request.order, request.after.last), where]);
  const keys = request.order.map(({ value }, index) => `${value.sql} as key${index}`).join(', ');
  const rows = database
    .prepare<SqlValue[], Record<string, SqlValue>>(
      `select item.key as item, item.collection as collection, ${keys}
       from item where ${page.sql} order by ${order.sql} limit ?`,
    )
    .all(
      ...request.order.flatMap(({ value }) => value.values),
      ...page.values,
      ...order.values,
      request.limit + 1,
    );
  const shown = rows.slice(0, request.limit);
  const last = shown.at(-1);
  // Afterwards: sorting rows that hold whole items takes the longest where there are many.
  const body = database
    .prepare<[number], string>('select body from document where key = ?')
    .pluck();
  return {
    items: shown.map(({ item, collection }) => ({
      collection: names.get(Number(collection)) ?? '',
      body: String(body.get(Number(item))),
    })),
    matched,
    next:
      rows.length > shown.length && last !== undefined
        ? writeToken(request, {
            last: request.order.map((_, index) => last[`key${index}`] ?? null),
            matched,
          })
        : null,
  };
}

function count(
  database: Database.Database,
  search: {
    where: Condition;
    request: SearchRequest;
    collections: readonly SearchedCollection[];
  },
): number {
  const { request, where } = search;
  const isAll = request.place === null && request.time === null && request.ids === null;
  if (isAll && request.conditions.length === 0) {
    return search.collections.reduce((sum, { itemCount }) => sum + itemCount, 0);
  }
  return Number(
    database
      .prepare<SqlValue[], number>(`select count(*) from item where ${where.sql}`)
      .pluck()
      .get(...where.values),
  );
}

/** Keys of items whose rounded boxes meet one of the boxes, at about the time. */
function inPlace(boxes: readonly Box[], request: SearchRequest): Condition {
  const { startMs, endMs } = request.time ?? { startMs: null, endMs: null };
  const times: Condition[] = [
    ...(startMs === null ? [] : [{ sql: 'end_s >= ?', values: [startMs / 1000 - 1] }]),
    ...(endMs === null ? [] : [{ sql: 'start_s <= ?', values: [endMs / 1000 + 1] }]),
  ];
  const each = boxes.map((box) =>
    allOf([
      {
        sql: 'west <= ? and east >= ? and south <= ? and north >= ?',
        values: [box.east, box.west, box.north, box.south],
      },
      ...times,
    ]),
  );
  const selects = each.map(({ sql }) => `select id / 2 from item_box where ${sql}`);
  return {
    sql: `item.key in (${selects.join(' union ')})`,
    values: each.flatMap(({ values }) => values),
  };
}

/** By the geometry, but for items that lie within a searched box as a whole. */
function exactly(place: NonNullable<SearchRequest['place']>): Condition {
  const within = place.isBox
    ? place.boxes.map((box) => ({
        sql: 'west <= east and west >= ? and east <= ? and south >= ? and north <= ?',
        values: [box.west, box.east, box.south, box.north],
      }))
    : [];
  return anyOf([...within, { sql: `is_there(west, south, east, north, ${bodySql})`, values: [] }]);
}

function inCollections(
  collections: readonly SearchedCollection[],
  request: SearchRequest,
): Condition {
  const rows = collections.reduce((sum, { itemCount }) => sum + itemCount, 0);
  // The plus keeps SQLite from the index: walking in the order of time finds the first page sooner.
  const isWalk =
    request.place !== null ||
    (collections.length > 1 && rows > sortedRowsMax && request.ids === null);
  const column = `${isWalk ? '+' : ''}item.collection`;
  return {
    sql: `${column} in (${collections.map(() => '?').join(', ')})`,
    values: collections.map(({ key }) => key),
  };
}

function inTime(request: SearchRequest): Condition[] {
  if (request.time === null) return [];
  const { startMs, endMs } = request.time;
  return [
    ...(startMs === null ? [] : [{ sql: 'item.end_ms >= ?', values: [startMs] }]),
    ...(endMs === null ? [] : [{ sql: 'item.start_ms <= ?', values: [endMs] }]),
  ];
}

const parametersMax = 500;

/** As one JSON parameter where there are many: SQLite counts them. */
function among(column: string, values: readonly string[]): Condition {
  if (values.length > parametersMax) {
    return {
      sql: `${column} in (select value from json_each(?))`,
      values: [JSON.stringify(values)],
    };
  }
  return anyOf([{ sql: `${column} in (${values.map(() => '?').join(', ')})`, values }]);
}
