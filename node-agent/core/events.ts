/** Facts that happened, in the past tense. The only input of the node-agent's core. */
import type {
  AttemptRef,
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
} from '../../protocol/wire/ids.ts';
import type { Failure, GroupSpec, TaskOutput } from '../../protocol/wire/task.ts';

/** An argument that travels as a blob: which one, and the tag of what it holds. */
export interface ArgumentBlob {
  hash: BlobHash;
  tag: number;
}

/** One task of a grant; the shell has cut the block and read the references. */
export interface GrantedTask {
  index: number;
  /** Inline payload, or the reference itself when `blob` is set. */
  payload: Uint8Array;
  blob: ArgumentBlob | null;
}

/** A run of tasks of one batch, all with one attempt number. */
export interface GrantedRun {
  group: GroupId;
  batch: BatchNumber;
  attempt: number;
  tasks: readonly GrantedTask[];
}

/** Why a worker process is gone; the same shape as the runner's own. */
export type WorkerEnd =
  | { kind: 'asked' }
  | { kind: 'oom'; peakMemoryBytes: number }
  | { kind: 'died'; exitCode: number | null; signal: string | null; peakMemoryBytes: number }
  | { kind: 'broke'; message: string }
  | { kind: 'unstartable'; message: string }
  | { kind: 'unloadable'; code: 'exception' | 'version_mismatch'; failure: Failure };

/** A file that a task gave out, on this node's disk. */
export interface SpooledOutput extends TaskOutput {
  path: string;
}

/** What became of a task that a worker ran; the same shape as the runner's own. */
export interface EndedTask extends AttemptRef {
  status: 'success' | 'exception' | 'version_mismatch';
  result: Uint8Array;
  resultPath: string | null;
  resultTag: number;
  failure: Failure | null;
  runtimeMs: number;
  peakMemoryBytes: number;
  logBytes: number;
  /** Successes only; left out when there are none. */
  outputs?: readonly SpooledOutput[];
}

/** What the runner tells. */
export type WorkerEvent =
  | { kind: 'workerReady'; worker: number }
  | { kind: 'taskStarted'; worker: number; task: AttemptRef }
  | { kind: 'taskEnded'; worker: number; task: EndedTask }
  | {
      kind: 'workerEnded';
      worker: number;
      end: WorkerEnd;
      running: (AttemptRef & { runtimeMs: number; logBytes: number }) | null;
    }
  /** Answer to `retractTasks`: those that the worker will not run. */
  | { kind: 'tasksRetracted'; worker: number; tasks: readonly AttemptRef[] };

/** What the coordinator says. */
export type SessionEvent =
  /** The session stands: what is no longer the node's own is to be dropped. */
  | { kind: 'sessionOpened'; drop: readonly AttemptRef[] }
  | { kind: 'sessionLost' }
  /** The coordinator will not have this node, and asking again would not help. */
  | { kind: 'sessionRefused'; code: string; message: string; fix: string }
  | { kind: 'granted'; groups: readonly GroupSpec[]; runs: readonly GrantedRun[] }
  | { kind: 'reportAcknowledged'; report: number }
  | { kind: 'attemptsCancelled'; attempts: readonly AttemptRef[] }
  | { kind: 'drainOrdered' }
  | { kind: 'undrainOrdered' };

/** What became of files that the shell fetched or stored. */
export type FileEvent =
  | { kind: 'blobReady'; hash: BlobHash }
  | { kind: 'blobFailed'; hash: BlobHash; message: string; retryable: boolean }
  /** The result is on the coordinator's disk; `payload` refers to it. */
  | { kind: 'resultUploaded'; attempt: AttemptRef; payload: Uint8Array }
  | { kind: 'resultUploadFailed'; attempt: AttemptRef; message: string; retryable: boolean }
  /** The output is on the coordinator's disk. */
  | { kind: 'outputUploaded'; attempt: AttemptRef; name: string }
  | {
      kind: 'outputUploadFailed';
      attempt: AttemptRef;
      name: string;
      message: string;
      retryable: boolean;
    };

/** What became of an image that was asked for, or was here. */
export type ImageEvent =
  | { kind: 'imageReady'; digest: ImageDigest }
  | {
      kind: 'imageFailed';
      digest: ImageDigest;
      message: string;
      retryable: boolean;
      /** There is no room for it on this node's disk. */
      isFull: boolean;
    }
  /** It is not on the disk any more. */
  | { kind: 'imageLost'; digest: ImageDigest };

export type AgentEvent =
  | WorkerEvent
  | SessionEvent
  | FileEvent
  | ImageEvent
  /** A fixed rhythm, for everything that waits for time to pass. */
  | { kind: 'clockTicked' }
  | { kind: 'healthMeasured'; diskFreeBytes: number }
  /** SIGTERM, or the provider's notice that the machine ends. */
  | { kind: 'stopAsked'; reason: string }
  /** Closes a batch of events: only now is work handed out and are reports cut. */
  | { kind: 'turnEnded' };
