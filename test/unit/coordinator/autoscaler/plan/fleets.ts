/** Pools, queues and machines for tests of the plan; each test states only what matters to it. */
import type {
  FleetInputs,
  FleetInstance,
  FleetOffer,
  FleetPool,
} from '../../../../../coordinator/autoscaler/plan/inputs.ts';
import { defaultFleetSettings } from '../../../../../coordinator/autoscaler/plan/inputs.ts';
import { neverInterrupted } from '../../../../../coordinator/autoscaler/plan/interruptions.ts';
import { planFleet } from '../../../../../coordinator/autoscaler/plan/plan-fleet.ts';
import type { DemandRow } from '../../../../../coordinator/core/views.ts';
import type {
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
  NodeId,
} from '../../../../../protocol/wire/ids.ts';

export const image = 'sha256:a' as ImageDigest;
export const nowMs = 10_000_000;

export const offer = (changes: Partial<FleetOffer> = {}): FleetOffer => ({
  id: 'small',
  type: 'small',
  zone: null,
  spot: false,
  shape: { slots: 1, cpus: 1, memoryBytes: 1_000, isolation: 'standard', network: false },
  pricePerHour: 0,
  bootMs: 500,
  boots: 1,
  failures: 0,
  refusals: 0,
  interruptions: neverInterrupted,
  pausedUntilMs: Number.NEGATIVE_INFINITY,
  pauseReason: '',
  ...changes,
});

export const pool = (changes: Partial<FleetPool> = {}): FleetPool => ({
  pool: 'local',
  instancesMin: 0,
  instancesMax: 4,
  warm: 0,
  idleMs: 20_000,
  bootMsMax: 30_000,
  billingFloorMs: 0,
  spendPerHourMax: null,
  spendTotalMax: null,
  spent: 0,
  orphansPerHour: 0,
  images: [image],
  namespaces: null,
  offers: [offer()],
  hold: null,
  levels: [],
  ...changes,
});

/** Ready are as many as runnable unless it says otherwise. */
export const row = (changes: Partial<DemandRow> = {}): DemandRow => ({
  group: 'g' as GroupId,
  namespace: 'default' as NamespaceName,
  priority: 0,
  imageDigest: image,
  isolationMin: 'standard',
  network: false,
  cpus: 1,
  memoryBytes: 10,
  runnable: 0,
  ready: changes.runnable ?? 0,
  queued: changes.runnable ?? 0,
  running: 0,
  runtimeMs: null,
  runtimeP50Ms: changes.runtimeMs ?? null,
  runtimeP90Ms: changes.runtimeMs ?? null,
  runningForMs: 0,
  workSeconds: null,
  maximumConcurrency: null,
  ...changes,
});

export const instance = (id: string, changes: Partial<FleetInstance> = {}): FleetInstance => ({
  instance: id as InstanceId,
  pool: 'local',
  offer: 'small',
  shape: offer().shape,
  pricePerHour: 0,
  state: 'working',
  requestedAtMs: nowMs - 60_000,
  isGranted: true,
  node: `node-${id}` as NodeId,
  held: 0,
  idleSinceMs: nowMs - 1_000,
  drainingSinceMs: null,
  isEnding: false,
  isPaused: false,
  uniqueCacheBytes: 0,
  ...changes,
});

export const busy = (id: string, changes: Partial<FleetInstance> = {}): FleetInstance =>
  instance(id, { held: 1, idleSinceMs: null, ...changes });

export const booting = (id: string, changes: Partial<FleetInstance> = {}): FleetInstance =>
  instance(id, {
    state: 'booting',
    node: null,
    idleSinceMs: null,
    requestedAtMs: nowMs - 100,
    ...changes,
  });

export const draining = (id: string, changes: Partial<FleetInstance> = {}): FleetInstance =>
  instance(id, { state: 'draining', drainingSinceMs: nowMs - 100, ...changes });

export const plan = (changes: Partial<FleetInputs> = {}) =>
  planFleet({
    nowMs,
    settings: defaultFleetSettings,
    demand: [],
    pools: [pool()],
    instances: [],
    others: [],
    ...changes,
  });

/** Decisions, short. */
export const decide = (changes: Partial<FleetInputs>): string[] =>
  plan(changes).decisions.map((decision) =>
    decision.kind === 'create'
      ? `create ${decision.count} ${decision.pool} ${decision.offer}`
      : `${decision.kind} ${decision.instance}`,
  );
