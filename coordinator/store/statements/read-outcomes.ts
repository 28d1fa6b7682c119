/**
 * Completion streams and task views. A stream of chosen groups merges the groups' own indexes: a
 * filter over the namespace's index would read every other group's outcomes first.
 */
import type Database from 'better-sqlite3';
import type { BatchNumber, GroupId, NamespaceName, TaskRef } from '../../../protocol/wire/ids.ts';
import { taskKey } from '../../../protocol/wire/ids.ts';
import type { Names } from '../names.ts';
import type { StoredAttempt, StoredOutcome } from '../port.ts';
import type { OutcomeRow } from '../rows.ts';
import { outcomeColumns, outcomeOf, outcomeTables } from '../rows.ts';

export interface OutcomeReader {
  find(task: TaskRef): StoredOutcome | undefined;
  list(
    namespace: NamespaceName,
    options: { after: number; limit: number; groups: readonly GroupId[] | null },
  ): StoredOutcome[];
  listBatch(batch: BatchNumber, options: { afterIndex: number; limit: number }): StoredOutcome[];
  listAttempts(task: TaskRef): StoredAttempt[];
  latestNumber(namespace: NamespaceName): number;
}

interface LedgerRow {
  attempt: number;
  node: StoredAttempt['node'];
  grantedAtMs: number;
  end: StoredAttempt['end'];
  charged: number | null;
  message: string | null;
  endedAtMs: number | null;
}

export function createOutcomeReader(database: Database.Database, names: Names): OutcomeReader {
  const select = `select ${outcomeColumns} from ${outcomeTables}`;
  const byKey = database.prepare<[number], OutcomeRow>(`${select} where outcome.task_key = ?`);
  const byNamespace = database.prepare<[number, number, number], OutcomeRow>(
    `${select} where outcome.namespace_id = ? and outcome.number > ?
     order by outcome.number limit ?`,
  );
  const keysByGroup = database.prepare<
    [number, number, number],
    { taskKey: number; number: number }
  >(`
    select task_key as taskKey, number from outcome
    where group_id = ? and number > ? order by number limit ?`);
  const byBatch = database.prepare<[number, number, number], OutcomeRow>(
    `${select} where outcome.task_key > ? and outcome.task_key <= ?
     order by outcome.task_key limit ?`,
  );
  const latest = database
    .prepare<[number, number], number>(`
      select max(
        coalesce((select max(number) from outcome where namespace_id = ?), 0),
        coalesce((select outcome from removed_until where namespace_id = ?), 0))`)
    .pluck();
  const ledger = database.prepare<[number, number, number, number], LedgerRow>(`
    select grant_run.attempt, peer.name as node, grant_run.at_ms as grantedAtMs,
      attempt_end.ending as "end", attempt_end.charged, attempt_end.message,
      attempt_end.at_ms as endedAtMs
    from grant_run
    join peer on peer.id = grant_run.peer_id
    left join attempt_end on attempt_end.task_key = ? and attempt_end.attempt = grant_run.attempt
    where batch = ? and lo <= ? and lo + task_count > ?
    order by grant_run.attempt`);
  const find = (task: TaskRef): StoredOutcome | undefined => {
    const row = byKey.get(taskKey(task));
    return row === undefined ? undefined : outcomeOf(row);
  };
  return {
    find,
    list(namespace, { after, limit, groups }) {
      const namespaceId = names.findNamespace(namespace);
      if (namespaceId === undefined) return [];
      if (groups === null) return byNamespace.all(namespaceId, after, limit).map(outcomeOf);
      return groups
        .map((group) => names.findGroup(group))
        .filter((group) => group?.namespaceId === namespaceId)
        .flatMap((group) => (group === undefined ? [] : keysByGroup.all(group.id, after, limit)))
        .sort((left, right) => left.number - right.number)
        .slice(0, limit)
        .flatMap((key) => byKey.all(key.taskKey))
        .map(outcomeOf);
    },
    listBatch(batch, { afterIndex, limit }) {
      const first = taskKey({ batch, index: 0 });
      return byBatch.all(first + afterIndex, first + 65_535, limit).map(outcomeOf);
    },
    listAttempts(task) {
      const { batch, index } = task;
      const settled = find(task);
      return ledger.all(taskKey(task), batch, index, index).map((row) => {
        const settles = settled !== undefined && settled.attempt === row.attempt;
        const status = settles ? settled.outcome.status : null;
        return {
          attempt: row.attempt,
          node: row.node,
          grantedAtMs: row.grantedAtMs,
          end: row.end ?? status,
          charged: row.charged === 1,
          message: row.message ?? settledMessage(settles ? settled : undefined),
          endedAtMs: row.endedAtMs ?? (settles ? settled.atMs : null),
        };
      });
    },
    latestNumber(namespace) {
      const id = names.findNamespace(namespace);
      return id === undefined ? 0 : (latest.get(id, id) ?? 0);
    },
  };
}

function settledMessage(settled: StoredOutcome | undefined): string {
  return settled?.outcome.failure?.message ?? '';
}
