/**
 * What the API takes and answers, the same over HTTP (as JSON) and over `/perigee/client/1` (as
 * msgpack); docs/api.md says it in prose. Times are RFC 3339 UTC, durations are seconds as floats,
 * sizes are bytes. Inputs are what a caller may send: the gateway checks every field.
 */
import type {
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
  NodeId,
  TaskId,
} from './ids.ts';
import type { ImageryMode } from './messages.ts';
import type {
  FailureCode,
  FunctionKind,
  IsolationLevel,
  PythonVersion,
  TaskIsolation,
  TaskState,
} from './task.ts';

/** RFC 3339, UTC, with milliseconds. */
export type Timestamp = string;

/** One page of a list, newest first; `next` is the cursor of the next page, null at the end. */
export interface Page<Item> {
  items: Item[];
  next: string | null;
}

/** Where the mesh is reached over libp2p; open to everyone. */
export interface MeshView {
  peerId: string;
  addresses: string[];
  /** Version of the `/perigee/…` protocols. */
  protocol: number;
  version: string;
}

/** What a token may do: `operator` also everything that `user` may, `read` changes nothing. */
export type TokenRole = 'user' | 'read' | 'operator';

/** The token that the caller used. */
export interface WhoamiView {
  tokenId: string;
  role: TokenRole;
  namespace: NamespaceName;
  expiresAt: Timestamp | null;
}

/** Counts of a namespace and of the nodes that serve it. */
export interface StatusView {
  version: string;
  namespace: NamespaceName;
  groups: { running: number };
  tasks: { queued: number; running: number; succeeded: number; failed: number };
  nodes: { joining: number; ready: number; draining: number; lost: number };
  slots: { total: number; busy: number };
  /** Bytes that the namespace holds, as of the latest sweep; null before the first. */
  held: {
    results: number;
    arguments: number;
    logs: number;
    /** Functions, and arguments and results above 64 KiB. */
    blobs: number;
    asOf: Timestamp;
  } | null;
  /** Names of every image that a new group may choose. */
  images: string[];
}

export interface NamespaceView {
  namespace: NamespaceName;
  createdAt: Timestamp;
}

export interface TokenView {
  id: string;
  role: TokenRole;
  namespace: NamespaceName;
  label: string;
  createdAt: Timestamp;
  expiresAt: Timestamp | null;
  revokedAt: Timestamp | null;
}

export interface JoinTokenView {
  id: string;
  /** Null: every namespace. */
  namespaces: NamespaceName[] | null;
  label: string;
  createdAt: Timestamp;
  expiresAt: Timestamp | null;
  revokedAt: Timestamp | null;
  /** Admissions left; null for any number. */
  usesLeft: number | null;
}

/** The function of a group: exactly one of `blob` and `inline`. */
export interface FunctionRequest {
  kind: FunctionKind;
  /** Hash of a blob that was put before. */
  blob?: string;
  /** Base64 over HTTP; bytes over libp2p are taken too. At most 1 MiB decoded. */
  inline?: string | Uint8Array;
  /** `source` only: the name to call. */
  entry?: string;
}

/** What `groups.create` takes; only `name`, `function` and, for a pickle, `python` are required. */
export interface GroupRequest {
  name: string;
  image?: string | null;
  function: FunctionRequest;
  /** The client's own cloudpickle package as a zip. */
  cloudpickle?: { version: string; blob: string } | null;
  python?: PythonVersion | null;
  cpus?: number | null;
  memoryBytes?: number | null;
  /** `2Gi`, `512MB`, or a number of bytes; refused together with `memoryBytes`. */
  memory?: string | number | null;
  taskTimeoutSeconds?: number | null;
  retryCount?: number | null;
  maximumConcurrency?: number | null;
  queueTimeoutSeconds?: number | null;
  priority?: number | null;
  isolation?: TaskIsolation | null;
  isolationMin?: IsolationLevel | null;
  network?: boolean | null;
  environment?: Record<string, string> | null;
  resultFormat?: 'pickle' | 'json' | 'msgpack' | null;
  include?: IncludeRequest | null;
}

/** What a group carries of the user's own besides its function. */
export interface IncludeRequest {
  /** Hash of a blob that was put before: a tar of files and folders, without links. */
  blob: string;
  /** Dotted names of the modules in it. */
  modules?: readonly string[];
  /** Of the extension modules in it, as Node's `process.arch`; null when there are none. */
  arch?: string | null;
}

/** What may change on a group; fields left out stay. `maximumConcurrency: null` clears the limit. */
export interface GroupLimitsRequest {
  maximumConcurrency?: number | null;
  taskTimeoutSeconds?: number;
  retryCount?: number;
  priority?: number;
}

export interface GroupView {
  id: GroupId;
  namespace: NamespaceName;
  name: string;
  image: string;
  imageDigest: ImageDigest;
  imagePython: PythonVersion;
  function: { kind: FunctionKind; blob: BlobHash; entry: string };
  cloudpickle: { version: string; blob: BlobHash } | null;
  python: PythonVersion;
  cpus: number;
  memoryBytes: number;
  taskTimeoutSeconds: number;
  retryCount: number;
  maximumConcurrency: number | null;
  queueTimeoutSeconds: number | null;
  priority: number;
  isolation: TaskIsolation;
  isolationMin: IsolationLevel;
  network: boolean;
  environment: Record<string, string>;
  resultFormat: 'pickle' | 'json' | 'msgpack';
  include: { blob: BlobHash; modules: string[] } | null;
  state: 'running' | 'draining' | 'terminated';
  createdAt: Timestamp;
  terminatedAt: Timestamp | null;
  tasks: { queued: number; running: number; succeeded: number; failed: number };
}

/** A batch that is on disk. Its tasks are `<batch>-0 … <batch>-<count - 1>`. */
export interface BatchView {
  batch: BatchNumber;
  count: number;
  /** The namespace's latest outcome number before the batch: a cursor that misses none of its outcomes. */
  submittedAfter: number;
  namespace: NamespaceName;
  /** False when the same batch had been taken before. */
  created: boolean;
}

/** One line of a task's ledger. */
export interface AttemptView {
  attempt: number;
  node: NodeId;
  grantedAt: Timestamp;
  /** `success`, a failure code, `lost` or `returned`; null while it stands. */
  end: string | null;
  charged: boolean;
  message: string;
  endedAt: Timestamp | null;
}

export interface TaskView {
  id: TaskId;
  group: GroupId;
  namespace: NamespaceName;
  groupName: string;
  state: TaskState;
  status: 'SUCCESS' | 'FAILURE' | null;
  code: FailureCode | null;
  exception: string | null;
  message: string | null;
  traceback: string | null;
  /** The end of the log of a failed task, at most 4 KiB, undecodable bytes replaced. */
  logTail: string | null;
  /** Where it runs or ran last. */
  node: NodeId | null;
  /** Empty in lists. */
  attempts: AttemptView[];
  submittedAt: Timestamp;
  startedAt: Timestamp | null;
  finishedAt: Timestamp | null;
  runtimeSeconds: number | null;
  peakMemoryBytes: number | null;
  logBytes: number | null;
  /** Of the payload, a blob's own size when it is one. */
  resultBytes: number | null;
  outcomeNumber: number | null;
  submittedAfter: number;
  cancelable: boolean;
}

/** A file that a task gave out, complete and unchanging. */
export interface OutputView {
  task: TaskId;
  group: GroupId;
  /** Unique within the task. */
  name: string;
  sizeBytes: number;
  mediaType: string;
  /** Of its bytes; the ETag of `href` too. */
  sha256: BlobHash;
  /** Path of its bytes below the mesh's URL. */
  href: string;
  /** The attempt that made it. */
  attempt: number;
  /** When the task's outcome was recorded. */
  createdAt: Timestamp;
  /** What its writer told of it: for imagery, STAC's own fields (docs/imagery.md). */
  metadata: Record<string, unknown>;
}

/** Why a task waits, or how it ended. */
export interface ExplainView {
  id: TaskId;
  state: TaskState;
  sentence: string;
  /** Further lines: what stands in the way on each node, what the fleet does about it. */
  reasons: string[];
  /** Instances that are on their way. */
  booting: number;
}

export interface NodeView {
  id: NodeId;
  name: string;
  state: 'joining' | 'ready' | 'draining' | 'lost' | 'gone';
  suspect: boolean;
  isolation: IsolationLevel;
  slots: number;
  busy: number;
  cpus: number;
  memoryBytes: number;
  diskBytes: number;
  images: string[];
  mounts: string[];
  /** How assets come to tasks: large ones as they are read, each as a whole file, or none. */
  imagery: ImageryMode;
  /** Whether groups that ask for it (`network: true`) get the machine's network there. */
  network: boolean;
  /** What its imagery cache held by its latest word. */
  holdings: { assets: number; bytes: number };
  /** What its tasks read of imagery since its agent began, by source; null while nothing was read. */
  imageryReads: {
    /** Reads of blocks that the cache had, and those that it had not. */
    hits: number;
    misses: number;
    hitRate: number;
    cacheBytes: number;
    /** From other nodes. */
    peerBytes: number;
    originBytes: number;
  } | null;
  instance: InstanceId | null;
  pid: number;
  joinedAt: Timestamp;
  lastHeardSeconds: number;
  held: number;
  /** Who wants it to go and why, for people; null while nobody does. */
  draining: string | null;
  quarantined: boolean;
  software: string;
  story: { at: Timestamp; text: string }[];
}

/** Where an image comes from: set-up's recipes, a user's requirements, or an OCI registry. */
export type ImageKind = 'builtin' | 'requirements' | 'oci';
/** Only a `ready` image may be chosen by a new group. */
export type ImageState = 'building' | 'ready' | 'build_failed';

export interface ImageView {
  name: string;
  names: string[];
  digest: ImageDigest;
  kind: ImageKind;
  state: ImageState;
  python: PythonVersion;
  arch: string;
  /** Of its own files, without the base's; 0 until it is ready. */
  sizeBytes: number;
  /** The image on which it lies; null for one that stands by itself. */
  base: ImageDigest | null;
  /** How many live nodes have it. */
  nodes: number;
  /** Null for images of set-up. */
  createdAt: Timestamp | null;
}

/** What `images.build` takes. */
export interface ImageBuildRequest {
  /** What to call it; left out, a name made of the base's and of the set. */
  name?: string | null;
  /** An image of set-up; left out, the one that runs `python`. */
  base?: string | null;
  /** For example `2.7`. */
  python?: string | null;
  /** Lines of a requirements file. */
  requirements: string[];
}

/** One image in full. */
export interface ImageDetailView extends ImageView {
  /** The base's first name; null without a base. */
  baseName: string | null;
  /** As normalized; empty for other kinds. */
  requirements: string[];
  /** An OCI image's reference as it was asked for; null for other kinds. */
  reference: string | null;
  /** Names and versions of what was added to the base; empty when nobody looked. */
  packages: Record<string, string>;
  /** Set when the state is `build_failed`. */
  failure: { message: string; fix: string } | null;
  /** Live nodes that have it. */
  nodeNames: string[];
  endedAt: Timestamp | null;
}

/** Pools of machines and what they have now; for operators. Prices and costs are in dollars. */
export interface FleetView {
  pools: {
    pool: string;
    provider: string;
    min: number;
    max: number;
    warm: number;
    /** Instances that the work is worth, with minimum and spares, within the maximum. */
    wanted: number;
    /** Working or booting. */
    live: number;
    pricePerHour: number;
    spent: number;
    spendPerHourMax: number | null;
    spendTotalMax: number | null;
    dryRun: boolean;
    /** Why fewer are made than are wanted. */
    heldBack: string | null;
    /** What is wrong and needs somebody. */
    faults: string[];
    offers: {
      id: string;
      spot: boolean;
      pricePerHour: number;
      /** Measured, or guessed while `boots` is 0. */
      bootSeconds: number;
      boots: number;
      failures: number;
      paused: string | null;
    }[];
  }[];
  instances: {
    instance: InstanceId;
    pool: string;
    offer: string;
    state: 'requested' | 'booting' | 'joined' | 'working' | 'draining' | 'gone';
    reason: string;
    node: NodeId | null;
    ageSeconds: number;
    stateSeconds: number;
    cost: number;
    /** The cloud has said that it takes it back. */
    interrupted: boolean;
    ending: boolean;
  }[];
}

/** Why there are so many machines. */
export interface FleetExplainView {
  sentences: string[];
  work: {
    group: string;
    namespace: string;
    workSeconds: number;
    taskSeconds: number;
    measured: boolean;
    horizonSeconds: number;
    places: number;
  }[];
  /** Of the latest look. */
  decisions: {
    kind: 'create' | 'drain' | 'undrain' | 'end';
    pool: string;
    offer: string | null;
    count: number;
    instance: InstanceId | null;
    reason: string;
    /** It was only said. */
    dryRun: boolean;
  }[];
  /** Latest first. */
  events: {
    at: Timestamp;
    pool: string;
    instance: string | null;
    event: string;
    text: string;
    isLoud: boolean;
  }[];
}
