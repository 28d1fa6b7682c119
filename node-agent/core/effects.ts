/** Orders to the shell, performed in the order given. Nothing here waits for an answer but by an event. */
import type { AttemptRef, BlobHash, ImageDigest } from '../../protocol/wire/ids.ts';
import type { AttemptOutcome, GroupSpec } from '../../protocol/wire/task.ts';
import type { ArgumentBlob, SpooledOutput } from './events.ts';

/** A task for a worker; the shell turns a blob into the path of its file. */
export interface FedTask extends AttemptRef {
  payload: Uint8Array;
  blob: ArgumentBlob | null;
}

/** What goes to the coordinator; given only while a session stands. */
export type SendEffect =
  | { kind: 'sendPull'; heldMax: number }
  | { kind: 'sendStarted'; attempts: readonly AttemptRef[] }
  /** The output of these attempts goes out before the report itself. */
  | { kind: 'sendReport'; report: number; outcomes: readonly (AttemptRef & AttemptOutcome)[] }
  | { kind: 'sendReturned'; attempts: readonly AttemptRef[] }
  | { kind: 'sendDrainAsked'; reason: string }
  | { kind: 'sendGoodbye' };

export type WorkerEffect =
  | { kind: 'startWorker'; worker: number; slot: number; spec: GroupSpec }
  | { kind: 'feedWorker'; worker: number; tasks: readonly FedTask[] }
  | { kind: 'retractTasks'; worker: number; tasks: readonly AttemptRef[] }
  | { kind: 'stopWorker'; worker: number }
  | { kind: 'killWorker'; worker: number };

/** Why the agent leaves. */
export type ExitReason =
  | { kind: 'stopped' }
  | { kind: 'orphaned' }
  | { kind: 'refused'; code: string; message: string; fix: string };

export type AgentEffect =
  | SendEffect
  | WorkerEffect
  /** Fetch and keep until `releaseBlob`; asked once per hash. */
  | { kind: 'fetchBlob'; hash: BlobHash }
  | { kind: 'releaseBlob'; hash: BlobHash }
  /** Bring an image that this node lacks. */
  | { kind: 'fetchImage'; digest: ImageDigest }
  | { kind: 'uploadResult'; attempt: AttemptRef; path: string; tag: number }
  | { kind: 'uploadOutput'; attempt: AttemptRef; output: SpooledOutput }
  /** The spool file of a result or an output that nobody wants any more. */
  | { kind: 'removeResult'; path: string }
  /** The output of these attempts is not needed any more. */
  | { kind: 'forgetLogs'; attempts: readonly AttemptRef[] }
  /** The coordinator contradicts itself: dial again, which tells everything anew. */
  | { kind: 'resetSession'; message: string }
  /** For the agent's own log. */
  | { kind: 'warn'; message: string }
  | { kind: 'exit'; reason: ExitReason };
