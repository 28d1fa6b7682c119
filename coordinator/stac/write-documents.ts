/** Takes collections and items in, and away. */
import type Database from 'better-sqlite3';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { CheckedItem } from './check-item.ts';
import { checkCollection, checkItem } from './check-item.ts';
import { boxOf, splitBox } from './geometry.ts';
import { everybodysName, unknownItem } from './names.ts';
import type { Owner, StacCalls } from './port.ts';
import type { FindCollection } from './read-documents.ts';

/** Of one call: a transaction of so many is over within a second or two. */
export const itemsMax = 10_000;

export type StacWrites = Pick<
  StacCalls,
  'putCollection' | 'putItems' | 'removeCollection' | 'removeItem' | 'removeNamespace'
>;

interface ItemRow {
  collection: number;
  id: string;
  atMs: number;
  startMs: number;
  endMs: number;
  west: number | null;
  south: number | null;
  east: number | null;
  north: number | null;
}

export function createStacWrites(
  database: Database.Database,
  getOwnCollection: FindCollection,
): StacWrites {
  const findKey = database
    .prepare<[string, string], number>('select key from collection where namespace = ? and id = ?')
    .pluck();
  const addCollection = database
    .prepare<[string, string, string | null], number>(
      'insert into collection (namespace, id, body) values (?, ?, ?) returning key',
    )
    .pluck();
  const setBody = database.prepare<[string, number]>(
    'update collection set body = ? where key = ?',
  );
  const writeItems = createItemWriter(database);
  const boxesOfCollection = database.prepare<{ key: number }>(`
    delete from item_box where id in (
      select 2 * key from item where collection = @key
      union all select 2 * key + 1 from item where collection = @key)`);
  const dropItems = database.prepare<[number]>('delete from item where collection = ?');
  const dropCollection = database.prepare<[number]>('delete from collection where key = ?');
  const dropItem = database
    .prepare<[number, string], number>(
      'delete from item where collection = ? and id = ? returning key',
    )
    .pluck();
  const dropBoxes = database.prepare<{ key: number }>(
    'delete from item_box where id in (2 * @key, 2 * @key + 1)',
  );
  const countDown = database.prepare<[number]>(
    'update collection set item_count = item_count - 1 where key = ?',
  );
  const keysOf = database
    .prepare<[string], number>('select key from collection where namespace = ?')
    .pluck();
  const removeWhole = (key: number): number => {
    boxesOfCollection.run({ key });
    const { changes } = dropItems.run(key);
    dropCollection.run(key);
    return changes;
  };
  return {
    putCollection({ owner, document }) {
      const collection = checkCollection(document);
      const namespace = namespaceOf(owner);
      const key = findKey.get(namespace, collection.id);
      const body = JSON.stringify(collection);
      if (key === undefined) addCollection.run(namespace, collection.id, body);
      else setBody.run(body, key);
      return { id: collection.id, created: key === undefined };
    },
    putItems({ owner, collection, bytes }) {
      const items = readItems(bytes, collection);
      const namespace = namespaceOf(owner);
      const key =
        findKey.get(namespace, collection) ?? addCollection.get(namespace, collection, null);
      return { collection, ...writeItems(Number(key), items) };
    },
    removeCollection({ owner, id }) {
      const { key } = getOwnCollection(namespaceOf(owner), id);
      return { id, items: removeWhole(key) };
    },
    removeItem({ owner, collection, id }) {
      const { key } = getOwnCollection(namespaceOf(owner), collection);
      const item = dropItem.get(key, id);
      if (item === undefined) throw unknownItem(collection, id);
      dropBoxes.run({ key: item });
      countDown.run(key);
      return { id };
    },
    removeNamespace({ namespace }) {
      const keys = keysOf.all(namespace);
      for (const key of keys) removeWhole(key);
      return { collections: keys.length };
    },
  };
}

function createItemWriter(
  database: Database.Database,
): (collection: number, items: readonly CheckedItem[]) => { created: number; replaced: number } {
  const findItem = database
    .prepare<[number, string], number>('select key from item where collection = ? and id = ?')
    .pluck();
  const addItem = database
    .prepare<ItemRow, number>(`
      insert into item (collection, id, at_ms, start_ms, end_ms, west, south, east, north)
      values (@collection, @id, @atMs, @startMs, @endMs, @west, @south, @east, @north)
      returning key`)
    .pluck();
  const setItem = database.prepare<ItemRow & { key: number }>(`
    update item set at_ms = @atMs, start_ms = @startMs, end_ms = @endMs, west = @west,
      south = @south, east = @east, north = @north
    where key = @key`);
  const putBody = database.prepare<[number, string]>(`
    insert into document (key, body) values (?, ?)
    on conflict (key) do update set body = excluded.body`);
  const dropBoxes = database.prepare<{ key: number }>(
    'delete from item_box where id in (2 * @key, 2 * @key + 1)',
  );
  const addBox = database.prepare<[number, number, number, number, number, number, number]>(
    'insert into item_box values (?, ?, ?, ?, ?, ?, ?)',
  );
  // SQLite's min and max of two answer null when one is null.
  const widen = database.prepare<ItemRow>(`
    update collection set
      west = min(coalesce(west, @west), coalesce(@west, west)),
      south = min(coalesce(south, @south), coalesce(@south, south)),
      east = max(coalesce(east, @east), coalesce(@east, east)),
      north = max(coalesce(north, @north), coalesce(@north, north)),
      start_ms = min(coalesce(start_ms, @startMs), @startMs),
      end_ms = max(coalesce(end_ms, @endMs), @endMs)
    where key = @collection`);
  const countUp = database.prepare<[number, number]>(
    'update collection set item_count = item_count + ? where key = ?',
  );
  return (collection, items) => {
    const result = { created: 0, replaced: 0 };
    for (const item of items) {
      const row = rowOf(collection, item);
      const known = findItem.get(collection, row.id);
      const key = known ?? Number(addItem.get(row));
      if (known === undefined) result.created += 1;
      else {
        setItem.run({ ...row, key });
        dropBoxes.run({ key });
        result.replaced += 1;
      }
      putBody.run(key, JSON.stringify(item.item));
      const [startS, endS] = [row.startMs / 1000, row.endMs / 1000];
      for (const [part, box] of boxesOf(row).entries()) {
        addBox.run(2 * key + part, box.west, box.east, box.south, box.north, startS, endS);
      }
      const crosses = row.west !== null && row.east !== null && row.west > row.east;
      widen.run(crosses ? { ...row, west: -180, east: 180 } : row);
    }
    countUp.run(result.created, collection);
    return result;
  };
}

function rowOf(collection: number, { item, times }: CheckedItem): ItemRow {
  const box = item.bbox === undefined ? null : boxOf(item.bbox);
  return {
    collection,
    id: item.id,
    ...times,
    west: box?.west ?? null,
    south: box?.south ?? null,
    east: box?.east ?? null,
    north: box?.north ?? null,
  };
}

function boxesOf({ west, south, east, north }: ItemRow): ReturnType<typeof splitBox> {
  if (west === null || south === null || east === null || north === null) return [];
  return splitBox({ west, south, east, north });
}

/** Later items of the same id count. */
function readItems(bytes: Uint8Array, collection: string): CheckedItem[] {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new PerigeeError('invalid_request', 'The body is not JSON.', { cause });
  }
  const list = listOf(value);
  if (list.length > itemsMax) {
    throw new PerigeeError('too_large', `Of ${list.length} items ${itemsMax} fit in one call.`, {
      fix: 'Send them in several calls.',
    });
  }
  return list.map((each, index) => checkItem(each, { collection, number: index + 1 }));
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value === 'object' && value !== null && 'features' in value) {
    if (Array.isArray(value.features)) return value.features;
  }
  return [value];
}

function namespaceOf(owner: Owner): string {
  return owner ?? everybodysName;
}
