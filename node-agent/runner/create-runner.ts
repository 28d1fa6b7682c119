/** The runner with real processes: finds the isolation level, keeps the workers, cleans up. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import { isAtLeast } from '../../protocol/wire/task.ts';
import type { ImageryCache } from '../imagery/port.ts';
import type { OutputLimits } from '../outputs/limits.ts';
import { defaultOutputLimits } from '../outputs/limits.ts';
import { createOutputSpool } from '../outputs/output-spool.ts';
import type { AgentMark } from './agent-mark.ts';
import { readAgentMark } from './agent-mark.ts';
import type { Cgroup, CgroupHome } from './cgroup.ts';
import { findCgroupHome } from './cgroup-home.ts';
import type { HeldResults } from './held-results.ts';
import { createIncludeFolders } from './include-folders.ts';
import type { DataMount, LaunchContext, LaunchPlan } from './launch.ts';
import { planBubblewrap } from './launch-bubblewrap.ts';
import { gvisorProcessesExtra, planGvisor } from './launch-gvisor.ts';
import { planMinimal, planNone } from './launch-plain.ts';
import { planUnshare } from './launch-unshare.ts';
import type { Runner, RunnerEvent, TaskInput, WorkerNumber, WorkerStart } from './port.ts';
import type { LevelProbe } from './probe.ts';
import { describeFailures, probeIsolation } from './probe.ts';
import type { SlotIdentities } from './slot-identity.ts';
import { createSlotIdentities, mapsRootToRoot, mapsSlotUids } from './slot-identity.ts';
import type { RunnerSources, Staging } from './staging.ts';
import { createStaging, findUnreachable } from './staging.ts';
import { Worker } from './worker.ts';
import type { LazyAssets, RunnerLog, WorkerLimits } from './worker-deps.ts';

export interface RunnerDeps {
  log: RunnerLog;
  /** What tasks open imagery from; without one they get a clear refusal. */
  imagery?: ImageryCache;
  /** Where large results wait; without it all of them go into files. */
  results?: HeldResults;
  /** Where root and /dev/fuse allow; without it every asset is fetched whole. */
  lazy?: LazyAssets;
}

export interface RunnerSettings {
  /** The runner's own folder; emptied at the start. */
  folder: string;
  sources: RunnerSources;
  /** Offered to every sandbox as /data/NAME. */
  mounts: readonly DataMount[];
  /** Use this level and no other; null for the strongest that works, but `strong`. */
  isolation: IsolationLevel | null;
  /** Refuse to start below this. */
  isolationMin: IsolationLevel;
  /** Whether the level `none` may be used at all. */
  allowNone: boolean;
  /** Whether groups that ask for network get the machine's. */
  allowNetwork: boolean;
  limits: WorkerLimits;
  /** Of what tasks give out; `defaultOutputLimits` when left out. */
  outputs?: OutputLimits;
}

/** The harness and the package of this checkout. */
export const checkoutSources: RunnerSources = {
  harnessPath: resolve(import.meta.dirname, 'harness.py'),
  packageFolder: resolve(import.meta.dirname, '../../sdk/python/src/perigee'),
};

/** Limits that fit imagery work; see `WorkerLimits`. */
export const defaultWorkerLimits: WorkerLimits = {
  processesMax: 256,
  tmpBytes: 1024 * 1024 * 1024,
  resultBytesMax: 8 * 1024 ** 3,
  readyMsMax: 60_000,
};

/** A runner, with what it found out about the machine. */
export interface ProcessRunner extends Runner {
  readonly probes: readonly LevelProbe[];
  /** What limits memory and processes, as text for people. */
  readonly limitsText: string;
}

/**
 * Finds the level while the deps may still be on their way, sweeps what a dead agent left, and is ready to start workers.
 * @example
 * const runner = await createRunner({ log }, {
 *   folder, mounts: [], isolation: null, isolationMin: 'minimal', allowNone: false,
 *   allowNetwork: false, sources: checkoutSources, limits: defaultWorkerLimits,
 * });
 * @throws PerigeeError isolation_unavailable with the fix when no allowed level works.
 */
export async function createRunner(
  deps: RunnerDeps | Promise<RunnerDeps>,
  settings: RunnerSettings,
): Promise<ProcessRunner> {
  const agent = readAgentMark();
  const identities = openIdentities(agent);
  const staging = createStaging(settings.folder, settings.sources, {
    otherUsers: identities !== null,
    agent,
  });
  try {
    const probes = await probeIsolation({
      identity: identities?.take(0) ?? null,
      folder: staging.scratchFolder,
      allowNone: settings.allowNone,
      allowStrong: (settings.isolation ?? settings.isolationMin) === 'strong',
    });
    const isolation = chooseLevel(probes, settings);
    const search = findCgroupHome(agent);
    const home = 'home' in search ? search.home : null;
    await home?.sweepStale();
    const limitsText =
      'home' in search
        ? `control groups, version ${search.home.version}`
        : `rlimits and a watch over resident memory (${search.failure})`;
    return openRunner({
      deps: await deps,
      settings,
      identities,
      staging,
      probes,
      isolation,
      home,
      limitsText,
    });
  } catch (caught) {
    staging.close();
    identities?.releaseAll();
    throw caught;
  }
}

/** Where root agents of one machine agree on slot uids. */
const identitiesFolder = '/run/perigee/slot-uids';

/** What a level makes of a worker. */
const plans: Record<IsolationLevel, (context: LaunchContext) => LaunchPlan> = {
  strong: planGvisor,
  standard: planBubblewrap,
  reduced: planUnshare,
  minimal: planMinimal,
  none: planNone,
};

interface RunnerParts {
  deps: RunnerDeps;
  settings: RunnerSettings;
  identities: SlotIdentities | null;
  staging: Staging;
  probes: readonly LevelProbe[];
  isolation: IsolationLevel;
  home: CgroupHome | null;
  limitsText: string;
}

/** Null for an ordinary user, and for root of a rootless container, who is one and can become nobody else. */
function openIdentities(agent: AgentMark): SlotIdentities | null {
  if (process.getuid?.() !== 0) return null;
  const uidMap = readFileSync('/proc/self/uid_map', 'utf8');
  if (!mapsSlotUids(uidMap) && !mapsRootToRoot(uidMap)) return null;
  return createSlotIdentities(identitiesFolder, agent);
}

function chooseLevel(probes: readonly LevelProbe[], settings: RunnerSettings): IsolationLevel {
  const wanted = (probe: LevelProbe) =>
    settings.isolation === null
      ? isAtLeast(probe.level, settings.isolationMin)
      : probe.level === settings.isolation;
  const found = probes.find((probe) => probe.failure === null && wanted(probe));
  if (found !== undefined) return found.level;
  const asked = settings.isolation ?? `${settings.isolationMin} or better`;
  throw new PerigeeError(
    'isolation_unavailable',
    `This machine cannot isolate user code at level ${asked}.\n${describeFailures(probes.filter(wanted))}`,
  );
}

function openRunner(parts: RunnerParts): ProcessRunner {
  const { settings, staging, isolation } = parts;
  const workers = new Map<WorkerNumber, Worker>();
  const outputs = createOutputSpool(staging.spoolFolder, settings.outputs ?? defaultOutputLimits);
  const listeners: ((event: RunnerEvent) => void)[] = [];
  const includes = createIncludeFolders(staging.includesFolder);
  const emit = (event: RunnerEvent) => {
    if (event.kind === 'workerEnded') workers.delete(event.worker);
    for (const listener of listeners) listener(event);
  };

  const startWorker = (start: WorkerStart): Worker => {
    const identity = isolation === 'none' ? null : (parts.identities?.take(start.slot) ?? null);
    const name = `w${start.worker}`;
    return new Worker(start, {
      log: parts.deps.log,
      emit,
      now: () => performance.now(),
      level: isolation,
      plan: plans[isolation],
      identity,
      folder: staging.createWorkerFolder(name, identity),
      spoolFolder: staging.spoolFolder,
      results: parts.deps.results ?? null,
      harnessPath: staging.harnessPath,
      includes,
      packagesFolder: staging.packagesFolder,
      cgroup: createGroup(parts, name, start),
      limits: settings.limits,
      mounts: settings.mounts,
      outputs,
      imagery: parts.deps.imagery ?? null,
      lazy: parts.deps.lazy ?? null,
    });
  };

  const close = async () => {
    for (const worker of workers.values()) worker.kill();
    await Promise.all([...workers.values()].map((worker) => worker.ended));
    await parts.home?.close();
    staging.close();
    parts.identities?.releaseAll();
  };
  let closing: Promise<void> | null = null;

  return {
    isolation,
    probes: parts.probes,
    limitsText: parts.limitsText,
    start(start) {
      const refusal = findRefusal(start, settings, isolation) ?? findClosedFolder(start, parts);
      try {
        if (refusal !== undefined) throw new Error(refusal);
        if (closing !== null) throw new Error('the runner is closing');
        workers.set(start.worker, startWorker(start));
      } catch (caught) {
        const message = toError(caught).message;
        queueMicrotask(() =>
          emit({
            kind: 'workerEnded',
            worker: start.worker,
            end: { kind: 'unstartable', message },
            running: null,
          }),
        );
      }
    },
    feed: (worker: WorkerNumber, tasks: readonly TaskInput[]) => workers.get(worker)?.feed(tasks),
    retract: (worker: WorkerNumber, tasks: readonly AttemptRef[]) =>
      workers.get(worker)?.retract(tasks) ?? [],
    stop: (worker) => workers.get(worker)?.stop(),
    kill: (worker) => workers.get(worker)?.kill(),
    onEvent(listener) {
      listeners.push(listener);
    },
    async close() {
      closing ??= close();
      await closing;
    },
  };
}

/** Why a worker may not be started here; undefined when it may. */
function findRefusal(
  start: WorkerStart,
  settings: RunnerSettings,
  isolation: IsolationLevel,
): string | undefined {
  const { spec } = start;
  if (!isAtLeast(isolation, spec.isolationMin)) {
    return `the group asks for isolation ${spec.isolationMin}, this node has ${isolation}`;
  }
  if (spec.network && !settings.allowNetwork) {
    return (
      'the group asks for network, which this node does not give: start its agent with ' +
      '--allow-network, or create the function without network=True'
    );
  }
  return undefined;
}

/** A folder that the slot's user cannot walk to, as text with the fix. */
function findClosedFolder(start: WorkerStart, parts: RunnerParts): string | undefined {
  if (parts.identities === null || parts.isolation === 'none') return undefined;
  for (const path of [start.files.rootfs, ...parts.settings.mounts.map((mount) => mount.path)]) {
    const closed = findUnreachable(path);
    if (closed === undefined) continue;
    // Where there are mount namespaces, a mount can be brought into reach; not if it is closed itself.
    const isMount = path !== start.files.rootfs;
    if (isMount && parts.isolation !== 'minimal' && closed !== path) continue;
    return `sandboxes run as another user and cannot reach ${path}: run \`chmod o+x ${closed}\`, or put it elsewhere`;
  }
  return undefined;
}

function createGroup(parts: RunnerParts, name: string, start: WorkerStart): Cgroup | null {
  if (parts.home === null) return null;
  const { processesMax } = parts.settings.limits;
  return parts.home.create(name, {
    memoryBytes: start.spec.memoryBytes,
    processesMax: processesMax + (parts.isolation === 'strong' ? gvisorProcessesExtra : 0),
    cpus: start.spec.cpus,
  });
}
