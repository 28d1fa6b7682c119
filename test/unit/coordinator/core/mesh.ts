/** A coordinator's core under test: events in, whole effect lists out, invariants after every step. */
import { expect } from 'vitest';
import type { Answer, CoordinatorEffect } from '../../../../coordinator/core/effects.ts';
import type { CoordinatorEvent, RestoredState } from '../../../../coordinator/core/events.ts';
import { checkInvariants } from '../../../../coordinator/core/invariants.ts';
import type { CoreSettings } from '../../../../coordinator/core/settings.ts';
import { defaultCoreSettings } from '../../../../coordinator/core/settings.ts';
import type { CoordinatorState } from '../../../../coordinator/core/state.ts';
import { createState } from '../../../../coordinator/core/state.ts';
import { step } from '../../../../coordinator/core/step.ts';
import type {
  AttemptRef,
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
  NamespaceName,
  NodeId,
  SessionNumber,
  TaskRef,
} from '../../../../protocol/wire/ids.ts';
import type { Hello } from '../../../../protocol/wire/messages.ts';
import type { AttemptOutcome, GroupSpec } from '../../../../protocol/wire/task.ts';

export const image = `sha256:${'a'.repeat(64)}` as ImageDigest;
export const nothing = new Uint8Array(0);

/** The empty past. */
export const noPast: RestoredState = {
  groups: [],
  batches: [],
  nextBatch: 1,
  outcomeNumbers: [],
  nextSession: 1,
};

/** A group; say only what matters. */
export function groupSpec(changes: Partial<GroupSpec> = {}): GroupSpec {
  return {
    group: 'g1' as GroupId,
    namespace: 'default' as NamespaceName,
    name: 'hello',
    imageName: 'perigee/geospatial:py2.7',
    imageDigest: image,
    functionKind: 'pickle',
    functionBlob: 'f'.repeat(64) as BlobHash,
    functionEntry: '',
    cloudpickleBlob: null,
    cloudpickleVersion: null,
    python: { implementation: 'CPython', version: '2.7.18' },
    cpus: 1,
    memoryBytes: 1024,
    taskTimeoutMs: 1_800_000,
    retryCount: 0,
    maximumConcurrency: null,
    queueTimeoutMs: null,
    priority: 0,
    taskIsolation: 'worker',
    isolationMin: 'standard',
    network: false,
    environment: {},
    resultFormat: 'pickle',
    ...changes,
  };
}

/** A node with two slots; say only what matters. */
export function hello(changes: Partial<Hello> = {}): Hello {
  return {
    kind: 'hello',
    protocol: 1,
    software: 'perigee/0.1.0',
    joinToken: null,
    nodeName: 'host',
    instance: null,
    capacity: { slots: 2, cpus: 2, memoryBytes: 1_000_000, diskBytes: 1_000_000 },
    images: [
      {
        digest: image,
        names: ['perigee/geospatial:py2.7'],
        python: { implementation: 'CPython', version: '2.7.18' },
        arch: 'x64',
        sizeBytes: 1,
      },
    ],
    isolation: 'standard',
    mounts: [],
    peerAddresses: [],
    pid: 1,
    held: [],
    draining: false,
    ...changes,
  };
}

/** What a node says of an attempt that ended. */
export function outcome(changes: Partial<AttemptOutcome> = {}): AttemptOutcome {
  const status = changes.status ?? 'success';
  return {
    status,
    result: status === 'success' ? Uint8Array.from([0x50]) : nothing,
    failure: status === 'success' ? null : { name: 'Error', message: 'broke', traceback: '' },
    runtimeMs: 10,
    peakMemoryBytes: 0,
    logBytes: 0,
    ...changes,
  };
}

export const namespaceName = (name: string): NamespaceName => name as NamespaceName;
export const groupId = (id: string): GroupId => id as GroupId;
export const nodeId = (id: string): NodeId => id as NodeId;
export const sessionNumber = (session: number): SessionNumber => session as SessionNumber;
export const task = (batch: number, index: number): TaskRef => ({
  batch: batch as BatchNumber,
  index,
});
export const attempt = (batch: number, index: number, number = 1): AttemptRef => ({
  ...task(batch, index),
  attempt: number,
});

export interface TestMesh {
  readonly state: CoordinatorState;
  now: number;
  /** Takes one event, checks the invariants, answers the effects. */
  take(event: CoordinatorEvent): CoordinatorEffect[];
  /** The clock after `durationMs`. */
  pass(durationMs: number): CoordinatorEffect[];
  /** Creates a group, expecting that to succeed. */
  group(changes?: Partial<GroupSpec>): CoordinatorEffect[];
  /** Joins and pulls in a new session; answers the effects of the pull. */
  join(id: string, options?: JoinOptions): CoordinatorEffect[];
  submit(count: number, group?: string): CoordinatorEffect[];
  report(id: string, outcomes: readonly (AttemptRef & AttemptOutcome)[]): CoordinatorEffect[];
  heartbeat(id: string): CoordinatorEffect[];
  /** The latest session of a node. */
  session(id: string): SessionNumber;
}

export interface JoinOptions {
  hello?: Partial<Hello>;
  slots?: number;
  heldMax?: number;
  namespaces?: readonly string[] | null;
}

/** A mesh that was never used, or has a past. */
export function createMesh(
  options: { settings?: Partial<CoreSettings>; past?: RestoredState; now?: number } = {},
): TestMesh {
  const settings = { ...defaultCoreSettings, ...options.settings };
  const past = options.past ?? noPast;
  const start = options.now ?? 1_000_000;
  const state = createState({ seed: 1, settings, restored: past, now: start });
  checkInvariants(state);
  const sessions = new Map<string, number>();
  let nextSession = past.nextSession;
  let nextRequest = 1;
  let nextReport = 1;
  const mesh: TestMesh = {
    state,
    now: start,
    take(event) {
      const effects = step(state, event, mesh.now);
      checkInvariants(state);
      return effects;
    },
    pass(durationMs) {
      mesh.now += durationMs;
      return mesh.take({ kind: 'clockTicked' });
    },
    group(changes) {
      const request = nextRequest++;
      const effects = mesh.take({ kind: 'groupCreated', request, spec: groupSpec(changes) });
      expect(effects).toContainEqual({ kind: 'respond', request, answer: { kind: 'done' } });
      return effects;
    },
    join(id, join = {}) {
      const session = sessionNumber(nextSession++);
      sessions.set(id, session);
      const { slots = 2 } = join;
      const capacity = { slots, cpus: slots, memoryBytes: 1_000_000, diskBytes: 1_000_000 };
      const namespaces = join.namespaces?.map(namespaceName) ?? null;
      mesh.take({
        kind: 'nodeJoined',
        node: nodeId(id),
        session,
        hello: hello({ capacity, ...join.hello }),
        namespaces,
      });
      const heldMax = join.heldMax ?? 1_000;
      return mesh.take({ kind: 'nodePulled', node: nodeId(id), session, heldMax });
    },
    submit(count, group = 'g1') {
      return mesh.take({
        kind: 'batchSubmitted',
        request: nextRequest++,
        group: groupId(group),
        clientBatch: 'uuid',
        blockHash: 'hash',
        count,
        block: nothing,
        assets: null,
      });
    },
    report(id, outcomes) {
      const report = nextReport++;
      const session = mesh.session(id);
      return mesh.take({ kind: 'reportReceived', node: nodeId(id), session, report, outcomes });
    },
    heartbeat(id) {
      const session = mesh.session(id);
      const health = { load: 0, memoryFreeBytes: 0, diskFreeBytes: 0 };
      return mesh.take({ kind: 'heartbeatHeard', node: nodeId(id), session, ...health });
    },
    session(id) {
      return sessionNumber(sessions.get(id) ?? 0);
    },
  };
  return mesh;
}

/** Effects of some kinds, in order. */
export function only<Kind extends CoordinatorEffect['kind']>(
  effects: readonly CoordinatorEffect[],
  ...kinds: Kind[]
): Extract<CoordinatorEffect, { kind: Kind }>[] {
  return effects.filter((effect): effect is Extract<CoordinatorEffect, { kind: Kind }> =>
    kinds.some((kind) => kind === effect.kind),
  );
}

/** The answer to the only request in these effects. */
export function answerOf(effects: readonly CoordinatorEffect[]): Answer | undefined {
  return only(effects, 'respond')[0]?.answer;
}

/** Grants sent, short: `node batch:lo+count#attempt`. */
export function grants(effects: readonly CoordinatorEffect[]): string[] {
  return only(effects, 'sendGrant').map(
    ({ node, batch, lo, count, attempt: number }) => `${node} ${batch}:${lo}+${count}#${number}`,
  );
}

/** Outcomes saved, short: `batch-index status #number`. */
export function outcomes(effects: readonly CoordinatorEffect[]): string[] {
  return only(effects, 'saveOutcome').map(
    (save) => `${save.batch}-${save.index} ${save.outcome.status} #${save.outcomeNumber}`,
  );
}

/** Ends of attempts saved, short: `batch-index#attempt end`, with `charged` when it is. */
export function ends(effects: readonly CoordinatorEffect[]): string[] {
  return only(effects, 'saveAttemptEnd').map(
    (save) =>
      `${save.batch}-${save.index}#${save.attempt} ${save.end}${save.charged ? ' charged' : ''}`,
  );
}
