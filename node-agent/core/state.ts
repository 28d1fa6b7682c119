/**
 * The node-agent's state. An attempt goes
 * `fetching → waiting → fed → running → (storing) → ended`; from `fed` and `running` back to
 * `waiting` when its worker goes for a reason that is not its own; to `gone` when it stops being the
 * node's while a worker still has it. An ended attempt lives on as an outcome in `outbox`, then in
 * `reports`, until the coordinator acknowledges it.
 *
 * A worker goes `starting → ready → ending` and is forgotten when the runner says that it ended.
 */
import { assert } from '../../protocol/base/assert.ts';
import type { AttemptRef, BlobHash, GroupId, ImageDigest } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type {
  AttemptOutcome,
  Capacity,
  Failure,
  FailureCode,
  GroupSpec,
} from '../../protocol/wire/task.ts';
import type { AgentEffect } from './effects.ts';
import type { ArgumentBlob, SpooledOutput } from './events.ts';
import type { CoreSettings } from './settings.ts';

export type AttemptPhase =
  /** All and only those whose argument blob is not on the disk yet. */
  | { kind: 'fetching' }
  /** All and only those in their group's `waiting`. */
  | { kind: 'waiting' }
  /** In the queue of a worker, not begun. */
  | { kind: 'fed'; worker: Worker }
  | { kind: 'running'; worker: Worker; startedAtMs: number }
  /** Ended; its files are on their way to the coordinator's blobs, one at a time. */
  | {
      kind: 'storing';
      outcome: AttemptOutcome;
      /** The spool file of its result; null once that is stored, or when it travels inline. */
      result: { path: string; tag: number } | null;
      /** Outputs that are not stored yet, the next one first. */
      outputs: readonly SpooledOutput[];
      retryAtMs: number | null;
    }
  /** Not the node's any more; at most a worker's queue still names it. */
  | { kind: 'gone' };

export interface HeldAttempt extends AttemptRef {
  readonly group: HeldGroup;
  /** Order of granting on this node; the order of starting. */
  readonly seq: number;
  readonly payload: Uint8Array;
  readonly blob: ArgumentBlob | null;
  phase: AttemptPhase;
  /** Workers that ended with it next in line but not begun. */
  setbacks: number;
}

export interface HeldGroup {
  readonly spec: GroupSpec;
  /** In order of `seq`: all and only its attempts in phase `waiting`. */
  readonly waiting: HeldAttempt[];
  /** Its attempts in `state.attempts`. */
  heldCount: number;
  /** Its workers in `state.workers`. */
  readonly workers: Set<Worker>;
  /** Function and cloudpickle blobs were asked for. */
  filesAsked: boolean;
  /** Blobs of the function that are not on the disk yet. */
  readonly filesMissing: Set<BlobHash>;
  /** Moving mean of the runtime; null until one attempt has ended. */
  taskMs: number | null;
  /** Tasks that a worker is fed ahead; follows `taskMs` with some inertia. */
  window: number;
  /** Number of its latest feed; 0 before the first. */
  fedAt: number;
  /** Every attempt fails alike until then. */
  broken: { untilMs: number; code: FailureCode; failure: Failure } | null;
  /** Sandboxes that could not be started in a row. */
  startFailures: number;
  lastUsedAtMs: number;
}

/** Why the core ends a worker. With `attempt`: the one that was running and is the cause. */
export type EndCause =
  | { kind: 'timeout' | 'cancelled' | 'dropped'; attempt: HeldAttempt }
  | { kind: 'idle' | 'evicted' | 'stopping' };

export type WorkerPhase =
  | { kind: 'starting' }
  | { kind: 'ready' }
  | { kind: 'ending'; cause: EndCause };

export interface Worker {
  readonly number: number;
  readonly slot: number;
  readonly group: HeldGroup;
  phase: WorkerPhase;
  /** In the order fed; the first one is running or next. Those `gone` are still named. */
  readonly queue: HeldAttempt[];
  /** Since when its queue is empty. */
  idleSinceMs: number;
  /** The long-running attempt for whose sake the tasks behind it were asked back; asked once. */
  askedBackFor: HeldAttempt | null;
}

export type ReportedOutcome = AttemptRef & AttemptOutcome;

export interface SentReport {
  outcomes: ReportedOutcome[];
  bytes: number;
}

export interface HeldBlob {
  /** Groups and attempts that need it. */
  users: number;
  /** `asked`: a fetch is under way. `failed`: to be asked again at `retryAtMs`. */
  phase: { kind: 'asked' } | { kind: 'ready' } | { kind: 'failed'; retryAtMs: number };
  /** Attempts in phase `fetching` that wait for it. */
  readonly attempts: HeldAttempt[];
  readonly groups: HeldGroup[];
}

/** An image that tasks wait for or run in; see `images.ts`. */
export type HeldImage =
  | { kind: 'ready' }
  | { kind: 'asked'; failures: number }
  | { kind: 'failed'; failures: number; retryAtMs: number }
  /** It does not fit on the disk: until then its tasks go back, for other nodes. */
  | { kind: 'full'; untilMs: number };

export type SessionState =
  /** Never had one: a wrong token then ends the agent. */
  | { kind: 'none'; sinceMs: number }
  | {
      kind: 'open';
      /** What the last `sendPull` said; null when none was sent in this session. */
      pulled: number | null;
    };

export interface AgentState {
  readonly settings: CoreSettings;
  readonly capacity: Capacity;
  session: SessionState;
  /** Every attempt that is the node's and has no outcome yet, by task key. */
  readonly attempts: Map<number, HeldAttempt>;
  readonly groups: Map<GroupId, HeldGroup>;
  readonly workers: Map<number, Worker>;
  readonly blobs: Map<BlobHash, HeldBlob>;
  /** Those of the disk, and all and only others that were asked for and not given up. */
  readonly images: Map<ImageDigest, HeldImage>;
  /** Attempts in phase `fetching` whose blob was not asked for yet, in order of `seq`. */
  readonly fetchLater: HeldAttempt[];
  /** Attempts with a blob argument that is asked for or on the disk. */
  blobAttempts: number;
  /** Outcomes that no report of this session carries yet. */
  readonly outbox: ReportedOutcome[];
  /** When the oldest of them came; null when they are to be reported at once. */
  outboxSinceMs: number | null;
  /** Reports of this session without an acknowledgement. */
  readonly reports: Map<number, SentReport>;
  /** Outcomes in `reports`. */
  unacknowledgedCount: number;
  reportBytesInFlight: number;
  /** Payloads of attempts and results of outcomes in memory. */
  heldBytes: number;
  nextReport: number;
  nextWorker: number;
  nextSeq: number;
  /** Feeds of workers so far. */
  nextFeed: number;
  /** Begun since the last turn; told unless they ended within the turn. */
  startedNow: HeldAttempt[];
  returnedNow: AttemptRef[];
  /** The group that last ran, whose window tells how much to pull for idle slots. */
  lastGroup: HeldGroup | null;
  /** No new work: the coordinator or this node wants it so. */
  draining: boolean;
  /** The agent ends once nothing is held. */
  stopping: boolean;
  /** Why it stops, for people; empty while it does not. */
  stopReason: string;
  exited: boolean;
  /** When the clock last ticked: a gap tells that the process was paused. */
  tickedAtMs: number;
  diskLow: boolean;
  /** Nothing is pulled before that: sandboxes did not start. */
  unhealthyUntilMs: number;
  unstartableInRow: number;
  /** After attempts were given back for taking long, credit stays small until then. */
  cautiousUntilMs: number;
  cautiousMs: number;
}

/** The state of an agent that has just started. */
export function createAgentState(options: {
  settings: CoreSettings;
  capacity: Capacity;
  /** On the disk at the start. */
  images: readonly ImageDigest[];
  nowMs: number;
}): AgentState {
  assert(options.capacity.slots > 0, 'a node has at least one slot');
  return {
    settings: options.settings,
    capacity: options.capacity,
    session: { kind: 'none', sinceMs: options.nowMs },
    attempts: new Map(),
    groups: new Map(),
    workers: new Map(),
    blobs: new Map(),
    images: new Map(options.images.map((digest) => [digest, { kind: 'ready' }])),
    fetchLater: [],
    blobAttempts: 0,
    outbox: [],
    outboxSinceMs: null,
    reports: new Map(),
    unacknowledgedCount: 0,
    reportBytesInFlight: 0,
    heldBytes: 0,
    nextReport: 1,
    nextWorker: 1,
    nextSeq: 1,
    nextFeed: 0,
    startedNow: [],
    returnedNow: [],
    lastGroup: null,
    draining: false,
    stopping: false,
    stopReason: '',
    exited: false,
    tickedAtMs: options.nowMs,
    diskLow: false,
    unhealthyUntilMs: 0,
    unstartableInRow: 0,
    cautiousUntilMs: 0,
    cautiousMs: 0,
  };
}

/** What one step works with: the state, the time, and where effects go. */
export interface Turn {
  readonly state: AgentState;
  readonly now: number;
  readonly effects: AgentEffect[];
}

/** The attempt that a reference names, when it is the node's and has no outcome. */
export function findAttempt(state: AgentState, ref: AttemptRef): HeldAttempt | undefined {
  const attempt = state.attempts.get(taskKey(ref));
  return attempt?.attempt === ref.attempt ? attempt : undefined;
}

/** A plain reference, to be sent. */
export function refOf(attempt: AttemptRef): AttemptRef {
  return { batch: attempt.batch, index: attempt.index, attempt: attempt.attempt };
}

/** The attempt that a worker is running, if any. */
export function findRunning(worker: Worker): HeldAttempt | undefined {
  const first = worker.queue[0];
  return first?.phase.kind === 'running' && first.phase.worker === worker ? first : undefined;
}

/** Whether a worker takes part in what runs: it counts against slots and cpus. */
export function isBusy(worker: Worker): boolean {
  return worker.queue.length > 0 || worker.phase.kind === 'starting';
}
