/**
 * What is removed once it is old. Every call is one short transaction: a million tasks go in many
 * small steps, between which the process does its work. SQLite's store implements it.
 */
import type { BatchNumber, BlobHash, GroupId, NamespaceName } from '../../protocol/wire/ids.ts';

/** What ended before these times goes, in ms; 0 for nothing. */
export interface Cutoffs {
  logsMs: number;
  /** Results and arguments. */
  resultsMs: number;
  /** Everything that is known of a batch whose tasks are all done, and of groups that are over. */
  recordsMs: number;
}

/** Bytes that a namespace holds. */
export interface HeldBytes {
  results: number;
  arguments: number;
  logs: number;
}

export interface SweepStep {
  /** Go on behind this batch; null at the end. */
  after: BatchNumber | null;
  held: ReadonlyMap<NamespaceName, HeldBytes>;
}

export interface RetentionStore {
  /**
   * Looks at some batches behind `after`, removes of them what is due, and measures what is left. One
   * that has more to remove than a step may is looked at again by the next.
   */
  sweepBatches(options: { after: number; cutoffs: Cutoffs }): Promise<SweepStep>;
  /** Deletes some rows of removed batches; false when none are left. */
  deleteRemoved(): Promise<boolean>;
  /** Removes terminated groups that ended before then and have no batch any more; answers some at a time. */
  removeOldGroups(recordsMs: number): Promise<GroupId[]>;
  /**
   * Removes some of a terminated group, at last the group itself; `open` when it has tasks that are
   * not done, or is not terminated.
   */
  removeGroup(group: GroupId): Promise<'removed' | 'more' | 'open'>;
  /** The largest numbers of a namespace that were removed; 0 when none was. */
  removedUntil(namespace: NamespaceName): Promise<{ batch: number; outcome: number }>;
  /** Blobs behind a hash, in order, with who may read them. */
  listBlobs(
    after: string,
    limit: number,
  ): Promise<{ hash: BlobHash; usedAtMs: number; namespaces: NamespaceName[] }[]>;
  /** Functions and the like of some groups behind an id; null at the end. */
  listGroupBlobs(after: number): Promise<{ after: number | null; hashes: BlobHash[] }>;
  /** Notes that a blob is about to be used, unless it was noted since `staleMs`. */
  touchBlob(hash: BlobHash, options: { nowMs: number; staleMs: number }): Promise<void>;
  /** Forgets a blob that was not used since, calling `removeFile` within the transaction. */
  forgetBlob(hash: BlobHash, usedBeforeMs: number, removeFile: () => void): Promise<boolean>;
}
