/** Groups and batches as views read them, newest first, page by page. */
import type Database from 'better-sqlite3';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { BatchNumber, GroupId, NamespaceName } from '../../../protocol/wire/ids.ts';
import type { Names } from '../names.ts';
import type { StoredBatch, StoredGroup, StorePage } from '../port.ts';
import type { BatchRow, GroupRow } from '../rows.ts';
import { batchColumns, batchTables, groupColumns, groupOf } from '../rows.ts';

export interface WorkReader {
  findBatchByClient(namespace: NamespaceName, clientBatch: string): StoredBatch | undefined;
  findBatch(batch: BatchNumber): StoredBatch | undefined;
  getBlock(batch: BatchNumber): Uint8Array;
  listBatches(
    namespace: NamespaceName,
    options: { group: GroupId | null; limit: number; cursor: string | null },
  ): StorePage<StoredBatch>;
  findGroup(group: GroupId): StoredGroup | undefined;
  findGroupsByPrefix(namespace: NamespaceName, prefix: string): GroupId[];
  listGroups(
    namespace: NamespaceName,
    options: { limit: number; cursor: string | null; name: string | null },
  ): StorePage<StoredGroup>;
}

const newest = Number.MAX_SAFE_INTEGER;

export function createWorkReader(database: Database.Database, names: Names): WorkReader {
  const selectBatch = `select ${batchColumns} from ${batchTables}`;
  // By the index alone: nearly every batch is asked for once, and is not there.
  const idByClient = database
    .prepare<[number, string], BatchNumber>(
      'select id from batch where namespace_id = ? and client_batch = ?',
    )
    .pluck();
  const batchById = database.prepare<[number], BatchRow>(`${selectBatch} where batch.id = ?`);
  const batchesByNamespace = database.prepare<[number, number, number], BatchRow>(
    `${selectBatch} where batch.namespace_id = ? and batch.id < ? order by batch.id desc limit ?`,
  );
  const batchesByGroup = database.prepare<[number, number, number], BatchRow>(
    `${selectBatch} where batch.group_id = ? and batch.id < ? order by batch.id desc limit ?`,
  );
  const block = database
    .prepare<[number], Uint8Array>('select bytes from block where batch = ?')
    .pluck();
  const groupByGuid = database.prepare<[string], GroupRow>(
    `select ${groupColumns} from grp where guid = ?`,
  );
  const guidsByPrefix = database
    .prepare<[number, string, string], GroupId>(`
      select guid from grp where namespace_id = ? and guid >= ? and guid < ? || 'g'
      order by guid limit 2`)
    .pluck();
  const groups = database.prepare<
    [number, number, string | null, string | null, number],
    GroupRow
  >(`
    select ${groupColumns} from grp
    where namespace_id = ? and id < ? and (? is null or name = ?) order by id desc limit ?`);
  return {
    findBatchByClient(namespace, clientBatch) {
      const id = names.findNamespace(namespace);
      const batch = id === undefined ? undefined : idByClient.get(id, clientBatch);
      return batch === undefined ? undefined : batchById.get(batch);
    },
    findBatch: (batch) => batchById.get(batch),
    getBlock(batch) {
      const bytes = block.get(batch);
      if (bytes === undefined) {
        throw new PerigeeError(
          'result_expired',
          `The arguments of batch ${batch} are not kept any more.`,
        );
      }
      return bytes;
    },
    listBatches(namespace, { group, limit, cursor }) {
      const before = cursorNumber(cursor);
      const id = names.findNamespace(namespace);
      if (id === undefined) return { items: [], next: null };
      if (group === null) {
        return page(batchesByNamespace.all(id, before, limit + 1), limit, (row) => row.batch);
      }
      const found = names.findGroup(group);
      if (found?.namespaceId !== id) return { items: [], next: null };
      return page(batchesByGroup.all(found.id, before, limit + 1), limit, (row) => row.batch);
    },
    findGroup(group) {
      const row = groupByGuid.get(group);
      return row === undefined ? undefined : groupOf(row);
    },
    findGroupsByPrefix(namespace, prefix) {
      const id = names.findNamespace(namespace);
      // Ids are hexadecimal: `g` is behind them all.
      return id === undefined ? [] : guidsByPrefix.all(id, prefix, prefix);
    },
    listGroups(namespace, { limit, cursor, name }) {
      const id = names.findNamespace(namespace);
      if (id === undefined) return { items: [], next: null };
      const rows = groups.all(id, cursorNumber(cursor), name, name, limit + 1);
      const { items, next } = page(rows, limit, (row) => row.id);
      return { items: items.map(groupOf), next };
    },
  };
}

/** One row more than asked for tells that there is a next page. */
function page<Row>(rows: Row[], limit: number, key: (row: Row) => number): StorePage<Row> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  const next = rows.length > limit && last !== undefined ? String(key(last)) : null;
  return { items, next };
}

function cursorNumber(cursor: string | null): number {
  if (cursor === null) return newest;
  const number = Number(cursor);
  if (!/^\d{1,16}$/.test(cursor) || !Number.isSafeInteger(number)) {
    throw new PerigeeError('invalid_request', 'The cursor is not one that a list answered.', {
      details: { field: 'cursor' },
    });
  }
  return number;
}
