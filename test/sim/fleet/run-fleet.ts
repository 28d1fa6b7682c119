/**
 * One run in virtual time: the real plan and life of machines over a cloud that lies, a queue, and a
 * coordinator that crashes between any two orders. One second a step, one slot a machine.
 */
import type {
  FleetOrder,
  FleetState,
  InstanceRecord,
  PoolSpec,
  SeenNode,
} from '../../../coordinator/autoscaler/lifecycle/state.ts';
import {
  createFleetState,
  defaultLifecycleSettings,
} from '../../../coordinator/autoscaler/lifecycle/state.ts';
import { stepFleet } from '../../../coordinator/autoscaler/lifecycle/step.ts';
import { defaultFleetSettings } from '../../../coordinator/autoscaler/plan/inputs.ts';
import type { InstanceOffer } from '../../../coordinator/autoscaler/provider-port.ts';
import type { DemandRow } from '../../../coordinator/core/views.ts';
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
  machineSeconds: number;
  wastedSeconds: number;
  firstTaskSeconds: number;
  makespanSeconds: number;
  /** No rule can end sooner: see `bound.ts`. */
  boundSeconds: number;
  machines: number;
  /** Dollars in all, and an hour at the worst. */
  spent: number;
  pricePerHourMax: number;
  /** Alive at the end. */
  live: number;
  /** Of these, those known to nobody. */
  leaked: number;
  busyKilled: number;
}

const stepMs = 1_000;
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

export function runFleet(scenario: FleetScenario, seed: number, decide: Policy): FleetResult {
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
  const rows = new Map<InstanceId, InstanceRecord>();
  const costs = new Map<InstanceId, number>();
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
      if (row.phase === 'gone' && pool !== undefined) {
        pool.spentGone += costs.get(row.instance) ?? 0;
      }
      if (row.phase === 'gone') continue;
      state.instances.set(row.instance, {
        ...row,
        sinceMs: nowMs,
        isAsking: false,
        absences: 0,
        interrupted: false,
        ending: null,
      });
    }
    return state;
  };
  let state = open(0);
  let crashing = false;
  let busyKilled = 0;
  const waiting: number[] = [];
  const left = tasks.map(({ runMs }) => runMs);
  let arrived = 0;
  let finished = 0;
  let firstAtMs: number | null = null;
  let lastAtMs = 0;
  let pricePerHourMax = 0;
  let meanMs: number | null = null;
  const endMachine = (machine: Machine, nowMs: number, isOurs: boolean): void => {
    if (isOurs && machine.endedAtMs === null && machine.tasks.size > 0) busyKilled += 1;
    for (const task of machine.tasks) {
      left[task] = tasks[task]?.runMs ?? 0;
      waiting.unshift(task);
    }
    machine.tasks.clear();
    machine.endedAtMs ??= nowMs;
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
        rows.set(order.instance.instance, { ...order.instance });
        costs.set(order.instance.instance, order.cost);
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
        for (const machine of cloud.live()) {
          if (machine.node !== order.node) continue;
          machine.draining = order.kind === 'drain' ? { sinceMs: nowMs, by: 'autoscaler' } : null;
        }
        return;
      default:
    }
  };
  let nowMs = 0;
  for (; nowMs < (scenario.hoursMax ?? 24) * 3_600_000; nowMs += stepMs) {
    while (arrived < tasks.length && (tasks[arrived]?.atMs ?? 0) <= nowMs) waiting.push(arrived++);
    cloud.storm(nowMs, stepMs);
    for (const machine of cloud.live()) {
      if (machine.takenBackAtMs !== null && nowMs >= machine.takenBackAtMs) {
        endMachine(machine, nowMs, false);
        continue;
      }
      for (const task of machine.tasks) {
        left[task] = (left[task] ?? 0) - stepMs;
        if ((left[task] ?? 0) > 0) continue;
        machine.tasks.delete(task);
        machine.idleSinceMs = nowMs;
        finished += 1;
        lastAtMs = nowMs;
        const runMs = tasks[task]?.runMs ?? 0;
        meanMs = meanMs === null ? runMs : meanMs + 0.2 * (runMs - meanMs);
      }
      const isReady = machine.joinsAtMs <= nowMs && machine.draining === null;
      if (isReady && machine.tasks.size === 0) {
        const task = waiting.shift();
        if (task !== undefined) {
          machine.tasks.add(task);
          firstAtMs ??= nowMs;
        }
      }
      // A drained node leaves, and its machine with it, as an agent ends its machine's job.
      if (
        machine.draining !== null &&
        machine.tasks.size === 0 &&
        nowMs - machine.draining.sinceMs > 5_000
      ) {
        endMachine(machine, nowMs, false);
      }
    }
    crashing = scenario.crashes.some((atMs) => atMs >= nowMs && atMs < nowMs + stepMs);
    perform(stepFleet(state, { kind: 'looked', view: view(nowMs) }, nowMs), nowMs);
    crashing = false;
    const live = cloud.live();
    pricePerHourMax = Math.max(
      pricePerHourMax,
      live.reduce((sum, machine) => sum + priceOf(machine), 0),
    );
    const { spendTotalMax, warm } = spec;
    // Whatever is left when a pool may cost no more, stays left.
    const isSpent = spendTotalMax !== null && firstAtMs !== null;
    const isOver = finished === tasks.length || isSpent;
    if (isOver && live.length <= warm && state.instances.size <= warm) break;
  }
  function view(now: number) {
    const running = cloud.live().filter((machine) => machine.tasks.size > 0).length;
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
      runtimeP50Ms: meanMs,
      runtimeP90Ms: meanMs,
      runningForMs: averageRun(cloud.live(), { tasks, left }),
      workSeconds: null,
      maximumConcurrency: null,
    };
    const nodes = cloud.live().filter((machine) => machine.joinsAtMs <= now);
    return {
      demand: waiting.length + running > 0 ? [row] : [],
      nodes: nodes.map((machine) => ({ instance: machine.instance, node: seen(machine) })),
      others: [],
      images: [image],
      isStopping: false,
    };
  }
  const machines = [...cloud.machines.values()];
  const aliveMs = machines.reduce((sum, one) => sum + ((one.endedAtMs ?? nowMs) - one.madeAtMs), 0);
  const workMs = tasks.reduce((sum, { runMs }) => sum + runMs, 0);
  const spentMs = (one: Machine): number => (one.endedAtMs ?? nowMs) - one.madeAtMs;
  const byHour = Math.floor((spec.spendPerHourMax ?? Number.POSITIVE_INFINITY) / onDemandPrice);
  return {
    done: finished === tasks.length,
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
    spent: machines.reduce((sum, one) => sum + (priceOf(one) * spentMs(one)) / 3_600_000, 0),
    pricePerHourMax,
    live: cloud.live().length,
    leaked: cloud.live().filter(({ instance }) => !state.instances.has(instance)).length,
    busyKilled,
  };
}

function averageRun(
  machines: readonly Machine[],
  of: { tasks: readonly SimTask[]; left: readonly number[] },
): number {
  const runs = machines.flatMap((machine) =>
    [...machine.tasks].map((task) => (of.tasks[task]?.runMs ?? 0) - (of.left[task] ?? 0)),
  );
  return runs.length === 0 ? 0 : runs.reduce((sum, run) => sum + run, 0) / runs.length;
}

function seen(machine: Machine): SeenNode {
  return {
    node: machine.node,
    state: machine.draining === null ? 'ready' : 'draining',
    drainingBy: machine.draining?.by ?? null,
    held: machine.tasks.size,
    idleSinceMs: machine.tasks.size > 0 ? null : machine.idleSinceMs,
    sinceMs: machine.draining?.sinceMs ?? machine.joinsAtMs,
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
