/**
 * Removes what is old: output first, then results and arguments, then everything that is known of
 * tasks and groups that are over. A pass goes through all batches in short steps with a pause behind
 * each, measures on its way what every namespace holds, and then looks for blobs that nothing needs.
 *
 * Never removed: what a task without an outcome needs (its arguments, its group's function), a blob
 * put or referred to lately, and a group that is not terminated.
 */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { indexBlock, payloadAt } from '../../protocol/wire/block.ts';
import type { BlobHash, GroupId, NamespaceName } from '../../protocol/wire/ids.ts';
import { findBlobReference } from '../../protocol/wire/payload.ts';
import type { Driver } from '../driver-port.ts';
import type { BlobStore, Store } from '../store/port.ts';
import type { Cutoffs, HeldBytes, RetentionStore } from '../store/retention-port.ts';

export interface RetentionDeps {
  store: Pick<Store, 'getBlock'> & RetentionStore;
  blobs: Pick<BlobStore, 'remove' | 'size'>;
  driver: Pick<Driver, 'dispatch' | 'request' | 'state'>;
  clock: { nowMs(): number };
  log: { warn(fields: object, message: string): void };
}

export interface RetentionSettings {
  /** Days after its task ended; 0 for ever. */
  keepLogsDays: number;
  keepResultsDays: number;
  keepRecordsDays: number;
  /** Between two passes. */
  sweepMs: number;
  /** Behind each step of one. */
  sweepPauseMs: number;
  /** A blob that was put, and that nothing refers to yet, is kept for so long. */
  blobGraceMs: number;
}

/** What a namespace held when it was last measured. */
export interface Held extends HeldBytes {
  blobs: number;
  atMs: number;
}

/** Retention, as the gateway sees it, with its life. */
export interface Retention {
  start(): void;
  /** Ends the pass under way behind its step; idempotent. */
  stop(): Promise<void>;
  /** Undefined before the first pass is through. */
  held(namespace: NamespaceName): Held | undefined;
  /** Whether a batch of this number may have been there and is kept no more. */
  mayHaveRemoved(namespace: NamespaceName, batch: number): Promise<boolean>;
  /** Called before a blob that may be old is relied on. */
  touchBlob(hash: BlobHash): Promise<void>;
  /**
   * Removes a terminated group with all that is known of its tasks.
   * @throws PerigeeError conflict
   */
  removeGroup(group: GroupId): Promise<void>;
}

const dayMs = 86_400_000;
/** Ids of batches are kept for so long whatever the settings say (decision 8). */
const recordsMsMin = dayMs;
/** How exactly the last use of a blob is known. */
const touchMsMax = 3_600_000;
const blobPage = 100;

export function createRetention(deps: RetentionDeps, settings: RetentionSettings): Retention {
  const { store, blobs, driver, clock, log } = deps;
  let held: Map<NamespaceName, Held> | undefined;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  const cutoff = (days: number, msMin = 0): number =>
    days === 0 ? 0 : clock.nowMs() - Math.max(days * dayMs, msMin);
  const readCutoffs = (): Cutoffs => ({
    logsMs: cutoff(settings.keepLogsDays),
    resultsMs: cutoff(settings.keepResultsDays),
    recordsMs: cutoff(settings.keepRecordsDays, recordsMsMin),
  });
  const pause = (): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, settings.sweepPauseMs));

  const sweepBatches = async (found: Map<NamespaceName, Held>): Promise<void> => {
    const cutoffs = readCutoffs();
    let after: number | null = 0;
    while (after !== null && !stopped) {
      const step = await store.sweepBatches({ after, cutoffs });
      for (const [namespace, bytes] of step.held) addTo(found, namespace, bytes);
      after = step.after;
      await pause();
    }
  };
  const deleteRemoved = async (): Promise<void> => {
    while (!stopped && (await store.deleteRemoved())) await pause();
  };
  const removeGroups = async (): Promise<void> => {
    const { recordsMs } = readCutoffs();
    if (recordsMs === 0) return;
    while (!stopped) {
      const removed = await store.removeOldGroups(recordsMs);
      if (removed.length === 0) return;
      for (const group of removed) driver.dispatch({ kind: 'groupRemoved', request: null, group });
      await pause();
    }
  };
  /** Functions of all groups, and arguments of tasks that have waited for longer than blobs are kept. */
  const findNeeded = async (beforeMs: number): Promise<Set<BlobHash>> => {
    const needed = new Set<BlobHash>();
    let after: number | null = 0;
    while (after !== null && !stopped) {
      const page = await store.listGroupBlobs(after);
      for (const hash of page.hashes) needed.add(hash);
      after = page.after;
      await pause();
    }
    for (const batch of [...driver.state().batches.values()]) {
      if (batch.submittedAtMs >= beforeMs || stopped) continue;
      const block = await store.getBlock(batch.number);
      const offsets = indexBlock(block, batch.count);
      for (let index = 0; index < batch.count; index += 1) {
        const reference = findBlobReference(payloadAt(block, offsets, index));
        if (reference !== undefined) needed.add(reference.hash);
      }
      await pause();
    }
    return needed;
  };
  const sweepBlobs = async (found: Map<NamespaceName, Held>): Promise<void> => {
    const { resultsMs, recordsMs } = readCutoffs();
    // Where results are kept for as long as their records, so are their bytes.
    const oldMs = resultsMs === 0 ? recordsMs : resultsMs;
    const beforeMs = Math.min(oldMs, clock.nowMs() - settings.blobGraceMs);
    const needed = oldMs === 0 ? null : await findNeeded(beforeMs);
    let after = '';
    while (!stopped) {
      const page = await store.listBlobs(after, blobPage);
      for (const { hash, usedAtMs, namespaces } of page) {
        after = hash;
        if (needed !== null && usedAtMs < beforeMs && !needed.has(hash)) {
          if (await store.forgetBlob(hash, beforeMs, () => blobs.remove(hash))) continue;
        }
        const bytes = await sizeOf(hash);
        for (const namespace of namespaces) addTo(found, namespace, { blobs: bytes });
      }
      if (page.length < blobPage) return;
      await pause();
    }
  };
  const sizeOf = async (hash: BlobHash): Promise<number> => {
    try {
      return await blobs.size(hash);
    } catch (caught) {
      // Its file may go, or be on its way, while the table is read.
      if (caught instanceof PerigeeError && caught.code === 'not_found') return 0;
      throw caught;
    }
  };
  const addTo = (
    found: Map<NamespaceName, Held>,
    namespace: NamespaceName,
    bytes: Partial<Omit<Held, 'atMs'>>,
  ): void => {
    const sum = found.get(namespace) ?? noBytes(clock.nowMs());
    sum.results += bytes.results ?? 0;
    sum.arguments += bytes.arguments ?? 0;
    sum.logs += bytes.logs ?? 0;
    sum.blobs += bytes.blobs ?? 0;
    found.set(namespace, sum);
  };
  const pass = async (): Promise<void> => {
    const found = new Map<NamespaceName, Held>();
    await sweepBatches(found);
    await deleteRemoved();
    await removeGroups();
    await sweepBlobs(found);
    if (!stopped) held = found;
  };
  const runPass = (): void => {
    running = pass()
      // A full disk or the like: what is old now is older at the next pass.
      .catch((caught: unknown) => log.warn({ err: toError(caught) }, 'a sweep broke off'))
      .then(() => {
        if (!stopped) timer = setTimeout(runPass, settings.sweepMs);
      });
  };
  return {
    start: runPass,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
    held: (namespace) =>
      held === undefined ? undefined : (held.get(namespace) ?? noBytes(clock.nowMs())),
    async mayHaveRemoved(namespace, batch) {
      return batch <= (await store.removedUntil(namespace)).batch;
    },
    async touchBlob(hash) {
      const days = settings.keepResultsDays || settings.keepRecordsDays;
      if (days === 0) return;
      const staleMs = Math.min(touchMsMax, (days * dayMs) / 4);
      await store.touchBlob(hash, { nowMs: clock.nowMs(), staleMs });
    },
    async removeGroup(group) {
      await driver.request({ kind: 'groupRemoved', group });
      for (;;) {
        const step = await store.removeGroup(group);
        if (step === 'removed') return;
        if (step === 'open') throw stillOpen(group);
        await pause();
      }
    },
  };
}

function stillOpen(group: GroupId): PerigeeError {
  return new PerigeeError('conflict', `Group ${group} is not over yet.`, {
    fix: `Terminate it first, and wait for its last task: \`scripts/perigee group terminate ${group}\`.`,
  });
}

function noBytes(atMs: number): Held {
  return { results: 0, arguments: 0, logs: 0, blobs: 0, atMs };
}
