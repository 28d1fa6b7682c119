/** Removal of what is old, in short transactions; see `retention-port.ts`. */
import type Database from 'better-sqlite3';
import type { BatchNumber, BlobHash, GroupId, NamespaceName } from '../../../protocol/wire/ids.ts';
import { logHeadBytes, logTailBytes } from '../../../protocol/wire/limits.ts';
import type { Names } from '../names.ts';
import type { Cutoffs, HeldBytes, RetentionStore, SweepStep } from '../retention-port.ts';

/** The same calls, performed at once. */
export type RetentionStatements = {
  [Name in keyof RetentionStore]: (
    ...args: Parameters<RetentionStore[Name]>
  ) => Awaited<ReturnType<RetentionStore[Name]>>;
};

/** Rows that a step may look at, and delete: each stays within a few ms. */
const looksMax = 2_000;
const deletesMax = 200;
/** Bytes of output that a step may delete: every page of them is touched. */
const deleteBytesMax = 4 * 1024 ** 2;
const groupsMax = 200;
/** What is kept of one attempt's output at most. */
const logBytesMax = logHeadBytes + logTailBytes;

interface BatchRow {
  batch: BatchNumber;
  namespaceId: number;
  namespace: NamespaceName;
  count: number;
  doneCount: number;
  atMs: number;
  blockBytes: number | null;
}

interface OutcomeSum {
  count: number;
  newestMs: number;
  newestNumber: number;
  bytes: number;
}

const range = (batch: number): [number, number] => [batch * 65_536, batch * 65_536 + 65_535];

export function createRetentionStatements(
  database: Database.Database,
  names: Names,
): RetentionStatements {
  const batches = database.prepare<[number, number], BatchRow>(`
    select batch.id as batch, namespace_id as namespaceId, namespace.name as namespace,
      task_count as count, done_count as doneCount, at_ms as atMs,
      (select length(bytes) from block where block.batch = batch.id) as blockBytes
    from batch join namespace on namespace.id = batch.namespace_id
    where batch.id > ? order by batch.id limit ?`);
  const sumOutcomes = database.prepare<[number, number], OutcomeSum>(`
    select count(*) as count, coalesce(max(at_ms), 0) as newestMs,
      coalesce(max(number), 0) as newestNumber, coalesce(sum(length(result)), 0) as bytes
    from outcome where task_key between ? and ?`);
  // Of the narrow table: the pieces themselves would be read page by page.
  const sumLogs = database
    .prepare<[number, number], number>(`
      select coalesce(sum(min(end_offset, ${logBytesMax})), 0) from log_end
      where task_key between ? and ?`)
    .pluck();
  const emptyResults = database.prepare<[number, number, number]>(`
    update outcome set result = x'' where task_key in (
      select task_key from outcome
      where task_key between ? and ? and at_ms < ? and length(result) > 0 limit ${deletesMax})`);
  const deleteBlock = database.prepare<[number]>('delete from block where batch = ?');
  const oldChunks = database.prepare<
    [number, number, number],
    { taskKey: number; attempt: number; start: number; size: number }
  >(`
    select task_key as taskKey, attempt, start, size from log_chunk
    where task_key between ? and ?
      and exists (select 1 from outcome where outcome.task_key = log_chunk.task_key and at_ms < ?)
    limit ${deletesMax}`);
  const deleteChunk = database.prepare<[number, number, number]>(
    'delete from log_chunk where task_key = ? and attempt = ? and start = ?',
  );
  const deleteLogEnds = database.prepare<[number, number, number]>(`
    delete from log_end where task_key between ? and ? and task_key in (
      select task_key from outcome where outcome.task_key = log_end.task_key and at_ms < ?)`);
  const markRemoved = database.prepare<[number]>(
    'insert into removed_batch (batch) values (?) on conflict do nothing',
  );
  const noteRemoved = database.prepare<[number, number, number]>(`
    insert into removed_until (namespace_id, batch, outcome) values (?, ?, ?)
    on conflict do update set
      batch = max(batch, excluded.batch), outcome = max(outcome, excluded.outcome)`);
  // Batch numbers are never given twice, so that ids of removed tasks stay dead.
  const keepNumber = database.prepare<[string]>(`
    insert into meta (key, value) values ('removedBatchMax', ?)
    on conflict (key) do update set
      value = max(cast(value as integer), cast(excluded.value as integer))`);
  const deleteBatch = database.prepare<[number]>('delete from batch where id = ?');
  const firstRemoved = database
    .prepare<[], number>('select batch from removed_batch order by batch limit 1')
    .pluck();
  const deleteRemovedMark = database.prepare<[number]>('delete from removed_batch where batch = ?');
  const removedChunks = database.prepare<
    [number, number],
    { taskKey: number; attempt: number; start: number; size: number }
  >(`
    select task_key as taskKey, attempt, start, size from log_chunk
    where task_key between ? and ? limit ${deletesMax}`);
  const deletesByKey = ['task_output', 'outcome', 'cancel_asked'].map((table) =>
    database.prepare<[number, number]>(`
      delete from ${table} where task_key in (
        select task_key from ${table} where task_key between ? and ? limit ${deletesMax})`),
  );
  const deletesByAttempt = ['log_end', 'attempt_end'].map((table) =>
    database.prepare<[number, number]>(`
      delete from ${table} where (task_key, attempt) in (
        select task_key, attempt from ${table} where task_key between ? and ? limit ${deletesMax})`),
  );
  const deletesByBatch = ['grant_run', 'batch_assets', 'block'].map((table) =>
    database.prepare<[number]>(`delete from ${table} where batch = ?`),
  );
  const oldGroups = database.prepare<[number], { id: number; group: GroupId }>(`
    select id, guid as "group" from grp
    where state = 'terminated' and terminated_at_ms < ?
      and not exists (select 1 from batch where batch.group_id = grp.id)
    order by id limit ${groupsMax}`);
  const deleteGroup = database.prepare<[number]>('delete from grp where id = ?');
  const findGroup = database.prepare<[string], { id: number; state: string; open: number }>(`
    select id, state, exists (
      select 1 from batch where group_id = grp.id and done_count < task_count) as open
    from grp where guid = ?`);
  const groupBatch = database.prepare<[number], { batch: number; namespaceId: number }>(`
    select id as batch, namespace_id as namespaceId from batch
    where group_id = ? order by id limit 1`);
  const until = database.prepare<[number], { batch: number; outcome: number }>(
    'select batch, outcome from removed_until where namespace_id = ?',
  );
  const blobs = database.prepare<[string, number], { hash: BlobHash; usedAtMs: number }>(
    'select hash, used_at_ms as usedAtMs from blob where hash > ? order by hash limit ?',
  );
  const blobNamespaces = database
    .prepare<[string], NamespaceName>(`
      select name from blob_namespace join namespace on namespace.id = namespace_id where hash = ?`)
    .pluck();
  const groupBlobs = database.prepare<
    [number],
    { id: number; one: string; two: string | null; three: string | null }
  >(`
    select id, json_extract(spec, '$.functionBlob') as one,
      json_extract(spec, '$.cloudpickleBlob') as two, json_extract(spec, '$.include.blob') as three
    from grp where id > ? order by id limit ${groupsMax}`);
  const touch = database.prepare<[number, string, number]>(
    'update blob set used_at_ms = ? where hash = ? and used_at_ms < ?',
  );
  const blobUse = database
    .prepare<[string], number>('select used_at_ms from blob where hash = ?')
    .pluck();
  const deleteBlob = ['blob', 'blob_namespace', 'blob_peer'].map((table) =>
    database.prepare<[string]>(`delete from ${table} where hash = ?`),
  );

  const deleteChunks = (
    rows: readonly { taskKey: number; attempt: number; start: number; size: number }[],
  ): boolean => {
    let bytes = 0;
    for (const { taskKey, attempt, start, size } of rows) {
      deleteChunk.run(taskKey, attempt, start);
      bytes += size;
      if (bytes >= deleteBytesMax) return true;
    }
    return rows.length === deletesMax;
  };
  const removeBatch = (row: { batch: number; namespaceId: number }, newestNumber: number): void => {
    markRemoved.run(row.batch);
    noteRemoved.run(row.namespaceId, row.batch, newestNumber);
    keepNumber.run(String(row.batch));
    deleteBatch.run(row.batch);
  };
  /** Removes what is due of a batch that stays; true when there is more of it. */
  const removeOld = (row: BatchRow, sums: OutcomeSum & { logs: number }, cutoffs: Cutoffs) => {
    const [first, last] = range(row.batch);
    const isDone = row.doneCount === row.count;
    let isMore = false;
    // What was submitted later cannot have ended before.
    if (sums.bytes > 0 && row.atMs < cutoffs.resultsMs) {
      const { changes } = emptyResults.run(first, last, cutoffs.resultsMs);
      isMore ||= changes === deletesMax;
    }
    if (isDone && sums.newestMs < cutoffs.resultsMs && row.blockBytes !== null) {
      deleteBlock.run(row.batch);
    }
    if (sums.logs > 0 && row.atMs < cutoffs.logsMs) {
      const isMoreLog = deleteChunks(oldChunks.all(first, last, cutoffs.logsMs));
      if (!isMoreLog) deleteLogEnds.run(first, last, cutoffs.logsMs);
      isMore ||= isMoreLog;
    }
    return isMore;
  };
  const sweepBatches = ({ after, cutoffs }: { after: number; cutoffs: Cutoffs }): SweepStep => {
    const held = new Map<NamespaceName, HeldBytes>();
    let looked = 0;
    let passed = after;
    const rows = batches.all(after, deletesMax);
    for (const row of rows) {
      const [first, last] = range(row.batch);
      const sums = sumOutcomes.get(first, last) ?? { ...noOutcomes };
      looked += sums.count + 1;
      const isDone = row.doneCount === row.count;
      if (isDone && sums.newestMs < cutoffs.recordsMs) {
        removeBatch(row, sums.newestNumber);
      } else {
        const logs = sumLogs.get(first, last) ?? 0;
        if (removeOld(row, { ...sums, logs }, cutoffs)) {
          return { after: passed as BatchNumber, held };
        }
        const kept = held.get(row.namespace) ?? { results: 0, arguments: 0, logs: 0 };
        const isYoung = row.atMs >= Math.max(cutoffs.resultsMs, cutoffs.logsMs);
        kept.results += isYoung ? sums.bytes : (sumOutcomes.get(first, last)?.bytes ?? 0);
        kept.logs += isYoung ? logs : (sumLogs.get(first, last) ?? 0);
        const isBlockKept = !(isDone && sums.newestMs < cutoffs.resultsMs);
        if (isBlockKept) kept.arguments += row.blockBytes ?? 0;
        held.set(row.namespace, kept);
      }
      passed = row.batch;
      if (looked >= looksMax) return { after: passed as BatchNumber, held };
    }
    return { after: rows.length === deletesMax ? (passed as BatchNumber) : null, held };
  };
  const deleteRemoved = (): boolean => {
    const batch = firstRemoved.get();
    if (batch === undefined) return false;
    const [first, last] = range(batch);
    const chunks = removedChunks.all(first, last);
    if (chunks.length > 0) {
      deleteChunks(chunks);
      return true;
    }
    for (const statement of [...deletesByAttempt, ...deletesByKey]) {
      if (statement.run(first, last).changes > 0) return true;
    }
    for (const statement of deletesByBatch) statement.run(batch);
    deleteRemovedMark.run(batch);
    return firstRemoved.get() !== undefined;
  };
  const removeGroup = (group: GroupId): 'removed' | 'more' | 'open' => {
    const found = findGroup.get(group);
    if (found === undefined) return 'removed';
    if (found.state !== 'terminated' || found.open === 1) return 'open';
    // Rows first: until they are gone, a new group must not get the number that they bear.
    if (deleteRemoved()) return 'more';
    const row = groupBatch.get(found.id);
    if (row !== undefined) {
      removeBatch(row, sumOutcomes.get(...range(row.batch))?.newestNumber ?? 0);
      return 'more';
    }
    deleteGroup.run(found.id);
    names.forget();
    return 'removed';
  };
  return {
    sweepBatches: database.transaction(sweepBatches).immediate,
    deleteRemoved: database.transaction(deleteRemoved).immediate,
    removeOldGroups: database.transaction((recordsMs: number): GroupId[] => {
      if (firstRemoved.get() !== undefined) return [];
      const found = oldGroups.all(recordsMs);
      for (const { id } of found) deleteGroup.run(id);
      if (found.length > 0) names.forget();
      return found.map(({ group }) => group);
    }).immediate,
    removeGroup: database.transaction(removeGroup).immediate,
    removedUntil(namespace) {
      const id = names.findNamespace(namespace);
      return (id === undefined ? undefined : until.get(id)) ?? { batch: 0, outcome: 0 };
    },
    listBlobs: (after, limit) =>
      blobs
        .all(after, limit)
        .map((blob) => ({ ...blob, namespaces: blobNamespaces.all(blob.hash) })),
    listGroupBlobs(after) {
      const rows = groupBlobs.all(after);
      const hashes = rows.flatMap(({ one, two, three }) =>
        [one, two, three].filter((hash) => hash !== null),
      );
      const last = rows.length === groupsMax ? rows.at(-1) : undefined;
      return { after: last?.id ?? null, hashes: hashes as BlobHash[] };
    },
    touchBlob(hash, { nowMs, staleMs }) {
      const usedAtMs = blobUse.get(hash);
      if (usedAtMs === undefined || usedAtMs >= nowMs - staleMs) return;
      touch.run(nowMs, hash, nowMs);
    },
    forgetBlob: database.transaction(
      (hash: BlobHash, usedBeforeMs: number, removeFile: () => void): boolean => {
        const usedAtMs = blobUse.get(hash);
        if (usedAtMs === undefined || usedAtMs >= usedBeforeMs) return false;
        removeFile();
        for (const statement of deleteBlob) statement.run(hash);
        return true;
      },
    ).immediate,
  };
}

const noOutcomes: Readonly<OutcomeSum> = { count: 0, newestMs: 0, newestNumber: 0, bytes: 0 };
