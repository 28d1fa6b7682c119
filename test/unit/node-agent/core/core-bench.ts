/** Feeds events to the agent's core, checks its invariants after each, and answers every effect. */
import type { AgentEffect } from '../../../../node-agent/core/effects.ts';
import type { AgentEvent, EndedTask, GrantedTask } from '../../../../node-agent/core/events.ts';
import { findBrokenInvariants } from '../../../../node-agent/core/invariants.ts';
import type { CoreSettings } from '../../../../node-agent/core/settings.ts';
import { defaultCoreSettings } from '../../../../node-agent/core/settings.ts';
import type { AgentState } from '../../../../node-agent/core/state.ts';
import { createAgentState } from '../../../../node-agent/core/state.ts';
import { step } from '../../../../node-agent/core/step.ts';
import type {
  AttemptRef,
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
  NamespaceName,
} from '../../../../protocol/wire/ids.ts';
import type { AttemptOutcome, Capacity, GroupSpec } from '../../../../protocol/wire/task.ts';

const gib = 1024 ** 3;
const imageOfGroups = `sha256:${'1'.repeat(64)}` as ImageDigest;

export interface CoreBench {
  readonly state: AgentState;
  now: number;
  /** One event; its effects. */
  tell(event: AgentEvent): AgentEffect[];
  /** Events and the end of their turn; all effects. */
  turn(...events: AgentEvent[]): AgentEffect[];
  /** Time passes, the clock ticks, the turn ends. */
  pass(ms: number): AgentEffect[];
}

/** A core with an open session whose first pull was sent, unless `offline`. */
export function createBench(
  options: {
    capacity?: Partial<Capacity>;
    settings?: Partial<CoreSettings>;
    offline?: boolean;
    images?: readonly ImageDigest[];
  } = {},
): CoreBench {
  const state = createAgentState({
    settings: { ...defaultCoreSettings, ...options.settings },
    capacity: {
      slots: 1,
      cpus: 8,
      memoryBytes: 16 * gib,
      diskBytes: 100 * gib,
      ...options.capacity,
    },
    images: options.images ?? [imageOfGroups],
    nowMs: 1_000,
  });
  const bench: CoreBench = {
    state,
    now: 1_000,
    tell(event) {
      const effects = step(state, event, bench.now);
      const broken = findBrokenInvariants(state);
      if (broken.length > 0) throw new Error(`after ${event.kind}: ${broken.join('; ')}`);
      return effects;
    },
    turn: (...events) => [...events, { kind: 'turnEnded' } as const].flatMap(bench.tell),
    pass(ms) {
      // Two ticks, so that a long while is not taken for a pause of the process.
      const endMs = bench.now + ms;
      if (ms >= state.settings.pausedMs) {
        bench.now = endMs - 1;
        bench.tell({ kind: 'clockTicked' });
      }
      bench.now = endMs;
      return bench.turn({ kind: 'clockTicked' });
    },
  };
  if (options.offline !== true) bench.turn({ kind: 'sessionOpened', drop: [] });
  return bench;
}

export const functionBlob = 'f'.repeat(64) as BlobHash;

/** A group as the coordinator tells it. */
export function groupSpec(change: Partial<GroupSpec> = {}): GroupSpec {
  return {
    group: 'aaaaaaaaaaaa' as GroupId,
    namespace: 'default' as NamespaceName,
    name: 'f',
    imageName: 'perigee/python:py3.11',
    imageDigest: imageOfGroups,
    functionKind: 'source',
    functionBlob,
    functionEntry: 'f',
    cloudpickleBlob: null,
    cloudpickleVersion: null,
    python: { implementation: 'CPython', version: '3.11.2' },
    cpus: 1,
    memoryBytes: 2 * gib,
    taskTimeoutMs: 60_000,
    retryCount: 0,
    maximumConcurrency: null,
    queueTimeoutMs: null,
    priority: 0,
    taskIsolation: 'worker',
    isolationMin: 'minimal',
    network: false,
    environment: {},
    resultFormat: 'pickle',
    ...change,
  };
}

/** The group that another letter names. */
export function otherGroup(letter: string, change: Partial<GroupSpec> = {}): GroupSpec {
  return groupSpec({ group: letter.repeat(12) as GroupId, ...change });
}

export function ref(index: number, options: { batch?: number; attempt?: number } = {}): AttemptRef {
  return { batch: (options.batch ?? 1) as BatchNumber, index, attempt: options.attempt ?? 1 };
}

export const payload = new Uint8Array([0x50, 1, 2]);

export function grant(
  spec: GroupSpec,
  indexes: readonly number[],
  options: { batch?: number; attempt?: number; blob?: GrantedTask['blob'] } = {},
): AgentEvent {
  return {
    kind: 'granted',
    groups: [spec],
    runs: [
      {
        group: spec.group,
        batch: (options.batch ?? 1) as BatchNumber,
        attempt: options.attempt ?? 1,
        tasks: indexes.map((index) => ({ index, payload, blob: options.blob ?? null })),
      },
    ],
  };
}

/** A task as `feedWorker` carries it. */
export function fed(index: number, options: { batch?: number; attempt?: number } = {}) {
  return { ...ref(index, options), payload, blob: null };
}

export function started(worker: number, task: AttemptRef): AgentEvent {
  return { kind: 'taskStarted', worker, task };
}

export const resultPayload = new Uint8Array([0x50, 9]);

export function ended(
  worker: number,
  task: AttemptRef,
  change: Partial<EndedTask> = {},
): AgentEvent {
  return {
    kind: 'taskEnded',
    worker,
    task: {
      ...task,
      status: 'success',
      result: resultPayload,
      resultPath: null,
      resultTag: 0x50,
      failure: null,
      runtimeMs: 500,
      peakMemoryBytes: 0,
      logBytes: 0,
      ...change,
    },
  };
}

/** The outcome that `ended` leads to. */
export function succeeded(
  task: AttemptRef,
  change: Partial<AttemptOutcome> = {},
): AttemptRef & AttemptOutcome {
  return {
    ...task,
    status: 'success',
    result: resultPayload,
    failure: null,
    runtimeMs: 500,
    peakMemoryBytes: 0,
    logBytes: 0,
    ...change,
  };
}

/** The outcomes that effects report, with the parts that most tests look at. */
export function reported(effects: readonly AgentEffect[]): string[] {
  return effects.flatMap((effect) =>
    effect.kind === 'sendReport'
      ? effect.outcomes.map(
          (outcome) => `${outcome.batch}-${outcome.index}#${outcome.attempt} ${outcome.status}`,
        )
      : [],
  );
}

/** The kinds of effects, in order. */
export function kinds(effects: readonly AgentEffect[]): string[] {
  return effects.map((effect) => effect.kind);
}

/** A bench with the group's files on disk and its first worker ready and idle. */
export function benchWithWorker(
  spec: GroupSpec,
  options: Parameters<typeof createBench>[0] = {},
): CoreBench {
  const bench = createBench(options);
  bench.turn(grant(spec, [999], { batch: 9 }));
  bench.turn({ kind: 'blobReady', hash: spec.functionBlob });
  bench.turn({ kind: 'workerReady', worker: 1 });
  bench.turn(started(1, ref(999, { batch: 9 })));
  bench.turn(ended(1, ref(999, { batch: 9 })));
  bench.turn({ kind: 'reportAcknowledged', report: 1 });
  return bench;
}
