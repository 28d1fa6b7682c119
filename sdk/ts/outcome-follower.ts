/**
 * Follows the completion stream for all tasks of a mesh: one stream serves every wait.
 *
 * It runs while somebody waits, and a little longer. Each batch knows up to which number its outcomes
 * have been heard; a stream begins at the lowest of those that are waited for, and a lost one is
 * taken up again after the last number that it said. A record that comes twice changes nothing.
 */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { GroupId } from '../../protocol/wire/ids.ts';
import {
  createOutcomeRecordReader,
  type HeartbeatRecord,
  type OutcomeRecord,
} from '../../protocol/wire/outcome-record.ts';
import { createBatchRegistry } from './batch-registry.ts';
import { createEarlyOutcomes } from './early-outcomes.ts';
import { isPassing, type MeshLink } from './mesh-link.ts';
import {
  type BatchDescription,
  isUnfinished,
  type OutcomeWatcher,
  recordOutcome,
  type TaskBatch,
} from './task-batch.ts';

/** Outcomes as they come. */
export interface OutcomeFollower {
  /** Runs a submission; its batch misses no outcome, however soon it comes. */
  submit(send: () => Promise<BatchDescription>): Promise<TaskBatch>;
  /** The batch that a process learnt of otherwise. */
  describe(described: BatchDescription): TaskBatch;
  /** Tells of the task's outcome unless it is known; `unwatch` ends that. */
  watch(batch: TaskBatch, index: number, watcher: OutcomeWatcher): void;
  unwatch(batch: TaskBatch, index: number, watcher: OutcomeWatcher): void;
  close(): Promise<void>;
}

/** One stream, from its beginning to its end. */
interface FollowedStream {
  readonly ending: AbortController;
  /** Null: all groups of the namespace. */
  readonly groups: ReadonlySet<GroupId> | null;
  readonly after: number;
  /** Everything up to here that fits the groups has been recorded. */
  position: number;
}

/** The coordinator sends a heartbeat every 5 s: after four missed ones the stream is dead. */
const silenceMsMax = 20_000;
/** So that one wait after another does not open one stream after another. */
const lingerMs = 5_000;
/** More groups than this are not named in the call; the whole namespace is followed instead. */
const groupsNamedMax = 200;

/** A follower over a link; it asks for nothing until something is watched. */
export function createOutcomeFollower(
  link: Pick<MeshLink, 'subscribe' | 'persist'>,
): OutcomeFollower {
  const batches = createBatchRegistry();
  const early = createEarlyOutcomes();
  const watched = new Set<TaskBatch>();
  const closing = new AbortController();
  let stream: FollowedStream | undefined;
  let running: Promise<void> | undefined;
  let linger: NodeJS.Timeout | undefined;

  const canCarry = (batch: TaskBatch, one: FollowedStream): boolean =>
    batch.heardUpTo >= one.position && (one.groups?.has(batch.group) ?? true);
  const begin = (): FollowedStream => {
    const needed = [...watched].map((batch) => batch.heardUpTo);
    // Groups of tasks that nobody waits for yet too, so that the next wait finds its stream there.
    const groups = new Set([...batches].filter(isUnfinished).map((batch) => batch.group));
    for (const batch of watched) groups.add(batch.group);
    const after = needed.reduce((low, one) => Math.min(low, one), Number.MAX_SAFE_INTEGER);
    const begun: FollowedStream = {
      ending: new AbortController(),
      groups: groups.size <= groupsNamedMax ? groups : null,
      after,
      position: after,
    };
    for (const batch of batches) if (canCarry(batch, begun)) batch.stream = begun;
    return begun;
  };
  const end = (ended: FollowedStream): void => {
    for (const batch of batches) {
      if (batch.stream !== ended) continue;
      batch.heardUpTo = Math.max(batch.heardUpTo, ended.position);
      batch.stream = undefined;
    }
    if (stream === ended) stream = undefined;
  };
  const take = (record: OutcomeRecord | HeartbeatRecord, from: FollowedStream): void => {
    from.position = Math.max(from.position, record.outcomeNumber);
    if (record.kind === 'heartbeat') return;
    const batch = batches.find(record.batch);
    if (batch === undefined) {
      early.keep(record);
      return;
    }
    recordOutcome(batch, record);
    if (batch.watchers.size === 0) unwatchBatch(batch);
  };
  const unwatchBatch = (batch: TaskBatch): void => {
    if (!watched.delete(batch) || watched.size > 0) return;
    linger = setTimeout(() => stream?.ending.abort(), lingerMs).unref();
  };
  /** One stream; resolves when it was ended here or lost after it said something. */
  const followOnce = async (): Promise<void> => {
    if (watched.size === 0) return;
    const begun = begin();
    stream = begun;
    const signal = AbortSignal.any([begun.ending.signal, closing.signal]);
    const reader = createOutcomeRecordReader();
    let isHeard = false;
    try {
      const input = {
        after: begun.after,
        groups: begun.groups === null ? null : [...begun.groups],
      };
      for await (const item of link.subscribe('outcomes.follow', input, { signal, silenceMsMax })) {
        isHeard = true;
        for (const record of reader.push(item)) take(record, begun);
      }
    } catch (caught) {
      if (begun.ending.signal.aborted && !closing.signal.aborted) return;
      if (isCursorExpired(caught) && begun.after > 0) {
        // The coordinator's data are of an earlier day: what it recorded since has other numbers.
        for (const batch of batches) batch.heardUpTo = 0;
        begun.position = 0;
        return;
      }
      if (!isHeard || !isPassing(caught)) throw caught;
    } finally {
      end(begun);
    }
  };
  const run = async (): Promise<void> => {
    try {
      while (watched.size > 0) await link.persist(followOnce, closing.signal);
    } catch (caught) {
      failAll(toError(caught));
    } finally {
      running = undefined;
    }
  };
  const failAll = (error: Error): void => {
    const failed = [...watched];
    watched.clear();
    for (const batch of failed) {
      const watchers = new Set([...batch.watchers.values()].flatMap((some) => [...some]));
      batch.watchers.clear();
      for (const watcher of watchers) watcher.onFail(error);
    }
  };
  const describe = (described: BatchDescription): TaskBatch => batches.provide(described);

  return {
    async submit(send) {
      early.beginSubmission();
      const before = stream;
      try {
        const described = await send();
        const isNew = batches.find(described.batch) === undefined;
        const batch = describe(described);
        const current = stream;
        if (isNew && current !== undefined && early.isComplete) {
          const isCarried = current === before || current.after <= described.submittedAfter;
          if (isCarried && (current.groups?.has(batch.group) ?? true)) {
            batch.stream = current;
            for (const record of early.take(batch.number)) recordOutcome(batch, record);
          }
        }
        return batch;
      } finally {
        early.endSubmission();
      }
    },
    describe,
    watch(batch, index, watcher) {
      if (closing.signal.aborted) {
        watcher.onFail(toError(closing.signal.reason));
        return;
      }
      const watchers = batch.watchers.get(index);
      if (watchers === undefined) batch.watchers.set(index, new Set([watcher]));
      else watchers.add(watcher);
      watched.add(batch);
      clearTimeout(linger);
      if (running === undefined) running = Promise.resolve().then(run);
      else if (stream !== undefined && batch.stream !== stream) {
        if (canCarry(batch, stream)) batch.stream = stream;
        else stream.ending.abort();
      }
    },
    unwatch(batch, index, watcher) {
      const watchers = batch.watchers.get(index);
      if (watchers?.delete(watcher) !== true || watchers.size > 0) return;
      batch.watchers.delete(index);
      if (batch.watchers.size === 0) unwatchBatch(batch);
    },
    async close() {
      clearTimeout(linger);
      closing.abort(new PerigeeError('invalid_request', 'The mesh was closed by this program.'));
      await running;
    },
  };
}

function isCursorExpired(caught: unknown): boolean {
  return caught instanceof PerigeeError && caught.code === 'cursor_expired';
}
