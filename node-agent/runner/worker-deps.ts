/** What one worker needs of its runner. */
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import type { LazyFiles } from '../imagery/fuse/lazy-files.ts';
import type { ImageryCache } from '../imagery/port.ts';
import type { OutputSpool } from '../outputs/output-spool.ts';
import type { Cgroup } from './cgroup.ts';
import type { HeldResults } from './held-results.ts';
import type { IncludeFolders } from './include-folders.ts';
import type { LaunchContext, LaunchPlan } from './launch.ts';
import type { RunnerEvent } from './port.ts';
import type { SlotIdentity } from './slot-identity.ts';
import type { WorkerFolder } from './staging.ts';

/** The part of a logger that the runner uses; pino's shape. */
export interface RunnerLog {
  debug(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}

export interface WorkerDeps {
  log: RunnerLog;
  emit(event: RunnerEvent): void;
  /** Monotonic, in ms. */
  now(): number;
  level: IsolationLevel;
  plan(context: LaunchContext): LaunchPlan;
  identity: SlotIdentity | null;
  folder: WorkerFolder;
  spoolFolder: string;
  /** Large results in memory; null where all go into files. */
  results: HeldResults | null;
  harnessPath: string;
  packagesFolder: string;
  /** Null when this machine lets the agent make none. */
  cgroup: Cgroup | null;
  includes: IncludeFolders;
  limits: WorkerLimits;
  mounts: LaunchContext['mounts'];
  /** Where the files that tasks give out wait to be handed in. */
  outputs: OutputSpool;
  /** Null on a node that offers none. */
  imagery: ImageryCache | null;
  /** For assets above a size; null where all are fetched whole. */
  lazy: LazyAssets | null;
}

/** Files that are filled as they are read, and from which size on they are used. */
export interface LazyAssets {
  files: LazyFiles;
  wholeAssetBytesMax: number;
}

/** Bounds of every worker. */
export interface WorkerLimits {
  processesMax: number;
  /** Size of /tmp; counts as memory. */
  tmpBytes: number;
  resultBytesMax: number;
  /** From the start to the function being loaded. */
  readyMsMax: number;
}
