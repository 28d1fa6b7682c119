/** Files that tasks gave out: saved with their outcome, read by task and by group, in order of tasks. */
import type Database from 'better-sqlite3';
import { assert } from '../../../protocol/base/assert.ts';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { GroupId, TaskRef } from '../../../protocol/wire/ids.ts';
import { taskKey, taskOfKey } from '../../../protocol/wire/ids.ts';
import type { SaveEffect } from '../../core/effects.ts';
import type { Names } from '../names.ts';
import type { StoredOutput, StorePage } from '../port.ts';
import type { BlobStatements } from './blobs.ts';

type SaveOutcome = Extract<SaveEffect, { kind: 'saveOutcome' }>;

export interface OutputStatements {
  /** Within the caller's transaction. */
  save(outcome: SaveOutcome): void;
  listTask(task: TaskRef): StoredOutput[];
  find(task: TaskRef, name: string): StoredOutput | undefined;
  listGroup(
    group: GroupId,
    options: { limit: number; cursor: string | null },
  ): StorePage<StoredOutput>;
}

type Row = Omit<StoredOutput, 'batch' | 'index'> & { taskKey: number };

const columns = `
  task_output.task_key as taskKey, task_output.name, hash, size_bytes as sizeBytes,
  media_type as mediaType, metadata, grp.guid as "group", outcome.at_ms as atMs, outcome.attempt`;
const tables = `
  task_output
  join outcome on outcome.task_key = task_output.task_key
  join grp on grp.id = task_output.group_id`;

export function createOutputStatements(
  database: Database.Database,
  names: Names,
  blobs: BlobStatements,
): OutputStatements {
  const add = database.prepare<[number, string, number, string, number, string, string]>(`
    insert into task_output (task_key, name, group_id, hash, size_bytes, media_type, metadata)
    values (?, ?, ?, ?, ?, ?, ?)`);
  const byTask = database.prepare<[number], Row>(
    `select ${columns} from ${tables} where task_output.task_key = ? order by task_output.name`,
  );
  const byName = database.prepare<[number, string], Row>(
    `select ${columns} from ${tables} where task_output.task_key = ? and task_output.name = ?`,
  );
  const byGroup = database.prepare<[number, number, string, number], Row>(`
    select ${columns} from ${tables}
    where task_output.group_id = ? and (task_output.task_key, task_output.name) > (?, ?)
    order by task_output.task_key, task_output.name limit ?`);
  return {
    save(saved) {
      const { outputs } = saved.outcome;
      if (outputs === undefined) return;
      const group = names.findGroup(saved.group);
      assert(group !== undefined, `outputs of ${saved.group}, a group that was never saved`);
      for (const { name, hash, sizeBytes, mediaType, metadata } of outputs) {
        add.run(taskKey(saved), name, group.id, hash, sizeBytes, mediaType, metadata);
        blobs.grant(saved.namespace, hash, saved.atMs);
      }
    },
    listTask: (task) => byTask.all(taskKey(task)).map(outputOf),
    find(task, name) {
      const row = byName.get(taskKey(task), name);
      return row === undefined ? undefined : outputOf(row);
    },
    listGroup(group, { limit, cursor }) {
      const after = readOutputCursor(cursor);
      const id = names.findGroup(group)?.id;
      if (id === undefined) return { items: [], next: null };
      const rows = byGroup.all(id, after.taskKey, after.name, limit + 1);
      const items = rows.slice(0, limit).map(outputOf);
      const last = items.at(-1);
      const next = rows.length > limit && last !== undefined ? outputCursor(last) : null;
      return { items, next };
    },
  };
}

/** The place of an output in its group's list. */
export function outputCursor(output: TaskRef & { name: string }): string {
  return `${taskKey(output)}:${output.name}`;
}

/** @throws PerigeeError invalid_request */
export function readOutputCursor(cursor: string | null): { taskKey: number; name: string } {
  if (cursor === null) return { taskKey: -1, name: '' };
  const match = /^(\d{1,16}):(.{1,100})$/.exec(cursor);
  const key = Number(match?.[1]);
  if (match?.[2] === undefined || !Number.isSafeInteger(key)) {
    throw new PerigeeError('invalid_request', 'The cursor is not one that a list answered.', {
      details: { field: 'cursor' },
    });
  }
  return { taskKey: key, name: match[2] };
}

function outputOf({ taskKey: key, ...rest }: Row): StoredOutput {
  return { ...taskOfKey(key), ...rest };
}
