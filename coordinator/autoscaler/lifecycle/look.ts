/** A look at everything: what nodes say of their machines, what is overdue, how many there should be. */
import type { InstanceId, NodeId } from '../../../protocol/wire/ids.ts';
import type { FleetInstance, FleetPool } from '../plan/inputs.ts';
import { secondsText } from '../plan/inputs.ts';
import { noteLevels } from '../plan/levels.ts';
import type { InstanceShape } from '../provider-port.ts';
import { noteBoot } from './failures.ts';
import { notePresence, recallInterruptions } from './interruption.ts';
import { isListingDue, pressEnds } from './listing.ts';
import type { FleetState, FleetView, InstanceRecord, PoolRecord, SeenNode } from './state.ts';
import { spentBy } from './state.ts';
import type { FleetTurn } from './turn.ts';
import { endInstance, enter, failBoot, isDryRun, save, tell } from './turn.ts';

/** Brings the records up to date, then plans. */
export function look(turn: FleetTurn, view: FleetView): void {
  const { state, nowMs } = turn;
  const seen = tieNodes(turn, view);
  for (const record of state.instances.values()) followNode(turn, record, seen);
  for (const record of state.instances.values()) checkDeadlines(turn, record, seen);
  pressEnds(turn);
  notePresence(turn);
  for (const pool of state.pools.values()) {
    if (!isListingDue(state, pool, nowMs)) continue;
    pool.isListing = true;
    pool.listedAtMs = nowMs;
    turn.orders.push({ kind: 'list', pool: pool.spec.pool });
  }
  if (!view.isStopping) decide(turn, view, seen);
}

/** An instance has the node that came first; a later peer with the same tag is not believed. */
function tieNodes(turn: FleetTurn, view: FleetView): Map<InstanceId, SeenNode> {
  const { state } = turn;
  const seen = new Map<InstanceId, SeenNode>();
  for (const { instance, node } of view.nodes) {
    const record = state.instances.get(instance);
    if (record === undefined) continue;
    const isLive = node.state !== 'gone' && node.state !== 'lost';
    if (record.node === null && isLive) {
      record.node = node.node;
      noteBoot(state, record, turn);
      enter(turn, record, { phase: 'joined' });
      tell(turn, record, {
        event: 'joined',
        text: `Node …${node.node.slice(-8)} runs on it, ${secondsText(turn.nowMs - record.requestedAtMs)} after it was asked for.`,
      });
    }
    if (record.node === node.node) seen.set(instance, node);
    else if (isLive) refuseImpostor(turn, record, node.node);
  }
  return seen;
}

function refuseImpostor(turn: FleetTurn, record: InstanceRecord, node: NodeId): void {
  if (turn.state.impostors.has(node)) return;
  turn.state.impostors.add(node);
  tell(turn, record, {
    event: 'impostor',
    text: `Node …${node.slice(-8)} says that it runs on this instance, which has another node; it is not counted.`,
    isLoud: true,
  });
}

function followNode(
  turn: FleetTurn,
  record: InstanceRecord,
  seen: ReadonlyMap<InstanceId, SeenNode>,
): void {
  const node = seen.get(record.instance);
  if (node === undefined || record.ending !== null) return;
  record.hasLeft = node.state === 'gone';
  if (node.drainingBy === 'autoscaler' || node.drainingBy === 'operator') record.isAsked = true;
  if (node.state === 'ready') {
    // Whatever an earlier run or an operator asked of it is off.
    record.isAsked = false;
    if (record.phase !== 'working') enter(turn, record, { phase: 'working' });
  }
  if (node.state === 'draining' && record.phase !== 'draining') {
    enter(turn, record, { phase: 'draining', reason: `Drained by the ${node.drainingBy}.` });
  }
  if (!record.interrupted || node.state === 'draining' || isDryRun(turn, record.pool)) return;
  if (node.state !== 'ready' && node.state !== 'joining') return;
  const reason = 'The cloud takes it back.';
  enter(turn, record, { phase: 'draining', reason });
  turn.orders.push({ kind: 'drain', node: node.node, reason });
}

function checkDeadlines(
  turn: FleetTurn,
  record: InstanceRecord,
  seen: ReadonlyMap<InstanceId, SeenNode>,
): void {
  const pool = turn.state.pools.get(record.pool);
  if (pool === undefined || record.ending !== null) return;
  const { bootMsMax, leaveMsMax } = pool.spec;
  const node = seen.get(record.instance);
  if (record.node === null) {
    // A creation under way ends by itself; one that was not answered may be there and paid for.
    if (record.isAsking || turn.nowMs - record.sinceMs < bootMsMax) return;
    const reason = `It has not joined within ${secondsText(bootMsMax)}.`;
    failBoot(turn, record, reason);
    endInstance(turn, record, reason);
    return;
  }
  if (node === undefined) {
    // Its node has been forgotten: it left long ago, or never came back after a restart.
    if (turn.nowMs - record.sinceMs < Math.max(bootMsMax, leaveMsMax)) return;
    endInstance(turn, record, 'Its node is no more.');
    return;
  }
  if (node.state === 'joining') {
    if (record.phase !== 'joined' || node.held > 0) return;
    if (turn.nowMs - record.sinceMs < bootMsMax) return;
    const reason = `Its node has not asked for work within ${secondsText(bootMsMax)}.`;
    failBoot(turn, record, reason);
    endInstance(turn, record, reason);
    return;
  }
  if (node.state === 'ready' || node.held > 0) return;
  const sinceMs = Math.max(node.sinceMs, node.idleSinceMs ?? node.sinceMs);
  if (turn.nowMs - sinceMs < leaveMsMax) return;
  endInstance(
    turn,
    record,
    node.state === 'draining'
      ? `It was drained and has not left within ${secondsText(leaveMsMax)}.`
      : `Its node is ${node.state} and its machine has not ended.`,
  );
}

function decide(turn: FleetTurn, view: FleetView, seen: ReadonlyMap<InstanceId, SeenNode>): void {
  const { state, nowMs } = turn;
  const plan = state.decide({
    nowMs,
    settings: state.settings.plan,
    demand: view.demand,
    pools: [...state.pools.values()].map((pool) => describePool(state, pool, { view, nowMs })),
    instances: [...state.instances.values()].map((record) => describe(state, record, seen)),
    others: view.others,
  });
  state.plan = plan;
  for (const { pool, inUse } of plan.outlooks) noteUse(state, { pool, inUse, nowMs });
  for (const decision of plan.decisions) {
    const poolName =
      decision.kind === 'create' ? decision.pool : state.instances.get(decision.instance)?.pool;
    const pool = state.pools.get(poolName ?? '');
    if (pool === undefined || pool.spec.dryRun) continue;
    if (decision.kind === 'create') {
      for (let made = 0; made < decision.count; made += 1) request(turn, pool, decision);
      continue;
    }
    const record = state.instances.get(decision.instance);
    if (record === undefined) continue;
    if (decision.kind === 'end') {
      endInstance(turn, record, decision.reason);
      continue;
    }
    record.isAsked = decision.kind === 'drain';
    const phase = decision.kind === 'drain' ? 'draining' : 'working';
    enter(turn, record, { phase, reason: decision.reason });
    const { kind, node, reason } = decision;
    // A machine on which nothing works is no common end.
    const isLoud = kind === 'drain' && (seen.get(record.instance)?.isPaused ?? false);
    tell(turn, record, { event: kind, text: reason, isLoud });
    turn.orders.push(kind === 'drain' ? { kind, node, reason } : { kind, node });
  }
}

/** What is in use now is what the next plan will know of how work comes and goes. */
function noteUse(state: FleetState, outlook: { pool: string; inUse: number; nowMs: number }): void {
  const pool = state.pools.get(outlook.pool);
  const [offer] = pool?.offers.values() ?? [];
  if (pool === undefined || offer === undefined) return;
  const { surplusIdleBoots, waitBootsMax } = state.settings.plan;
  noteLevels(pool.levels, outlook.inUse, {
    nowMs: outlook.nowMs,
    lullMsMin: surplusIdleBoots * offer.bootMs,
    lullMsMax: waitBootsMax * offer.bootMs,
  });
}

/** The intent is saved before the provider is asked: no crash leaves a machine that nobody knows of. */
function request(
  turn: FleetTurn,
  pool: PoolRecord,
  decision: { offer: string; reason: string },
): void {
  const { state, nowMs } = turn;
  const instance = `${pool.spec.pool}-${state.nextId()}` as InstanceId;
  const record: InstanceRecord = {
    instance,
    pool: pool.spec.pool,
    offer: decision.offer,
    pricePerHour: pool.offers.get(decision.offer)?.offer.pricePerHour ?? 0,
    requestedAtMs: nowMs,
    phase: 'requested',
    sinceMs: nowMs,
    reason: decision.reason,
    handle: '',
    isAsking: true,
    node: null,
    absences: 0,
    interrupted: false,
    isAsked: false,
    hasLeft: false,
    ending: null,
  };
  state.instances.set(instance, record);
  save(turn, record);
  turn.orders.push({ kind: 'create', pool: pool.spec.pool, instance, offer: decision.offer });
}

function describePool(
  state: FleetState,
  pool: PoolRecord,
  options: { view: FleetView; nowMs: number },
): FleetPool {
  const { spec } = pool;
  return {
    ...spec,
    spent: spentBy(state, pool, options.nowMs),
    images: options.view.images,
    orphansPerHour: orphansPerHour(state, pool),
    offers: [...pool.offers.values()].map((record) => ({
      ...record.offer,
      bootMs: record.bootMs,
      boots: record.boots,
      failures: record.failures,
      refusals: record.refusals,
      pausedUntilMs: record.pausedUntilMs,
      pauseReason: record.pauseReason,
      interruptions: recallInterruptions(state, record, options.nowMs),
    })),
    hold: pool.faults.length > 0 ? heldByFaults(pool) : pool.hold,
    levels: pool.levels,
  };
}

function orphansPerHour(state: FleetState, pool: PoolRecord): number {
  let perHour = 0;
  for (const orphan of state.orphans.values()) {
    if (orphan.pool === pool.spec.pool) perHour += orphan.pricePerHour;
  }
  return perHour;
}

function heldByFaults(pool: PoolRecord): { reason: string; untilMs: number } {
  return { reason: pool.faults.join(' '), untilMs: Number.POSITIVE_INFINITY };
}

/** Of an offer that the pools file no longer has. */
const noShape: InstanceShape = {
  slots: 0,
  cpus: 0,
  memoryBytes: 0,
  isolation: 'none',
  network: false,
};

function describe(
  state: FleetState,
  record: InstanceRecord,
  seen: ReadonlyMap<InstanceId, SeenNode>,
): FleetInstance {
  const node = seen.get(record.instance);
  const offer = state.pools.get(record.pool)?.offers.get(record.offer)?.offer;
  return {
    instance: record.instance,
    pool: record.pool,
    offer: record.offer,
    shape: offer?.shape ?? noShape,
    pricePerHour: record.pricePerHour,
    state: stateOf(record, node),
    requestedAtMs: record.requestedAtMs,
    isGranted: record.phase !== 'requested',
    node: node?.node ?? null,
    held: node?.held ?? 0,
    idleSinceMs: node?.idleSinceMs ?? null,
    drainingSinceMs: node?.state === 'draining' ? node.sinceMs : null,
    isEnding: record.ending !== null,
    isPaused: node?.state === 'ready' && node.isPaused,
    uniqueCacheBytes: node?.uniqueCacheBytes ?? 0,
  };
}

/** What leaves stops counting, whoever made it leave. */
function stateOf(record: InstanceRecord, node: SeenNode | undefined): FleetInstance['state'] {
  if (record.ending !== null || record.interrupted) return 'leaving';
  if (record.node === null) return 'booting';
  if (node === undefined || node.isPaused) return 'leaving';
  if (node.state === 'joining' || node.state === 'ready') return 'working';
  return node.state === 'draining' && node.drainingBy === 'autoscaler' ? 'draining' : 'leaving';
}
