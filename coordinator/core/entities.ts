/** What the coordinator's core knows: plain records that refer to each other. Only `step` changes them. */
import type { RandomState } from '../../protocol/base/random.ts';
import type {
  AssetId,
  BatchNumber,
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
  NodeId,
  SessionNumber,
} from '../../protocol/wire/ids.ts';
import type { ImageryMode, ImageryReads } from '../../protocol/wire/messages.ts';
import type {
  Capacity,
  GroupSpec,
  IsolationLevel,
  NodeImage,
  TaskAssets,
} from '../../protocol/wire/task.ts';
import type { RuntimeHistogram } from './runtimes.ts';
import type { CoreSettings } from './settings.ts';

/** One line of what happened to a node or a group. */
export interface StoryLine {
  atMs: number;
  text: string;
}

export interface Namespace {
  readonly name: NamespaceName;
  /** Latest outcome number given; the next outcome has one more. */
  outcomeNumber: number;
  /** Groups that may have something to grant: all that do, perhaps some that no longer do. */
  ready: Group[];
  /** True when `ready` is no longer in the order of granting. */
  readyStale: boolean;
  /** All and only groups with running attempts. */
  readonly busy: Set<Group>;
  /** Cpu-milliseconds used so far, as fair share counts them. */
  usedCpuMs: number;
}

export type GroupState = 'running' | 'draining' | 'terminated';

export interface Group {
  readonly id: GroupId;
  readonly namespace: Namespace;
  /** With the present limits; replaced, never changed in place, when they are updated. */
  spec: GroupSpec;
  state: GroupState;
  readonly createdAtMs: number;
  /** Batches in order of submission; from `freshHead` on those that may have never-granted tasks. */
  fresh: Batch[];
  freshHead: number;
  /** Tasks never granted and without an outcome: the sum over `fresh`. */
  freshCount: number;
  /** Oldest never-granted tasks, in order, when tasks say what they read; some may be gone already. */
  window: Candidate[];
  /** Batches in `fresh` whose tasks say what they read. */
  assetBatches: number;
  /** Due time of the timer that looks at held back tasks; null when there is none. */
  placementAtMs: number | null;
  /** All and only tasks that wait for another attempt, by key. */
  readonly waiting: Map<number, OpenTask>;
  /** Those of `waiting` whose place is `runnable`, in order of their key. */
  retries: OpenTask[];
  /** Tasks whose place is `held`. */
  running: number;
  /** Sum of their `grantedAtMs`. */
  grantedAtSumMs: number;
  succeeded: number;
  failed: number;
  /** Moving mean of successes and exceptions; null while nothing has been measured. */
  runtimeMs: number | null;
  /** Geometric moving mean of the same, which one task that was kept waiting does not spoil. */
  typicalMs: number | null;
  /** The same runtimes, for their quantiles. */
  readonly runtimes: RuntimeHistogram;
  /** Where an attempt succeeded last: tells a broken node from a broken group. */
  lastSuccessOn: NodeId | null;
  /** The node kept free for this group's next task, because smaller tasks passed it for too long. */
  reservedOn: CoreNode | null;
  /** True while a timer or sweep watches its queue timeout; always so when it has one and fresh tasks. */
  queueTimer: boolean;
  /** True while it is in its namespace's `ready`. */
  inReady: boolean;
  story: StoryLine[];
}

export interface Batch {
  readonly number: BatchNumber;
  readonly group: Group;
  readonly count: number;
  readonly submittedAtMs: number;
  /** First index that was never granted nor ended from the queue; all below have a task or an outcome. */
  next: number;
  /** Tasks with an outcome; the batch is forgotten when it equals `count`. */
  doneCount: number;
  /** Indexes at or above `next` that were granted or have an outcome. */
  readonly takenAhead: Set<number>;
  /** What its tasks read; null when they do not say. */
  readonly assets: TaskAssets | null;
}

/** A never-granted task that a node may get out of turn. */
export interface Candidate {
  readonly batch: Batch;
  readonly index: number;
  readonly assets: readonly AssetId[];
  /** Younger tasks of the group that were granted before it, since it is in the window. */
  overtaken: number;
  /** The nearer node it was held back for, once, and until when; null when it never was. */
  waiting: { readonly untilMs: number; readonly node: NodeId } | null;
}

/** Where an open task is; exactly one place at a time. */
export type TaskPlace =
  | { readonly kind: 'held'; cancelAsked: boolean }
  /** Waits until its retry is due; always with an entry of `timers`. */
  | { readonly kind: 'backoff'; readonly notBeforeMs: number }
  | {
      readonly kind: 'runnable';
      readonly sinceMs: number;
      /** Until then another node than `task.node` is preferred. */
      readonly avoidUntilMs: number;
      /** Whether until then `task.node` is out of the question even when it is the only one. */
      readonly avoidStrictly: boolean;
      /** Its latest attempt was declared lost: until the next grant its node may still report it (decision 6). */
      readonly adoptable: boolean;
    }
  | { readonly kind: 'settled' };

/** A task that has been granted at least once and has no outcome. */
export interface OpenTask {
  readonly key: number;
  readonly batch: Batch;
  readonly index: number;
  /** Number of the latest attempt; the fencing token. */
  attempt: number;
  /** Node of the latest attempt. */
  node: NodeId;
  grantedAtMs: number;
  /** When the latest attempt began to run, as far as its node has said. */
  startedAtMs: number | null;
  /** Attempts that count against retryCount. */
  charges: number;
  /** Attempts lost with their node. */
  losses: number;
  /** Distinct nodes on which a worker died under it. */
  killedOn: NodeId[];
  place: TaskPlace;
}

export type NodePhase =
  /** It holds attempts of an earlier run of the coordinator and has not been heard since. */
  | { kind: 'lostContact' }
  /** Welcomed; has not pulled yet. */
  | { kind: 'joining' }
  | { kind: 'ready' }
  | {
      kind: 'draining';
      by: 'node' | 'operator' | 'autoscaler';
      /** For people; empty when nobody has said. */
      reason: string;
      sinceMs: number;
    };

/** What a node said of itself in its latest hello. */
export interface NodeProfile {
  readonly name: string;
  readonly instance: InstanceId | null;
  readonly capacity: Capacity;
  readonly images: readonly NodeImage[];
  /** Of `images`, and of what it has run tasks in since. */
  readonly digests: Set<ImageDigest>;
  readonly isolation: IsolationLevel;
  readonly mounts: readonly string[];
  /** Where other nodes reach it; empty when it only dials. */
  readonly peerAddresses: readonly string[];
  readonly imagery: ImageryMode;
  /** Whether groups that ask for it get the machine's network there. */
  readonly network: boolean;
  /** As Node's `process.arch`; null for an agent that did not say and has no image. */
  readonly arch: string | null;
  readonly pid: number;
  readonly software: string;
}

/** A worker that died under a task, as the black-hole rule remembers it. */
export interface CrashNote {
  group: GroupId;
  attempt: number;
  atMs: number;
}

export interface CoreNode {
  readonly id: NodeId;
  /** Whose work it may see; null for every namespace. */
  namespaces: ReadonlySet<NamespaceName> | null;
  /** Null only while `lostContact`. */
  profile: NodeProfile | null;
  phase: NodePhase;
  /** The session that stands; null while disconnected. */
  session: SessionNumber | null;
  /** Largest session ever seen; a hello with a smaller one is late. */
  sessionLast: SessionNumber | null;
  joinedAtMs: number;
  /** When anything was last heard; the lease runs from here. */
  heardAtMs: number;
  /** Whether the lease was prolonged once because the coordinator itself had been asleep. */
  graceGiven: boolean;
  /** How many attempts it is willing to hold; 0 before its first pull. */
  heldMax: number;
  /** All and only tasks whose place is `held` and whose node is this one, by key. */
  readonly held: Map<number, OpenTask>;
  /** How many of `held` each group has; no zeros. */
  readonly heldByGroup: Map<Group, number>;
  /** What it adds to the state's `readySlots`. */
  slotsCounted: number;
  /** Since when `held` is empty; null while it is not. */
  idleSinceMs: number | null;
  /** Set while the node is paused as a black hole; cleared by an operator. */
  quarantine: StoryLine | null;
  /** Tasks whose worker died here since the last task that ended well, by key, oldest first. */
  readonly crashes: Map<number, CrashNote>;
  /** A group whose next task this node is being kept free for. */
  reservedFor: Group | null;
  /** Assets in its cache, and their bytes. */
  readonly holdings: Map<AssetId, number>;
  /** Bytes of `holdings` that no other node holds. */
  uniqueBytes: number;
  /** The latest word on them; null before the first. */
  holdingsTold: { readonly epoch: number; readonly sequence: number } | null;
  load: number;
  memoryFreeBytes: number;
  diskFreeBytes: number;
  /** What its tasks read of imagery since its agent began; null while it has said nothing. */
  imageryReads: ImageryReads | null;
  story: StoryLine[];
}

/** A node that is no more, kept for people and in case it comes back. */
export interface DepartedNode {
  readonly id: NodeId;
  readonly phase: 'lost' | 'gone';
  readonly atMs: number;
  readonly namespaces: ReadonlySet<NamespaceName> | null;
  readonly profile: NodeProfile | null;
  readonly sessionLast: SessionNumber | null;
  readonly joinedAtMs: number;
  readonly heardAtMs: number;
  readonly quarantine: StoryLine | null;
  readonly story: StoryLine[];
}

/** Something to look at when its time has come; stale when the task has moved to another place since. */
export type Timer = { readonly atMs: number; readonly sequence: number } & (
  | { readonly kind: 'task'; readonly task: OpenTask; readonly place: TaskPlace }
  /** The queue timeout of a group's oldest never-granted tasks. */
  | { readonly kind: 'group'; readonly group: Group }
  /** The first of a group's tasks that were held back for a nearer node may go anywhere. */
  | { readonly kind: 'placement'; readonly group: Group }
);

/** Queued tasks that are to end, a bounded number a step. */
export type Sweep =
  /** All queued tasks of a group that takes no more, as cancelled. */
  | { readonly kind: 'group'; readonly group: Group }
  /** Never-granted tasks of a group that have reached its queue timeout, as timeouts. */
  | { readonly kind: 'queueTimeout'; readonly group: Group };

/** An image that a node without it can fetch. */
export interface KnownImage {
  readonly digest: ImageDigest;
  readonly sizeBytes: number;
  readonly arch: string;
  /** What it is laid over; a node needs that too. */
  readonly base: ImageDigest | null;
}

export interface CoordinatorState {
  readonly settings: Readonly<CoreSettings>;
  /** Jitter of retries; nothing else is random here. */
  readonly random: RandomState;
  readonly startedAtMs: number;
  /** The largest time seen: a clock that steps back stands still here. */
  nowMs: number;
  /** Larger than every batch number given. */
  nextBatch: number;
  readonly namespaces: Map<NamespaceName, Namespace>;
  /** All groups that are not terminated, and the latest terminated ones. */
  readonly groups: Map<GroupId, Group>;
  /** Terminated groups without open tasks, oldest first. */
  readonly ended: Set<Group>;
  /** All and only batches with tasks that have no outcome, in order of submission. */
  readonly batches: Map<BatchNumber, Batch>;
  /** All and only tasks below their batch's `next` without an outcome, by key. */
  readonly tasks: Map<number, OpenTask>;
  /** Every node that may hold attempts. */
  readonly nodes: Map<NodeId, CoreNode>;
  /** Nodes by what they hold: the same as all their `holdings`. */
  readonly holders: Map<AssetId, Set<CoreNode>>;
  /** Images that a node can fetch, as the catalogue has told last. */
  images: ReadonlyMap<ImageDigest, KnownImage>;
  /** Lost and gone ones, oldest first. */
  readonly departed: Map<NodeId, DepartedNode>;
  /** Namespaces that may have something to grant: all that do, perhaps some that no longer do. */
  readonly ready: Set<Namespace>;
  /** A binary heap by time and sequence. */
  readonly timers: Timer[];
  nextTimer: number;
  /** Length of `timers` at which stale ones are removed. */
  timersCompactAt: number;
  sweeps: Sweep[];
  /** Slots of nodes that are ready, connected and not paused. */
  readySlots: number;
  /** All nodes with a free slot, and some that could only hold more ahead, or not even that. */
  readonly roomy: Set<CoreNode>;
  /** No lease can end before this. */
  leaseCheckMs: number;
  /** What the namespace served last had used: a newcomer starts there, not at zero. */
  servedCpuMs: number;
}
