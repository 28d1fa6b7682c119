/**
 * What the coordinator asks of its store. Asynchronous, so that a slow disk can move it into a
 * worker thread without a change here. `open-sqlite.ts` and `memory.ts` implement it and pass one
 * contract suite (`test/contract/store.test.ts`).
 */
import type {
  AttemptRef,
  BatchNumber,
  BlobHash,
  GroupId,
  NamespaceName,
  NodeId,
  TaskRef,
} from '../../protocol/wire/ids.ts';
import type {
  AttemptOutcome,
  GroupSpec,
  OutcomeStatus,
  TaskOutput,
} from '../../protocol/wire/task.ts';
import type { AttemptEnd, SaveEffect } from '../core/effects.ts';
import type { RestoredState } from '../core/events.ts';
import type { ImageStore } from '../images/image.ts';

/** A piece of an attempt's output as it is stored. */
export interface LogChunk extends AttemptRef {
  offset: number;
  bytes: Uint8Array;
}

/** A recorded outcome, as completion streams and task views read it. */
export interface StoredOutcome extends TaskRef {
  namespace: NamespaceName;
  outcomeNumber: number;
  group: GroupId;
  attempt: number;
  node: NodeId | null;
  outcome: AttemptOutcome;
  submittedAtMs: number;
  startedAtMs: number | null;
  atMs: number;
}

/** A file that a task gave out, with the outcome that it belongs to. */
export interface StoredOutput extends TaskRef, TaskOutput {
  group: GroupId;
  attempt: number;
  /** When the outcome was recorded. */
  atMs: number;
}

export interface StoredBatch {
  batch: BatchNumber;
  namespace: NamespaceName;
  group: GroupId;
  clientBatch: string;
  blockHash: string;
  count: number;
  atMs: number;
  submittedAfter: number;
}

export interface StoredGroup {
  spec: GroupSpec;
  createdAtMs: number;
  state: 'running' | 'draining' | 'terminated';
  terminatedAtMs: number | null;
  counts: { submitted: number; succeeded: number; failed: number };
}

/** One line of a task's ledger of attempts. */
export interface StoredAttempt {
  attempt: number;
  node: NodeId;
  grantedAtMs: number;
  /** How it ended; null while it stands; `success` or a failure code when it settled the task. */
  end: AttemptEnd | OutcomeStatus | null;
  charged: boolean;
  message: string;
  endedAtMs: number | null;
}

export type TokenRole = 'user' | 'read' | 'operator';

/** An access token or a join token; only the hash of its secret is kept. */
export interface StoredToken {
  /** Short public id, for lists and revocation. */
  id: string;
  purpose: 'access' | 'join';
  /** `hashToken` of coordinator/tokens.ts: SHA-256 of the token's whole text, hexadecimal. */
  secretHash: string;
  label: string;
  /** Access tokens only. */
  role: TokenRole | null;
  /** Access: the one namespace. Join: those whose work the node may see, null for all. */
  namespaces: readonly NamespaceName[] | null;
  createdAtMs: number;
  /** Null for never. */
  expiresAtMs: number | null;
  revokedAtMs: number | null;
  /** Join tokens: admissions left, null for any number. */
  usesLeft: number | null;
}

/** A node that has been admitted once and may come back by its peer id alone. */
export interface StoredNode {
  node: NodeId;
  name: string;
  /** Null: every namespace. */
  namespaces: readonly NamespaceName[] | null;
  admittedAtMs: number;
  tokenId: string;
}

/** A row of the fleet's intent log; written before the provider is called. */
export interface StoredInstance {
  instance: string;
  pool: string;
  state: 'requested' | 'booting' | 'joined' | 'working' | 'draining' | 'gone';
  /** What the provider needs to find it again, for example a process id with its start time. */
  handle: string;
  reason: string;
  requestedAtMs: number;
  endedAtMs: number | null;
  /** Which of its pool's offers it is of, at what price. */
  offer: string;
  pricePerHour: number;
  /** The peer that runs on it: the first that said so. */
  node: NodeId | null;
  /** Dollars until it was saved last. */
  cost: number;
}

/** Fleet events that are kept. */
export const fleetEventsMax = 2_000;

/** What happened to the fleet, for people; the latest are kept. */
export interface StoredFleetEvent {
  atMs: number;
  pool: string;
  instance: string | null;
  event: string;
  text: string;
  isLoud: boolean;
}

export interface StorePage<Item> {
  items: Item[];
  /** Cursor of the next page; null at the end. */
  next: string | null;
}

export interface Store extends ImageStore {
  /** The state of an earlier run, or an empty one. Counts a new run, so sessions are never reused. */
  restore(): Promise<RestoredState>;
  /** Performs saves and log chunks in order, in one transaction, on disk when it resolves. */
  commit(batch: { saves: readonly SaveEffect[]; logs: readonly LogChunk[] }): Promise<void>;
  findBatchByClient(
    namespace: NamespaceName,
    clientBatch: string,
  ): Promise<StoredBatch | undefined>;
  findBatch(batch: BatchNumber): Promise<StoredBatch | undefined>;
  /**
   * A batch's block of arguments.
   * @throws PerigeeError result_expired when it is not kept any more.
   */
  getBlock(batch: BatchNumber): Promise<Uint8Array>;

  findGroup(group: GroupId): Promise<StoredGroup | undefined>;
  /** Groups of a namespace whose id begins with `prefix`; at most two, to tell ambiguity. */
  findGroupsByPrefix(namespace: NamespaceName, prefix: string): Promise<GroupId[]>;
  /** Newest first. */
  listGroups(
    namespace: NamespaceName,
    options: { limit: number; cursor: string | null; name: string | null },
  ): Promise<StorePage<StoredGroup>>;

  findOutcome(task: TaskRef): Promise<StoredOutcome | undefined>;
  /** Outcomes of a namespace above a number, ascending; `groups` null for all. */
  listOutcomes(
    namespace: NamespaceName,
    options: { after: number; limit: number; groups: readonly GroupId[] | null },
  ): Promise<StoredOutcome[]>;
  /** Outcomes of one batch by index, ascending. */
  listBatchOutcomes(
    batch: BatchNumber,
    options: { afterIndex: number; limit: number },
  ): Promise<StoredOutcome[]>;
  /** Batches of a group or namespace, newest first; the cursor is a batch number: those below it. */
  listBatches(
    namespace: NamespaceName,
    options: { group: GroupId | null; limit: number; cursor: string | null },
  ): Promise<StorePage<StoredBatch>>;
  listAttempts(task: TaskRef): Promise<StoredAttempt[]>;
  latestOutcomeNumber(namespace: NamespaceName): Promise<number>;

  /** The stored pieces of an attempt's log in order of offset; gaps are what was cut. */
  readLog(
    attempt: AttemptRef,
    options: { offset: number; bytesMax: number },
  ): Promise<{ chunks: { offset: number; bytes: Uint8Array }[]; endOffset: number }>;
  /** How many bytes of an attempt's output have arrived, the cut ones too. */
  logOffset(attempt: AttemptRef): Promise<number>;

  createNamespace(namespace: NamespaceName, atMs: number): Promise<boolean>;
  hasNamespace(namespace: NamespaceName): Promise<boolean>;
  listNamespaces(): Promise<{ namespace: NamespaceName; createdAtMs: number }[]>;
  /** False when it still has groups that are not terminated. */
  removeNamespace(namespace: NamespaceName): Promise<boolean>;

  saveToken(token: StoredToken): Promise<void>;
  findTokenByHash(secretHash: string): Promise<StoredToken | undefined>;
  listTokens(purpose: 'access' | 'join'): Promise<StoredToken[]>;
  /** False when there is none. */
  revokeToken(id: string, atMs: number): Promise<boolean>;
  /** Takes one use of a join token and admits the node, in one transaction; false when none is left. */
  admitNode(node: StoredNode): Promise<boolean>;
  findNode(node: NodeId): Promise<StoredNode | undefined>;

  /**
   * Lets a namespace read a blob; repeating it changes nothing. `commit` does the same by itself,
   * in its own transaction, for a `saveOutcome` whose result is a blob reference, and for the
   * blobs of a `saveGroup`.
   */
  grantBlob(namespace: NamespaceName, hash: BlobHash, atMs: number): Promise<void>;
  /** Whether the namespace put the blob, or a task or group of it refers to it. */
  mayReadBlob(namespace: NamespaceName, hash: BlobHash): Promise<boolean>;

  /** Remembers that nodes put blobs, so that their later reports may refer to them; in one transaction. */
  recordUploads(uploads: readonly BlobUpload[]): Promise<void>;
  hasUploaded(node: NodeId, hash: BlobHash): Promise<boolean>;

  /** By name; none for a task that is not done, or failed. `commit` saves them with a `saveOutcome`. */
  listTaskOutputs(task: TaskRef): Promise<StoredOutput[]>;
  findTaskOutput(task: TaskRef, name: string): Promise<StoredOutput | undefined>;
  /** In order of tasks, then of names. */
  listGroupOutputs(
    group: GroupId,
    options: { limit: number; cursor: string | null },
  ): Promise<StorePage<StoredOutput>>;

  saveInstance(instance: StoredInstance): Promise<void>;
  listInstances(options: { gone: boolean }): Promise<StoredInstance[]>;
  /** Forgets those that were gone before then; what they cost is kept, pool by pool. */
  pruneInstances(endedBeforeMs: number): Promise<void>;
  /** Dollars of pruned instances, by pool. */
  prunedCosts(): Promise<Record<string, number>>;
  /** Keeps an event, and of all events the latest 2,000. */
  saveFleetEvent(event: StoredFleetEvent): Promise<void>;
  /** Latest first. */
  listFleetEvents(options: { limit: number }): Promise<StoredFleetEvent[]>;

  /** Key-value settings of the directory: ports, keys' file names, boot count. */
  getMeta(key: string): Promise<string | undefined>;
  setMeta(key: string, value: string): Promise<void>;

  close(): Promise<void>;
}

/** A node has put a blob. */
export interface BlobUpload {
  node: NodeId;
  hash: BlobHash;
}

/** Content-addressed bytes below the data directory. */
export interface BlobStore {
  has(hash: BlobHash): Promise<boolean>;
  /** @throws PerigeeError not_found */
  size(hash: BlobHash): Promise<number>;
  /** From `offset` on, at most `length` bytes. @throws PerigeeError not_found */
  read(hash: BlobHash, offset?: number, length?: number): AsyncIterable<Uint8Array>;
  /**
   * Streams to a temporary file, verifies, syncs and renames. `sizeBytes` is what the sender announced.
   * @throws PerigeeError invalid_request when the bytes do not have that hash or size, too_large, disk_full.
   */
  write(
    hash: BlobHash,
    bytes: AsyncIterable<Uint8Array>,
    options: { bytesMax: number; sizeBytes?: number },
  ): Promise<void>;
  /** Takes a blob away at once; its bytes are freed in time. Nothing when there is none. */
  remove(hash: BlobHash): void;
  /** Stores bytes at hand and answers their hash. */
  writeBytes(bytes: Uint8Array): Promise<BlobHash>;
}
