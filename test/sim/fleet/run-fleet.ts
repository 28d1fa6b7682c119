/**
 * One run in virtual time: the real plan and life of machines over a cloud that lies, a queue, and a
 * coordinator that crashes between any two orders. One second a step, one slot a machine.
 */
import type {
  FleetOrder,
  FleetState,
  FleetView,
  PoolSpec,
  SeenNode,
} from '../../../coordinator/autoscaler/lifecycle/state.ts';
import {
  createFleetState,
  defaultLifecycleSettings,
  spentBy,
} from '../../../coordinator/autoscaler/lifecycle/state.ts';
import { stepFleet } from '../../../coordinator/autoscaler/lifecycle/step.ts';
import { defaultFleetSettings } from '../../../coordinator/autoscaler/plan/inputs.ts';
import type { InstanceOffer } from '../../../coordinator/autoscaler/provider-port.ts';
import {
  listOrphans,
  loadOrphans,
  toRecord,
  toRow,
} from '../../../coordinator/autoscaler/records.ts';
import type { DemandRow } from '../../../coordinator/core/views.ts';
import type { StoredInstance } from '../../../coordinator/store/port.ts';
import type { RandomState } from '../../../protocol/base/random.ts';
import { nextBelow, nextFloat, seedRandom } from '../../../protocol/base/random.ts';
import type {
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
} from '../../../protocol/wire/ids.ts';
import type { SimTask } from './bound.ts';
import { boundSeconds } from './bound.ts';
import type { CloudFaults, Machine } from './cloud-twin.ts';
import { bootSpread, createCloud } from './cloud-twin.ts';
import type { Policy } from './policies.ts';

export interface FleetScenario {
  readonly name: string;
  readonly instancesMax: number;
  readonly spot: boolean;
  readonly faults: CloudFaults;
  /** Where the pool is other than the others'. */
  readonly pool?: Partial<Pick<PoolSpec, 'warm' | 'spendPerHourMax' | 'spendTotalMax'>>;
  /** Coordinator crashes at these times, between two orders. */
  readonly crashes: readonly number[];
  /** A run that is not over then never is; 24 unless it says otherwise. */
  readonly hoursMax?: number;
  tasks(random: RandomState): SimTask[];
}

export interface FleetResult {
  done: boolean;
  /** Of all tasks. */
  doneShare: number;
  machineSeconds: number;
  wastedSeconds: number;
  firstTaskSeconds: number;
  makespanSeconds: number;
  /** No rule can end sooner: see `bound.ts`. */
  boundSeconds: number;
  machines: number;
  /** Dollars in all, as the cloud bills them; as the fleet believes; and an hour at the worst. */
  spent: number;
  believed: number;
  pricePerHourMax: number;
  /** Alive at the end. */
  live: number;
  /** Of these, those known to nobody. */
  leaked: number;
  busyKilled: number;
  /** Tasks that a cap in all has taken from a machine. */
  capReturned: number;
}

const stepMs = 1_000;
/** Without a machine for so long, a pool at its cap has stopped for good. */
const spentQuietMs = 300_000;
const onDemandPrice = 1;
const image = 'sha256:sim' as ImageDigest;
const shape = {
  slots: 1,
  cpus: 1,
  memoryBytes: 1_000,
  isolation: 'standard' as const,
  network: false,
};
const offerOf = (id: string, pricePerHour: number): InstanceOffer => ({
  id,
  type: id,
  zone: null,
  spot: id === 'spot',
  shape,
  pricePerHour,
});

/**
 * `quietLookMs`: between two looks while nothing happens; whatever happens is looked at in the same
 * second, and the world goes on second by second all the same.
 */
export function runFleet(
  scenario: FleetScenario,
  seed: number,
  decide: Policy,
  { quietLookMs = stepMs }: { quietLookMs?: number } = {},
): FleetResult {
  const random = seedRandom(seed);
  const tasks = scenario.tasks(random);
  const cloud = createCloud(scenario.faults, random);
  const spec: PoolSpec = {
    pool: 'sim',
    provider: 'ec2',
    instancesMin: 0,
    instancesMax: scenario.instancesMax,
    warm: 0,
    idleMs: 0,
    billingFloorMs: 60_000,
    spendPerHourMax: null,
    spendTotalMax: null,
    namespaces: null,
    offers: [...(scenario.spot ? [offerOf('spot', 0.3)] : []), offerOf('on-demand', onDemandPrice)],
    bootMsGuess: 90_000,
    bootMsMax: 600_000,
    leaveMsMax: 60_000,
    killAfterMs: Number.POSITIVE_INFINITY,
    retryBaseMs: 60_000,
    retryMaxMs: 3_600_000,
    dryRun: false,
    ...scenario.pool,
  };
  const rows = new Map<string, StoredInstance>();
  let orphans: ReturnType<typeof listOrphans> = [];
  const priceOf = (machine: Machine): number =>
    spec.offers.find(({ id }) => id === machine.offer)?.pricePerHour ?? 0;
  let ids = 0;
  const open = (nowMs: number): FleetState => {
    const state = createFleetState({
      pools: [spec],
      settings: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
      decide,
      nextId: () => {
        ids += 1;
        return String(ids);
      },
    });
    for (const row of rows.values()) {
      const pool = state.pools.get(row.pool);
      if (row.state === 'gone') {
        if (pool !== undefined) pool.spentGone += row.cost;
        continue;
      }
      const record = toRecord(row, nowMs);
      state.instances.set(record.instance, record);
    }
    loadOrphans(state, orphans, nowMs);
    return state;
  };
  let state = open(0);
  let crashing = false;
  let busyKilled = 0;
  let capReturned = 0;
  const endedByCap = new Set<InstanceId>();
  const departed = new Map<InstanceId, SeenNode>();
  const waiting: number[] = [];
  let arrived = 0;
  let finished = 0;
  let firstAtMs: number | null = null;
  let lastAtMs = 0;
  let pricePerHourMax = 0;
  let meanMs: number | null = null;
  /** Of finished tasks, the shortest first. */
  const runs: number[] = [];
  const endMachine = (machine: Machine, nowMs: number, isOurs: boolean): void => {
    if (isOurs && machine.running !== null) {
      if (endedByCap.has(machine.instance)) capReturned += 1;
      else busyKilled += 1;
    }
    if (machine.running !== null) waiting.unshift(machine.running.task);
    if (machine.joinsAtMs <= nowMs) {
      // A node that holds something when its machine ends says no goodbye.
      departed.set(machine.instance, goneNode(machine, nowMs));
    }
    machine.running = null;
    hasHappened = true;
    cloud.end(machine, nowMs);
  };
  const perform = (orders: readonly FleetOrder[], nowMs: number): void => {
    // A crash loses all orders from some point on, the memory, and every answer under way.
    const until = crashing ? nextBelow(random, orders.length + 1) : orders.length;
    for (const order of orders.slice(0, until)) performOne(order, nowMs);
    if (crashing) state = open(nowMs);
  };
  const take = (event: Parameters<typeof stepFleet>[1], nowMs: number): void => {
    if (!crashing) perform(stepFleet(state, event, nowMs), nowMs);
  };
  const performOne = (order: FleetOrder, nowMs: number): void => {
    switch (order.kind) {
      case 'save':
        rows.set(order.instance.instance, toRow(order));
        return;
      case 'create': {
        const { instance, offer } = order;
        const failure = cloud.create(instance, offer, nowMs);
        if (failure === null) {
          take({ kind: 'created', instance, handle: `handle-${instance}` }, nowMs);
        } else take({ kind: 'createFailed', instance, message: 'simulated', ...failure }, nowMs);
        return;
      }
      case 'list': {
        const found = cloud.list(nowMs);
        if (found === null) {
          take({ kind: 'listFailed', pool: 'sim', failure: 'unavailable', message: 'away' }, nowMs);
        } else take({ kind: 'listed', pool: 'sim', found, askedAtMs: nowMs }, nowMs);
        return;
      }
      case 'terminate': {
        if (cloud.isAway(nowMs)) {
          take({ kind: 'endFailed', instance: order.instance, message: 'away' }, nowMs);
          return;
        }
        const machine = cloud.machines.get(order.instance);
        if (machine?.endedAtMs === null) endMachine(machine, nowMs, true);
        return;
      }
      case 'drain':
      case 'undrain':
        for (const machine of cloud.live) {
          if (machine.node !== order.node || machine.draining?.by === 'node') continue;
          machine.draining = order.kind === 'drain' ? { sinceMs: nowMs, by: 'autoscaler' } : null;
        }
        return;
      default:
    }
  };
  let hasHappened = true;
  let lookedAtMs = 0;
  let quietMs = 0;
  let nowMs = 0;
  for (; nowMs < (scenario.hoursMax ?? 24) * 3_600_000; nowMs += stepMs) {
    while (arrived < tasks.length && (tasks[arrived]?.atMs ?? 0) <= nowMs) {
      waiting.push(arrived++);
      hasHappened = true;
    }
    if (cloud.storm(nowMs, stepMs)) hasHappened = true;
    for (const machine of cloud.live) {
      if (machine.takenBackAtMs !== null && nowMs >= machine.takenBackAtMs) {
        endMachine(machine, nowMs, false);
        continue;
      }
      if (machine.running !== null && nowMs >= machine.running.endsAtMs) {
        const runMs = tasks[machine.running.task]?.runMs ?? 0;
        machine.running = null;
        hasHappened = true;
        machine.idleSinceMs = nowMs;
        finished += 1;
        lastAtMs = nowMs;
        meanMs = meanMs === null ? runMs : meanMs + 0.2 * (runMs - meanMs);
        insertSorted(runs, runMs);
      }
      const hasJoined = machine.joinsAtMs <= nowMs;
      if (hasJoined && machine.joinsAtMs > nowMs - stepMs) hasHappened = true;
      const isReady = hasJoined && machine.draining === null;
      if (isReady && machine.running === null) {
        const task = waiting.shift();
        if (task !== undefined) {
          const endsAtMs = nowMs + (tasks[task]?.runMs ?? 0);
          machine.running = { task, sinceMs: nowMs, endsAtMs };
          hasHappened = true;
          firstAtMs ??= nowMs;
        }
      }
      // A drained node leaves, and its machine with it, as an agent ends its machine's job.
      if (
        machine.draining !== null &&
        machine.running === null &&
        nowMs - machine.draining.sinceMs > 5_000
      ) {
        endMachine(machine, nowMs, false);
      }
    }
    crashing = scenario.crashes.some((atMs) => atMs >= nowMs && atMs < nowMs + stepMs);
    if (hasHappened || crashing || nowMs >= lookedAtMs + quietLookMs) {
      hasHappened = false;
      lookedAtMs = nowMs;
      const orders = stepFleet(state, { kind: 'looked', view: view(nowMs) }, nowMs);
      for (const decision of state.plan?.decisions ?? []) {
        if (decision.kind === 'end') endedByCap.add(decision.instance);
      }
      // What it has done is a change that it sees at its next look.
      if (orders.length > 0) hasHappened = true;
      perform(orders, nowMs);
      if (!crashing) orphans = listOrphans(state);
      crashing = false;
    }
    let perHour = 0;
    for (const machine of cloud.live) perHour += priceOf(machine);
    pricePerHourMax = Math.max(pricePerHourMax, perHour);
    const { spendTotalMax, warm } = spec;
    const isCalm = cloud.live.size <= warm && state.instances.size <= warm;
    quietMs = isCalm ? quietMs + stepMs : 0;
    // Whatever is left when a pool may cost no more, stays left.
    const isSpent = spendTotalMax !== null && firstAtMs !== null && quietMs >= spentQuietMs;
    if (isCalm && (finished === tasks.length || isSpent)) break;
  }
  function view(now: number) {
    let running = 0;
    let ranMs = 0;
    const nodes: FleetView['nodes'][number][] = [];
    for (const machine of cloud.live) {
      if (machine.running !== null) {
        running += 1;
        ranMs += now - machine.running.sinceMs;
      }
      if (machine.joinsAtMs <= now) nodes.push({ instance: machine.instance, node: seen(machine) });
    }
    const row: DemandRow = {
      group: 'g' as GroupId,
      namespace: 'default' as NamespaceName,
      priority: 0,
      imageDigest: image,
      isolationMin: 'standard',
      network: false,
      cpus: 1,
      memoryBytes: 1,
      runnable: waiting.length,
      ready: waiting.length,
      queued: waiting.length,
      running,
      runtimeMs: meanMs,
      runtimeP50Ms: runs[Math.floor(0.5 * runs.length)] ?? null,
      runtimeP90Ms: runs[Math.floor(0.9 * runs.length)] ?? null,
      runningForMs: running === 0 ? 0 : ranMs / running,
      workSeconds: null,
      maximumConcurrency: null,
    };
    for (const [instance, node] of departed) {
      if (state.instances.has(instance)) nodes.push({ instance, node });
      else departed.delete(instance);
    }
    return {
      demand: waiting.length + running > 0 ? [row] : [],
      nodes,
      others: [],
      images: [image],
      isStopping: false,
    };
  }
  const machines = [...cloud.machines.values()];
  const aliveMs = machines.reduce((sum, one) => sum + ((one.endedAtMs ?? nowMs) - one.madeAtMs), 0);
  const workMs = runs.reduce((sum, runMs) => sum + runMs, 0);
  const billedMs = (one: Machine): number =>
    Math.max(spec.billingFloorMs, (one.endedAtMs ?? nowMs) - one.madeAtMs);
  const leastPrice = Math.min(...spec.offers.map(({ pricePerHour }) => pricePerHour));
  const byHour = Math.floor((spec.spendPerHourMax ?? Number.POSITIVE_INFINITY) / leastPrice);
  const [pool] = state.pools.values();
  return {
    done: finished === tasks.length,
    doneShare: finished / tasks.length,
    machineSeconds: aliveMs / 1000,
    wastedSeconds: Math.max(0, aliveMs - workMs) / 1000,
    firstTaskSeconds: ((firstAtMs ?? nowMs) - (tasks[0]?.atMs ?? 0)) / 1000,
    makespanSeconds: lastAtMs / 1000,
    boundSeconds: boundSeconds(tasks, {
      capacity: Math.min(scenario.instancesMax, byHour),
      bootMsMin: bootSpread[0] * scenario.faults.bootMs,
      isWarm: spec.warm > 0,
    }),
    machines: machines.length,
    spent: machines.reduce((sum, one) => sum + (priceOf(one) * billedMs(one)) / 3_600_000, 0),
    believed: pool === undefined ? 0 : spentBy(state, pool, nowMs),
    pricePerHourMax,
    live: cloud.live.size,
    leaked: [...cloud.live].filter(({ instance }) => !state.instances.has(instance)).length,
    busyKilled,
    capReturned,
  };
}

function insertSorted(values: number[], value: number): void {
  let at = values.length;
  while (at > 0 && (values[at - 1] ?? 0) > value) at -= 1;
  values.splice(at, 0, value);
}

function seen(machine: Machine): SeenNode {
  return {
    node: machine.node,
    state: machine.draining === null ? 'ready' : 'draining',
    drainingBy: machine.draining?.by ?? null,
    held: machine.running === null ? 0 : 1,
    idleSinceMs: machine.running !== null ? null : machine.idleSinceMs,
    sinceMs: machine.draining?.sinceMs ?? machine.joinsAtMs,
    isPaused: false,
    uniqueCacheBytes: 0,
  };
}

function goneNode(machine: Machine, nowMs: number): SeenNode {
  return {
    node: machine.node,
    state: machine.running !== null ? 'lost' : 'gone',
    drainingBy: null,
    held: 0,
    idleSinceMs: null,
    sinceMs: nowMs,
    isPaused: false,
    uniqueCacheBytes: 0,
  };
}

const uniform = (random: RandomState, from: number, to: number): number =>
  from + (to - from) * nextFloat(random);
export const burst =
  (count: number, fromMs: number, toMs: number) =>
  (random: RandomState): SimTask[] =>
    Array.from({ length: count }, () => ({ atMs: 0, runMs: uniform(random, fromMs, toMs) }));
