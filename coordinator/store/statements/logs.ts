/** Output of attempts: appended, the middle cut, read by offset. */
import type Database from 'better-sqlite3';
import type { AttemptRef } from '../../../protocol/wire/ids.ts';
import { taskKey } from '../../../protocol/wire/ids.ts';
import { cutRange, newPart } from '../log-trim.ts';
import type { LogChunk, Store } from '../port.ts';

export interface LogStatements {
  append(chunk: LogChunk): void;
  endOffset(attempt: AttemptRef): number;
  read(
    attempt: AttemptRef,
    options: { offset: number; bytesMax: number },
  ): Awaited<ReturnType<Store['readLog']>>;
}

export function createLogStatements(database: Database.Database): LogStatements {
  const getEnd = database
    .prepare<[number, number], number>(
      'select end_offset from log_end where task_key = ? and attempt = ?',
    )
    .pluck();
  const setEnd = database.prepare<[number, number, number]>(`
    insert into log_end (task_key, attempt, end_offset) values (?, ?, ?)
    on conflict do update set end_offset = excluded.end_offset`);
  const add = database.prepare<[number, number, number, number, Uint8Array]>(
    'insert into log_chunk (task_key, attempt, start, size, bytes) values (?, ?, ?, ?, ?)',
  );
  // Bounded by `start`, so that it looks at what it deletes and not at the kept tail.
  const cut = database.prepare<[number, number, number, number, number]>(`
    delete from log_chunk
    where task_key = ? and attempt = ? and start >= ? and start < ? and start + size <= ?`);
  // A chunk may begin before the offset and reach behind it: at most one does.
  const firstStart = database
    .prepare<[number, number, number], number>(`
      select start from log_chunk where task_key = ? and attempt = ? and start <= ?
      order by start desc limit 1`)
    .pluck();
  const readFrom = database.prepare<[number, number, number], { start: number; bytes: Uint8Array }>(
    `select start, bytes from log_chunk
     where task_key = ? and attempt = ? and start >= ? order by start`,
  );
  const endOffset = (attempt: AttemptRef): number =>
    getEnd.get(taskKey(attempt), attempt.attempt) ?? 0;
  return {
    append(chunk) {
      const key = taskKey(chunk);
      const fresh = newPart(chunk, endOffset(chunk));
      if (fresh === undefined) return;
      const { attempt, offset, bytes } = fresh;
      const end = offset + bytes.length;
      add.run(key, attempt, offset, bytes.length, bytes);
      setEnd.run(key, attempt, end);
      const range = cutRange(end);
      if (range !== undefined) cut.run(key, attempt, range.from, range.to, range.to);
    },
    endOffset,
    read(attempt, options) {
      const key = taskKey(attempt);
      const start = firstStart.get(key, attempt.attempt, options.offset) ?? options.offset;
      const chunks: { offset: number; bytes: Uint8Array }[] = [];
      let left = options.bytesMax;
      for (const row of readFrom.iterate(key, attempt.attempt, start)) {
        const skipped = Math.max(0, options.offset - row.start);
        if (skipped >= row.bytes.length) continue;
        if (left <= 0) break;
        const bytes = row.bytes.subarray(skipped, skipped + left);
        left -= bytes.length;
        chunks.push({ offset: row.start + skipped, bytes });
      }
      return { chunks, endOffset: endOffset(attempt) };
    },
  };
}
