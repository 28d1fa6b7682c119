/** The fleet, for operators: what is there, what it costs, and why it is so many. */
import type { FleetExplainView, FleetView } from '../../../protocol/wire/api.ts';
import type { FleetState, InstanceRecord, PoolRecord } from '../../autoscaler/lifecycle/state.ts';
import { costOf, spentBy } from '../../autoscaler/lifecycle/state.ts';
import type { FleetPlan } from '../../autoscaler/plan/inputs.ts';
import { requireOperator } from '../caller.ts';
import type { Context } from '../services.ts';
import { formatTime } from '../views/times.ts';

/** Latest events that an explanation tells. */
const eventsMax = 50;

/** Pools and their instances. */
export function getFleet(context: Context): FleetView {
  requireOperator(context.caller);
  const { fleet } = context.deps;
  const state = fleet.state();
  const nowMs = fleet.nowMs();
  return {
    pools: [...state.pools.values()].map((pool) => viewPool(state, pool, nowMs)),
    instances: [...state.instances.values()].map((record) => viewInstance(state, record, nowMs)),
  };
}

/** The inputs and the rule behind the latest plan, what it would do, and what happened last. */
export async function explainFleet(context: Context): Promise<FleetExplainView> {
  requireOperator(context.caller);
  const { fleet } = context.deps;
  const state = fleet.state();
  const { plan } = state;
  const events = await fleet.events(eventsMax);
  return {
    sentences: [...state.pools.values()].flatMap((pool) => explainPool(pool, plan)),
    work: plan?.work ?? [],
    decisions: (plan?.decisions ?? []).map((decision) => {
      const pool =
        decision.kind === 'create'
          ? decision.pool
          : (state.instances.get(decision.instance)?.pool ?? '');
      return {
        kind: decision.kind,
        pool,
        offer: decision.kind === 'create' ? decision.offer : null,
        count: decision.kind === 'create' ? decision.count : 1,
        instance: decision.kind === 'create' ? null : decision.instance,
        reason: decision.reason,
        dryRun: state.pools.get(pool)?.spec.dryRun ?? false,
      };
    }),
    events: events.map(({ atMs, ...event }) => ({ at: formatTime(atMs), ...event })),
  };
}

function viewPool(state: FleetState, pool: PoolRecord, nowMs: number): FleetView['pools'][number] {
  const { spec } = pool;
  const outlook = state.plan?.outlooks.find((one) => one.pool === spec.pool);
  const faults = [...pool.faults];
  if (pool.listFailure !== null) faults.push(`Its machines cannot be listed: ${pool.listFailure}`);
  return {
    pool: spec.pool,
    provider: spec.provider,
    min: spec.instancesMin,
    max: spec.instancesMax,
    warm: spec.warm,
    wanted: outlook?.wanted ?? 0,
    live: outlook?.live ?? 0,
    pricePerHour: outlook?.pricePerHour ?? 0,
    spent: spentBy(state, pool, nowMs),
    spendPerHourMax: spec.spendPerHourMax,
    spendTotalMax: spec.spendTotalMax,
    dryRun: spec.dryRun,
    heldBack: outlook?.heldBack ?? null,
    faults,
    offers: [...pool.offers.values()].map(({ offer, bootMs, boots, ...record }) => ({
      id: offer.id,
      spot: offer.spot,
      pricePerHour: offer.pricePerHour,
      bootSeconds: bootMs / 1000,
      boots,
      failures: record.failures + record.refusals,
      paused: nowMs < record.pausedUntilMs ? record.pauseReason : null,
    })),
  };
}

function viewInstance(
  state: FleetState,
  record: InstanceRecord,
  nowMs: number,
): FleetView['instances'][number] {
  const spec = state.pools.get(record.pool)?.spec;
  return {
    instance: record.instance,
    pool: record.pool,
    offer: record.offer,
    state: record.phase,
    reason: record.reason,
    node: record.node,
    ageSeconds: (nowMs - record.requestedAtMs) / 1000,
    stateSeconds: (nowMs - record.sinceMs) / 1000,
    cost: spec === undefined ? 0 : costOf(record, spec, nowMs),
    interrupted: record.interrupted,
    ending: record.ending !== null && spec?.dryRun !== true,
  };
}

function explainPool(pool: PoolRecord, plan: FleetPlan | null): string[] {
  const { spec } = pool;
  const outlook = plan?.outlooks.find((one) => one.pool === spec.pool);
  if (plan === null || outlook === undefined) return [`${spec.pool}: not looked at yet.`];
  const seconds = plan.work.reduce((sum, { workSeconds }) => sum + workSeconds, 0);
  const [offer] = pool.offers.values();
  const lines = [
    `${spec.pool}: ${outlook.wanted} wanted, ${outlook.live} there or booting` +
      ` (minimum ${spec.instancesMin}, spares ${spec.warm}, maximum ${spec.instancesMax}).`,
  ];
  if (plan.work.length > 0) {
    lines.push(
      `${spec.pool}: ${seconds.toFixed(1)} s of work are left; what clears within` +
        ` ${outlook.horizonSeconds.toFixed(1)} s needs no further machine (a boot takes` +
        ` ${((offer?.bootMs ?? 0) / 1000).toFixed(1)} s), and no more than can run at once.`,
    );
  }
  if (outlook.waiting > 0) {
    lines.push(
      `${spec.pool}: ${outlook.waiting} idle ones are kept for a while: work may come back sooner than another would boot.`,
    );
  }
  if (outlook.heldBack !== null) lines.push(`${spec.pool}: ${outlook.heldBack}`);
  if (spec.dryRun) lines.push(`${spec.pool}: a dry run; nothing is made or ended.`);
  return lines;
}
