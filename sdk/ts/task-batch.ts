/** What a client knows of the tasks of one batch; shared by all `Task` objects of it. */
import type { BatchNumber, GroupId } from '../../protocol/wire/ids.ts';
import type { OutcomeRecord } from '../../protocol/wire/outcome-record.ts';

/** Hears of the tasks that it watches; each at most once, in completion order. */
export interface OutcomeWatcher {
  onOutcome(batch: TaskBatch, index: number): void;
  /** The stream cannot be had any more; nothing further is heard. */
  onFail(error: Error): void;
}

/** A batch as the coordinator named it. */
export interface BatchDescription {
  batch: BatchNumber;
  group: GroupId;
  /** A cursor that misses none of its outcomes. */
  submittedAfter: number;
  /** Null for a batch of another process: how many tasks it has is not known. */
  count: number | null;
}

/** One batch; the follower alone writes. */
export interface TaskBatch extends Omit<BatchDescription, 'batch' | 'submittedAfter'> {
  readonly number: BatchNumber;
  readonly outcomes: Map<number, OutcomeRecord>;
  /** By the index of the task. */
  readonly watchers: Map<number, Set<OutcomeWatcher>>;
  /** Its outcomes up to this number are in `outcomes`; of no use while `stream` is set. */
  heardUpTo: number;
  /** The stream that carries on from there; undefined when none does. */
  stream: object | undefined;
}

/** A batch of which nothing has been heard. */
export function createTaskBatch(described: BatchDescription): TaskBatch {
  return {
    number: described.batch,
    group: described.group,
    count: described.count,
    outcomes: new Map(),
    watchers: new Map(),
    heardUpTo: described.submittedAfter,
    stream: undefined,
  };
}

/** Keeps an outcome, and tells those who wait for it; a second one of the same task changes nothing. */
export function recordOutcome(batch: TaskBatch, record: OutcomeRecord): void {
  if (batch.outcomes.has(record.index)) return;
  batch.outcomes.set(record.index, record);
  const watchers = batch.watchers.get(record.index);
  batch.watchers.delete(record.index);
  for (const watcher of watchers ?? []) watcher.onOutcome(batch, record.index);
}

/** Whether more may come of it. */
export function isUnfinished(batch: TaskBatch): boolean {
  return batch.count === null || batch.outcomes.size < batch.count;
}
