import type { BlobHash, GroupId, ImageDigest, NamespaceName } from './ids.ts';

/** How a task can fail; decisions 5. `retry_count` covers exception, timeout and crash only. */
export const failureCodes = [
  'exception',
  'oom',
  'timeout',
  'crash',
  'cancelled',
  'version_mismatch',
  'lost',
] as const;
export type FailureCode = (typeof failureCodes)[number];

/** What a recorded outcome says. */
export type OutcomeStatus = 'success' | FailureCode;

/** What a task is doing; `done` has exactly one recorded outcome. */
export type TaskState = 'queued' | 'running' | 'done';

/** Strongest first; `none` is only ever used when a person asked for it. */
export const isolationLevels = ['strong', 'standard', 'reduced', 'minimal', 'none'] as const;
export type IsolationLevel = (typeof isolationLevels)[number];

/** Whether `level` isolates at least as well as `minimum`. */
export function isAtLeast(level: IsolationLevel, minimum: IsolationLevel): boolean {
  return isolationLevels.indexOf(level) <= isolationLevels.indexOf(minimum);
}

/** The interpreter of a function or an image; the patch level may differ between the two. */
export interface PythonVersion {
  /** As `platform.python_implementation()` says, for example `CPython`. */
  implementation: string;
  /** For example `2.7.18`. */
  version: string;
}

/** `CPython 2.7`: what must be equal between a function and its image. */
export function pythonTag(python: PythonVersion): string {
  return `${python.implementation} ${python.version.split('.').slice(0, 2).join('.')}`;
}

/** How a worker serves the tasks of its group (decision 14). */
export type TaskIsolation = 'worker' | 'task';

/** How the function is given: a cloudpickle, or Python source with the name to call. */
export type FunctionKind = 'pickle' | 'source';

/** Modules and files of the user's own, which every worker of the group finds in a folder. */
export interface GroupInclude {
  /** A tar of the folder, without links. */
  blob: BlobHash;
  /** Modules in it that can be imported: what refers to them is pickled by reference. */
  modules: readonly string[];
}

/** Everything about a group that its attempts need; immutable once created. */
export interface GroupSpec {
  group: GroupId;
  namespace: NamespaceName;
  name: string;
  /** As the user wrote it, for showing. */
  imageName: string;
  imageDigest: ImageDigest;
  functionKind: FunctionKind;
  /** The cloudpickle, or UTF-8 source. */
  functionBlob: BlobHash;
  /** For `source`: the callable's name in it. Empty for `pickle`. */
  functionEntry: string;
  /** A zip of the client's own cloudpickle package, put on the path of the worker; null for `source`. */
  cloudpickleBlob: BlobHash | null;
  cloudpickleVersion: string | null;
  python: PythonVersion;
  cpus: number;
  memoryBytes: number;
  taskTimeoutMs: number;
  retryCount: number;
  /** Running attempts of the group at once, on the whole mesh; null for no limit. */
  maximumConcurrency: number | null;
  /** How long a task may wait in the queue before it ends as `timeout`; null for ever. */
  queueTimeoutMs: number | null;
  /** Larger goes first within a namespace. */
  priority: number;
  taskIsolation: TaskIsolation;
  /** Weakest sandbox that the group accepts. */
  isolationMin: IsolationLevel;
  network: boolean;
  environment: Readonly<Record<string, string>>;
  /** `json` refuses results that are not JSON; `msgpack` is the TypeScript SDK's; `pickle` is Python's. */
  resultFormat: 'pickle' | 'json' | 'msgpack';
  /** Absent when the group carries nothing of the user's besides its function. */
  include?: GroupInclude;
}

/** What the tasks of a batch read, kept as bytes: a million tasks cost a few MB. */
export interface TaskAssets {
  /** 8 bytes for each asset id. */
  bytes: Uint8Array;
  /** Where each task's ids begin in `bytes`, and at last where they all end. */
  starts: Uint32Array;
}

/** What a node can carry at once. */
export interface Capacity {
  slots: number;
  cpus: number;
  memoryBytes: number;
  diskBytes: number;
}

/** An image that a node has, ready to run. */
export interface NodeImage {
  digest: ImageDigest;
  /** Every name it answers to. */
  names: string[];
  python: PythonVersion;
  /** As Node's `process.arch`. */
  arch: string;
  sizeBytes: number;
}

/** What is known of a failed attempt, as text. */
export interface Failure {
  /** The exception's class, or a word for what killed it, for example `MemoryLimit`. */
  name: string;
  message: string;
  traceback: string;
}

/** A file that a task gave out beside its result; its bytes are a blob. */
export interface TaskOutput {
  /** Unique within the task; see `output-names.ts`. */
  name: string;
  hash: BlobHash;
  sizeBytes: number;
  mediaType: string;
  /** What its writer tells of it: a JSON object as text. */
  metadata: string;
}

/** How one attempt ended, as its node reports it. */
export interface AttemptOutcome {
  status: OutcomeStatus;
  /** A payload (see `payload.ts`); empty when the attempt failed. */
  result: Uint8Array;
  /** Null on success. */
  failure: Failure | null;
  /** Time in the function, by the monotonic clock of the node. */
  runtimeMs: number;
  /** Highest memory of the worker while it ran, 0 when not known. */
  peakMemoryBytes: number;
  /** All bytes of output, the cut ones too. */
  logBytes: number;
  /** Files that it gave out, successes only; left out when there are none. */
  outputs?: readonly TaskOutput[];
}
