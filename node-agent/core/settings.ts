/**
 * What the core may be told. `node-agent/settings.ts` fills it from flags and environment; tests
 * change single values.
 */
import { heldAttemptsMax, inlineBytesMax, reportOutcomesMax } from '../../protocol/wire/limits.ts';

export interface CoreSettings {
  /** Attempts held and outcomes not acknowledged, together: a hello names them all. More are given back. */
  heldAttemptsMax: number;
  /** Payloads and results in memory; beyond it nothing is pulled. */
  heldBytesMax: number;
  /** Work that a worker is fed ahead: less, and it waits for the way here and back; more, and tasks do. */
  windowMs: number;
  /** Tasks that a worker is fed ahead, however short they are. */
  windowMax: number;
  /** The same while more than one namespace has work here: a call of one waits for what the other was fed. */
  sharedWindowMax: number;
  /** How long the outcome of a short task may wait for others, while its node has enough to do. */
  reportDelayMs: number;
  /** How long a warm worker without tasks is kept. */
  workerIdleMs: number;
  /** Idle workers kept beside those of the slots, so that groups that take turns do not restart theirs. */
  warmWorkersMax: number;
  /** What starting a sandbox costs: another worker for less work than this gains nothing. */
  workerStartMs: number;
  /** Outcomes in one report. */
  reportOutcomesMax: number;
  /** Bytes of one report; a longer one would hold up heartbeats behind it. */
  reportBytesMax: number;
  /** Bytes of reports without an acknowledgement; the rest waits in the outbox. */
  reportBytesInFlightMax: number;
  /** How long a function that could not be loaded fails its tasks without another try. */
  unloadableMs: number;
  /** How long no work is taken after sandboxes failed to start; doubled each time. */
  unstartableBackoffMs: number;
  /** The bound of that doubling. */
  unstartableBackoffMsMax: number;
  /** Workers that may end with a task next in line, not begun; then it ends as `crash`. */
  setbacksMax: number;
  /** Groups that are known; the one unused for longest is forgotten. */
  groupsMax: number;
  /** Attempts whose blob arguments are fetched or on disk: those of the next tasks, not of all held. */
  blobAttemptsMax: number;
  /** Tries to bring an image to this node before the tasks that wait for it fail. */
  imageTriesMax: number;
  /** How long tasks go back whose image found no room on the disk; then it is tried again. */
  imageFullMs: number;
  /** Pause before a blob is fetched or stored again. */
  retryMs: number;
  /** A longer gap between two ticks of the clock is a pause of the process itself. */
  pausedMs: number;
  /** Leaves after so long without a coordinator; null: looks for it for ever. */
  orphanedMs: number | null;
  /** How long a stopping agent without a session tries to hand in what it has. */
  stopOrphanedMs: number;
  /** Whether groups that ask for network get it here; else their tasks fail with the fix. */
  allowNetwork: boolean;
  /**
   * With less free disk than this no work is taken. Well below the coordinator's own mark: on one disk,
   * what it accepted before it began to refuse must still be run.
   */
  diskFreeBytesMin: number;
}

const mib = 1024 * 1024;

/** The defaults, each explained above. */
export const defaultCoreSettings: Readonly<CoreSettings> = {
  heldAttemptsMax,
  heldBytesMax: 1_024 * inlineBytesMax,
  windowMs: 4,
  windowMax: 64,
  sharedWindowMax: 8,
  reportDelayMs: 20,
  workerIdleMs: 300_000,
  warmWorkersMax: 2,
  workerStartMs: 30,
  reportOutcomesMax,
  reportBytesMax: 4 * mib,
  reportBytesInFlightMax: 16 * mib,
  unloadableMs: 10_000,
  unstartableBackoffMs: 1_000,
  unstartableBackoffMsMax: 10_000,
  setbacksMax: 3,
  groupsMax: 1_000,
  blobAttemptsMax: 16,
  imageTriesMax: 5,
  imageFullMs: 60_000,
  retryMs: 1_000,
  pausedMs: 500,
  orphanedMs: null,
  stopOrphanedMs: 15_000,
  allowNetwork: false,
  diskFreeBytesMin: 128 * mib,
};
