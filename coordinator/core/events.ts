/** Facts that happened, in the past tense. The only input of the coordinator's core. */
import type {
  AssetId,
  AttemptRef,
  BatchNumber,
  GroupId,
  InstanceId,
  NamespaceName,
  NodeId,
  SessionNumber,
  TaskRef,
} from '../../protocol/wire/ids.ts';
import type { Hello, ImageryReads } from '../../protocol/wire/messages.ts';
import type { AttemptOutcome, GroupSpec, NodeImage, TaskAssets } from '../../protocol/wire/task.ts';
import type { KnownImage } from './entities.ts';

export type { KnownImage } from './entities.ts';

/** A caller that waits for a `respond` effect with the same number. */
export type RequestNumber = number;

/** What may be changed on a group after its creation; null clears a limit (decision 10). */
export interface GroupLimits {
  maximumConcurrency: number | null;
  taskTimeoutMs: number;
  retryCount: number;
  priority: number;
}

/** Something a node said within its session; stale sessions are ignored by the core. */
interface FromNode {
  node: NodeId;
  session: SessionNumber;
}

export type CoordinatorEvent =
  | { kind: 'clockTicked' }
  /** The join token or the node's earlier admission was already checked; null means every namespace. */
  | ({ kind: 'nodeJoined'; hello: Hello; namespaces: readonly NamespaceName[] | null } & FromNode)
  | ({ kind: 'nodeDisconnected' } & FromNode)
  | ({
      kind: 'heartbeatHeard';
      load: number;
      memoryFreeBytes: number;
      diskFreeBytes: number;
      /** Null when the node said nothing of it. */
      imageryReads?: ImageryReads | null;
    } & FromNode)
  | ({ kind: 'nodePulled'; heldMax: number } & FromNode)
  | ({ kind: 'attemptsStarted'; attempts: readonly AttemptRef[] } & FromNode)
  | ({
      kind: 'reportReceived';
      report: number;
      outcomes: readonly (AttemptRef & AttemptOutcome)[];
    } & FromNode)
  | ({ kind: 'attemptsReturned'; attempts: readonly AttemptRef[] } & FromNode)
  /** It has other images than it had. */
  | ({ kind: 'imagesChanged'; images: readonly NodeImage[] } & FromNode)
  /** What its imagery cache holds: everything, or the changes since the message before. */
  | ({
      kind: 'holdingsTold';
      epoch: number;
      sequence: number;
      full: boolean;
      add: readonly { asset: AssetId; bytes: number }[];
      drop: readonly AssetId[];
    } & FromNode)
  /** The node said goodbye: it holds nothing and will not come back under this session. */
  | ({ kind: 'nodeLeft' } & FromNode)
  | {
      kind: 'nodeDrainAsked';
      request: RequestNumber | null;
      node: NodeId;
      by: 'node' | 'operator' | 'autoscaler';
      /** For people; empty when whoever asks does not say. */
      reason: string;
    }
  | { kind: 'nodeUndrainAsked'; request: RequestNumber | null; node: NodeId }
  /**
   * The provider saw the machine end: its node is lost now, without waiting for the lease. `node` is
   * what ran on it as far as the fleet knows: after a restart no hello has said so yet.
   */
  | { kind: 'instanceEnded'; instance: InstanceId; node: NodeId | null }
  /** All images that can be had, at start and after each change. */
  | { kind: 'imagesKnown'; images: readonly KnownImage[] }
  | { kind: 'groupCreated'; request: RequestNumber; spec: GroupSpec }
  | { kind: 'groupUpdated'; request: RequestNumber; group: GroupId; limits: GroupLimits }
  /** `drain`: running attempts finish; else they are killed. Queued tasks end as cancelled either way. */
  | { kind: 'groupTerminated'; request: RequestNumber; group: GroupId; drain: boolean }
  /** What is known of a group that is over is no longer kept; null when nobody waits for it. */
  | { kind: 'groupRemoved'; request: RequestNumber | null; group: GroupId }
  /** The gateway has already answered repeats of a client's batch id (decision 8). */
  | {
      kind: 'batchSubmitted';
      request: RequestNumber;
      group: GroupId;
      /** The client's UUID for this batch. */
      clientBatch: string;
      /** SHA-256 of the block, hexadecimal. */
      blockHash: string;
      count: number;
      block: Uint8Array;
      /** What the tasks read; null when they do not say. */
      assets: TaskAssets | null;
    }
  | { kind: 'taskCancelled'; request: RequestNumber; task: TaskRef };

/** A group as the store has it at start. */
export interface RestoredGroup {
  spec: GroupSpec;
  createdAtMs: number;
  state: 'running' | 'draining' | 'terminated';
  counts: { queued: number; succeeded: number; failed: number };
  /** Mean runtime of its latest outcomes, when known. */
  runtimeMs: number | null;
}

/** A batch with tasks that have no outcome yet. */
export interface RestoredBatch {
  batch: BatchNumber;
  group: GroupId;
  count: number;
  submittedAtMs: number;
  /** First index that was never granted. */
  next: number;
  assets: TaskAssets | null;
  /** Tasks with a recorded outcome. */
  doneCount: number;
  /** Indexes at or above `next` that already have an outcome. */
  doneAhead: readonly number[];
  /** Granted tasks without an outcome: their latest grant, and what was charged so far. */
  open: readonly {
    index: number;
    attempt: number;
    node: NodeId;
    grantedAtMs: number;
    /** How the latest attempt ended, when it did and the task goes on. */
    ended: boolean;
    /** It ended as lost: until the next grant its node may still report it (decision 6). */
    adoptable: boolean;
    /** A user asked for its cancel while it ran. */
    cancelAsked: boolean;
    charges: number;
    losses: number;
    /** Nodes on which a worker died under the task. */
    killedOn: readonly NodeId[];
  }[];
}

/** Everything the core must know of an earlier run. */
export interface RestoredState {
  groups: readonly RestoredGroup[];
  batches: readonly RestoredBatch[];
  /** Larger than every batch number ever given. */
  nextBatch: number;
  /** Latest outcome number by namespace. */
  outcomeNumbers: readonly (readonly [NamespaceName, number])[];
  /** Larger than every session number ever given: the store counts runs, so sessions are never reused. */
  nextSession: number;
}
