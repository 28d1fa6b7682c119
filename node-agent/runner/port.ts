/**
 * What the agent asks of its runner: sandboxed warm workers. `create-runner.ts` implements it with
 * real processes, `memory.ts` is its twin for tests of the agent; both pass
 * `test/contract/runner.test.ts`. The runner decides nothing: the core says what to start, feed and
 * kill, and hears of it through `RunnerEvent`s.
 */
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { Failure, GroupSpec, IsolationLevel, TaskOutput } from '../../protocol/wire/task.ts';
import type { ImageEnvironment } from '../images/image-environment.ts';

/** Numbered by the core, never reused within one run of the agent. */
export type WorkerNumber = number;

/** Files that the runner needs for a worker; the agent has fetched and verified them. */
export interface WorkerFiles {
  /** Root file system of the image, or null to use the path of an interpreter on the host (level `none`). */
  rootfs: string;
  /** Interpreter's path inside the root file system. */
  pythonPath: string;
  /** The packages of a layered image, to lie over those of its base; null for others. */
  sitePath: string | null;
  /** The group's function blob on disk. */
  functionPath: string;
  /** The zip with the group's cloudpickle; null for `source` functions. */
  cloudpicklePath: string | null;
  /** The tar with what the group carries; null or absent when it carries nothing. */
  includePath?: string | null;
  /** What a registry's image sets for its programs; absent for others. */
  environment?: ImageEnvironment;
}

export interface WorkerStart {
  worker: WorkerNumber;
  /** Which of the node's slots it occupies, from 0; decides the uid and the cgroup. */
  slot: number;
  spec: GroupSpec;
  files: WorkerFiles;
}

/** A task to run. Its payload is as granted; a blob reference has been resolved to a file. */
export interface TaskInput extends AttemptRef {
  /** Inline payload (tag byte first); empty when `payloadPath` is set. */
  payload: Uint8Array;
  /** A file with the payload's bytes behind the tag, visible to the agent; null when inline. */
  payloadPath: string | null;
  payloadTag: number;
}

/** What became of the attempt that a worker ran. Results above the inline bound are in a file. */
export interface TaskResult extends AttemptRef {
  status: 'success' | 'exception' | 'version_mismatch';
  /** Inline payload with its tag; empty when failed or when `resultPath` is set. */
  result: Uint8Array;
  /** Spool file with the result's bytes behind the tag; the agent uploads and removes it. */
  resultPath: string | null;
  resultTag: number;
  failure: Failure | null;
  runtimeMs: number;
  peakMemoryBytes: number;
  /** All bytes of output, the cut ones too. */
  logBytes: number;
  /** Files that it gave out; the agent uploads and removes them. Left out when there are none. */
  outputs?: readonly SpooledOutput[];
}

/** A file that a task gave out, on this node's disk; the same shape as the core's. */
export interface SpooledOutput extends TaskOutput {
  path: string;
}

/** Why a worker process is gone. */
export type WorkerEnd =
  /** It was told to stop, or to be killed, by the core. */
  | { kind: 'asked' }
  /** The kernel's memory limit. */
  | { kind: 'oom'; peakMemoryBytes: number }
  /** It exited or died by itself while it should have been there. */
  | { kind: 'died'; exitCode: number | null; signal: string | null; peakMemoryBytes: number }
  /** It said something that is not the protocol, or more than its bounds. */
  | { kind: 'broke'; message: string }
  /** It never became ready: the sandbox or the interpreter could not start. */
  | { kind: 'unstartable'; message: string }
  /** The function could not be loaded (import error, mismatch): every task of the group would fail alike. */
  | { kind: 'unloadable'; code: 'exception' | 'version_mismatch'; failure: Failure };

export type RunnerEvent =
  | { kind: 'workerReady'; worker: WorkerNumber }
  /** A worker has begun a task; the ones behind it in its queue have not. */
  | { kind: 'taskStarted'; worker: WorkerNumber; task: AttemptRef }
  | { kind: 'taskEnded'; worker: WorkerNumber; task: TaskResult }
  /** Output of the running task; `offset` counts all bytes of it. Bounded: see `log-keeper.ts`. */
  | {
      kind: 'taskOutput';
      worker: WorkerNumber;
      task: AttemptRef;
      offset: number;
      bytes: Uint8Array;
    }
  /** `running`: the task that was running when it ended, with how much it had written; none waits any more. */
  | {
      kind: 'workerEnded';
      worker: WorkerNumber;
      end: WorkerEnd;
      running: (AttemptRef & { runtimeMs: number; logBytes: number }) | null;
    };

export interface Runner {
  /** The level that the probe found and the runner uses. */
  readonly isolation: IsolationLevel;
  start(start: WorkerStart): void;
  /** Appends tasks to a ready worker's queue; it runs them one after another in that order. */
  feed(worker: WorkerNumber, tasks: readonly TaskInput[]): void;
  /**
   * Takes back tasks that the worker has not begun; answers those it could take back.
   * Tasks already written to the worker's pipe may have to stay.
   */
  retract(worker: WorkerNumber, tasks: readonly AttemptRef[]): AttemptRef[];
  /** Lets an idle worker exit; kills it when it does not within a second. */
  stop(worker: WorkerNumber): void;
  /** SIGKILL to the whole process tree, at once; `workerEnded` follows with its remaining output first. */
  kill(worker: WorkerNumber): void;
  onEvent(listener: (event: RunnerEvent) => void): void;
  /** Kills everything, removes cgroups and spool files; resolves when no process is left. */
  close(): Promise<void>;
}
