/**
 * A cloud in memory and virtual time, with a cloud's habits: machines take minutes to boot or never
 * join, offers run out, answers get lost after the effect, listings lag, come empty or not at all,
 * spot machines are taken back. Its books are the truth that the fleet is held against.
 */
import type {
  ListedInstance,
  ProviderFailureKind,
} from '../../../coordinator/autoscaler/provider-port.ts';
import type { RandomState } from '../../../protocol/base/random.ts';
import { nextFloat } from '../../../protocol/base/random.ts';
import type { InstanceId, NodeId } from '../../../protocol/wire/ids.ts';

export interface Machine {
  readonly instance: InstanceId;
  readonly node: NodeId;
  readonly offer: string;
  readonly madeAtMs: number;
  /** When its node joins; infinite for one that never does. */
  readonly joinsAtMs: number;
  endedAtMs: number | null;
  /** The cloud takes it back then. */
  takenBackAtMs: number | null;
  /** What its node was told, and what it does. */
  draining: { sinceMs: number; by: 'node' | 'autoscaler' } | null;
  running: { readonly task: number; readonly sinceMs: number; readonly endsAtMs: number } | null;
  idleSinceMs: number;
}

export interface CloudFaults {
  bootMs: number;
  /** Shares from 0 to 1. */
  neverJoins: number;
  stockout: number;
  lostAnswer: number;
  listFails: number;
  listEmpty: number;
  listLagMs: number;
  /** From, to: nothing answers. */
  away: readonly [number, number] | null;
  /** Spot machines are all taken back at these times. */
  storms: readonly number[];
}

export const calm: CloudFaults = {
  bootMs: 180_000,
  neverJoins: 0,
  stockout: 0,
  lostAnswer: 0,
  listFails: 0,
  listEmpty: 0,
  listLagMs: 0,
  away: null,
  storms: [],
};

/** A boot takes between so many times and so many times `bootMs`. */
export const bootSpread = [0.8, 1.2] as const;
/** Between a spot notice and the end. */
const noticeMs = 120_000;
/** How long a listing still shows what has ended. */
const goneShownMs = 60_000;

export function createCloud(faults: CloudFaults, random: RandomState) {
  /** All that ever were. */
  const machines = new Map<InstanceId, Machine>();
  const live = new Set<Machine>();
  /** All that a listing may still show. */
  const listed = new Set<Machine>();
  const isAway = (nowMs: number): boolean =>
    faults.away !== null && nowMs >= faults.away[0] && nowMs < faults.away[1];
  const chance = (share: number): boolean => share > 0 && nextFloat(random) < share;
  return {
    machines,
    isAway,
    live: live as ReadonlySet<Machine>,
    end(machine: Machine, nowMs: number): void {
      machine.endedAtMs ??= nowMs;
      live.delete(machine);
    },
    create(
      instance: InstanceId,
      offer: string,
      nowMs: number,
    ): { failure: ProviderFailureKind; mayHaveMade: boolean } | null {
      if (isAway(nowMs)) return { failure: 'unavailable', mayHaveMade: false };
      if (machines.has(instance)) return null;
      if (chance(faults.stockout)) return { failure: 'stockout', mayHaveMade: false };
      const [least, most] = bootSpread;
      const bootMs = faults.bootMs * (least + (most - least) * nextFloat(random));
      const machine: Machine = {
        instance,
        node: `node-of-${instance}` as NodeId,
        offer,
        madeAtMs: nowMs,
        joinsAtMs: chance(faults.neverJoins) ? Number.POSITIVE_INFINITY : nowMs + bootMs,
        endedAtMs: null,
        takenBackAtMs: null,
        draining: null,
        running: null,
        idleSinceMs: nowMs + bootMs,
      };
      machines.set(instance, machine);
      live.add(machine);
      listed.add(machine);
      return chance(faults.lostAnswer) ? { failure: 'unavailable', mayHaveMade: true } : null;
    },
    /** Null when it does not answer. */
    list(nowMs: number): ReadonlyMap<InstanceId, ListedInstance> | null {
      if (isAway(nowMs) || chance(faults.listFails)) return null;
      const found = new Map<InstanceId, ListedInstance>();
      if (chance(faults.listEmpty)) return found;
      const seenAtMs = nowMs - faults.listLagMs;
      for (const machine of listed) {
        if (machine.madeAtMs > seenAtMs) continue;
        const isGone = machine.endedAtMs !== null && machine.endedAtMs <= seenAtMs;
        if (isGone && seenAtMs - (machine.endedAtMs ?? 0) > goneShownMs) {
          listed.delete(machine);
          continue;
        }
        found.set(machine.instance, {
          handle: `handle-${machine.instance}`,
          state: isGone ? 'gone' : machine.joinsAtMs <= seenAtMs ? 'running' : 'pending',
          launchedAtMs: machine.madeAtMs,
          offer: machine.offer,
          interrupted:
            machine.takenBackAtMs !== null && machine.takenBackAtMs - noticeMs <= seenAtMs,
        });
      }
      return found;
    },
    /** Notices what a storm hits: agents that are there see it at once, and drain. Tells whether any is hit. */
    storm(nowMs: number, stepMs: number): boolean {
      let hasHit = false;
      for (const atMs of faults.storms) {
        if (atMs < nowMs || atMs >= nowMs + stepMs) continue;
        for (const machine of live) {
          if (machine.offer !== 'spot') continue;
          machine.takenBackAtMs ??= nowMs + noticeMs;
          if (machine.joinsAtMs <= nowMs) machine.draining = { sinceMs: nowMs, by: 'node' };
          hasHit = true;
        }
      }
      return hasHit;
    },
  };
}
