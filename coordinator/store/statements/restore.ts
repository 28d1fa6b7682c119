/**
 * What the core must know of an earlier run. Only batches that are open are read, and their blocks
 * are not: a queue of a million tasks is a few hundred rows here.
 */
import type Database from 'better-sqlite3';
import { readAssetList } from '../../../protocol/wire/asset-list.ts';
import type { BatchNumber, GroupId, NamespaceName, NodeId } from '../../../protocol/wire/ids.ts';
import type { RestoredBatch, RestoredGroup, RestoredState } from '../../core/events.ts';
import type { GroupRow } from '../rows.ts';
import { groupColumns, groupOf } from '../rows.ts';

/** Outcomes from which a group's mean runtime is taken: enough to be steady, few enough to follow a change. */
const runtimeSample = 20;
/** Sessions of one run; the next run's numbers begin behind them. */
const sessionsPerRun = 2 ** 32;

/** Reads the state; `run` counts the starts of the coordinator on this database. */
export function readRestoredState(database: Database.Database, run: number): RestoredState {
  return {
    groups: readGroups(database),
    batches: readOpenBatches(database),
    nextBatch: readNextBatch(database),
    outcomeNumbers: database
      .prepare<[], { name: NamespaceName; number: number | null }>(`
        select name, max(
          coalesce((select max(number) from outcome where namespace_id = namespace.id), 0),
          coalesce((select outcome from removed_until where namespace_id = namespace.id), 0)
        ) as number
        from namespace order by id`)
      .all()
      .map(({ name, number }) => [name, number ?? 0] as const),
    nextSession: run * sessionsPerRun + 1,
  };
}

function readNextBatch(database: Database.Database): number {
  const latest = database.prepare<[], number | null>('select max(id) from batch').pluck().get();
  // Batches that were removed with their namespace keep their numbers for ever.
  const removed = database
    .prepare<[], string>("select value from meta where key = 'removedBatchMax'")
    .pluck()
    .get();
  return Math.max(latest ?? 0, Number(removed ?? 0)) + 1;
}

function readGroups(database: Database.Database): RestoredGroup[] {
  const meanRuntime = database
    .prepare<[number], number | null>(`
      select avg(runtime_ms) from (
        select runtime_ms from outcome
        where group_id = ? and status = 0 order by number desc limit ${runtimeSample}
      )`)
    .pluck();
  return database
    .prepare<[], GroupRow>(`select ${groupColumns} from grp order by id`)
    .all()
    .map((row) => {
      const { spec, createdAtMs, state, counts } = groupOf(row);
      const { submitted, succeeded, failed } = counts;
      return {
        spec,
        createdAtMs,
        state,
        counts: { queued: submitted - succeeded - failed, succeeded, failed },
        runtimeMs: state === 'terminated' ? null : (meanRuntime.get(row.id) ?? null),
      };
    });
}

interface OpenBatchRow {
  batch: BatchNumber;
  group: GroupId;
  count: number;
  submittedAtMs: number;
  doneCount: number;
}

interface GrantRow {
  lo: number;
  count: number;
  attempt: number;
  node: NodeId;
  atMs: number;
}

interface EndRow {
  taskKey: number;
  attempt: number;
  node: NodeId;
  ending: string;
  charged: number;
}

type OpenTask = RestoredBatch['open'][number];

function readOpenBatches(database: Database.Database): RestoredBatch[] {
  const grants = database.prepare<[number], GrantRow>(`
    select lo, task_count as count, attempt, peer.name as node, at_ms as atMs
    from grant_run join peer on peer.id = grant_run.peer_id
    where batch = ? order by attempt`);
  const done = database
    .prepare<[number, number], number>(
      'select task_key from outcome where task_key between ? and ? order by task_key',
    )
    .pluck();
  const ends = database.prepare<[number, number], EndRow>(`
    select task_key as taskKey, attempt, peer.name as node, ending, charged
    from attempt_end join peer on peer.id = attempt_end.peer_id
    where task_key between ? and ? order by task_key, attempt`);
  const cancels = database
    .prepare<[number, number], number>(
      'select task_key from cancel_asked where task_key between ? and ?',
    )
    .pluck();
  const assets = database
    .prepare<[number], Uint8Array>('select bytes from batch_assets where batch = ?')
    .pluck();
  return database
    .prepare<[], OpenBatchRow>(`
      select batch.id as batch, grp.guid as "group", task_count as count, at_ms as submittedAtMs,
        done_count as doneCount
      from batch join grp on grp.id = batch.group_id
      where done_count < task_count order by batch.id`)
    .all()
    .map((row) => {
      const first = row.batch * 65_536;
      const last = first + 65_535;
      const rows = {
        grants: grants.all(row.batch),
        // Nothing done and nothing granted is the usual case of a long queue.
        done: row.doneCount === 0 ? [] : done.all(first, last).map((key) => key - first),
        ends: ends.all(first, last),
        cancels: cancels.all(first, last),
      };
      const list = assets.get(row.batch);
      return {
        ...row,
        ...assemble(rows, first),
        assets: list === undefined ? null : readAssetList(list, row.count),
      };
    });
}

function assemble(
  rows: {
    grants: readonly GrantRow[];
    done: readonly number[];
    ends: readonly EndRow[];
    cancels: readonly number[];
  },
  firstKey: number,
): Pick<RestoredBatch, 'next' | 'doneAhead' | 'open'> {
  const next = findFirstUngranted(rows.grants);
  const isDone = new Set(rows.done);
  const latest = new Map<number, GrantRow>();
  // In order of attempt: a later grant of a task replaces the earlier one.
  for (const grant of rows.grants) {
    for (let index = grant.lo; index < grant.lo + grant.count; index += 1) {
      if (!isDone.has(index)) latest.set(index, grant);
    }
  }
  const endsByIndex = Map.groupBy(rows.ends, (end) => end.taskKey - firstKey);
  const open = [...latest.entries()]
    .sort(([left], [right]) => left - right)
    .map(([index, grant]) => ({
      ...openTask(index, grant, endsByIndex.get(index) ?? []),
      cancelAsked: rows.cancels.includes(firstKey + index),
    }));
  return { next, doneAhead: rows.done.filter((index) => index >= next), open };
}

/** Tasks are granted out of order when it matters where they run. */
function findFirstUngranted(grants: readonly GrantRow[]): number {
  let next = 0;
  for (const grant of [...grants].sort((left, right) => left.lo - right.lo)) {
    if (grant.lo > next) break;
    next = Math.max(next, grant.lo + grant.count);
  }
  return next;
}

function openTask(
  index: number,
  grant: GrantRow,
  ends: readonly EndRow[],
): Omit<OpenTask, 'cancelAsked'> {
  const latest = ends.find((end) => end.attempt === grant.attempt);
  const killers = ends.filter((end) => end.ending === 'crash').map((end) => end.node);
  return {
    index,
    attempt: grant.attempt,
    node: grant.node,
    grantedAtMs: grant.atMs,
    ended: latest !== undefined,
    adoptable: latest?.ending === 'lost',
    charges: ends.filter((end) => end.charged === 1).length,
    losses: ends.filter((end) => end.ending === 'lost').length,
    killedOn: [...new Set(killers)],
  };
}
