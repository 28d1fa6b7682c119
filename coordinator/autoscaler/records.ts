/** Between the fleet's records and their rows in the store. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { InstanceId, NodeId } from '../../protocol/wire/ids.ts';
import { instanceOfToken } from '../instance-token.ts';
import type { Store, StoredInstance } from '../store/port.ts';
import type {
  FleetOrder,
  FleetState,
  InstanceRecord,
  OfferRecord,
  PoolRecord,
} from './lifecycle/state.ts';
import { beginEnding, beginOrphan } from './lifecycle/state.ts';

const learnedKey = 'fleetOffers';
const holdsKey = 'fleetHolds';
const orphansKey = 'fleetOrphans';
/** Machines that a refusal names. */
const strayNamesMax = 20;

/** What the fleet keeps in the store. */
export type FleetStore = Pick<Store, 'listInstances' | 'getMeta' | 'setMeta' | 'prunedCosts'>;

export function toRow(order: Extract<FleetOrder, { kind: 'save' }>): StoredInstance {
  const { instance, pool, phase, handle, reason, requestedAtMs, offer, pricePerHour, node } =
    order.instance;
  return {
    instance,
    pool,
    state: phase,
    handle,
    reason,
    requestedAtMs,
    endedAtMs: order.endedAtMs,
    offer,
    pricePerHour,
    node,
    cost: order.cost,
  };
}

/**
 * What an earlier run left. An instance whose creation was not answered stays `requested`: only a
 * listing tells whether it is there. Deadlines run from now: a node has as long to come back as a
 * new one has to join. Answers the nodes of machines that are gone.
 * @throws PerigeeError conflict when it left machines of a pool that is no more
 */
export async function loadFleet(
  store: Omit<FleetStore, 'setMeta'>,
  state: FleetState,
  nowMs: number,
): Promise<{ instance: InstanceId; node: NodeId }[]> {
  const gone: { instance: InstanceId; node: NodeId }[] = [];
  const rows = await store.listInstances({ gone: true });
  const orphans = readLines(await store.getMeta(orphansKey));
  // Before anything is taken in: nothing of a fleet that is refused may be acted on.
  const present = [...rows.filter((row) => row.state !== 'gone'), ...orphans.flatMap(readOrphan)];
  refuseStrays(state, present);
  for (const row of rows) {
    const pool = state.pools.get(row.pool);
    if (row.state !== 'gone') {
      const record = toRecord(row, nowMs);
      state.instances.set(record.instance, record);
      continue;
    }
    if (pool !== undefined) pool.spentGone += row.cost;
    if (row.node !== null) gone.push({ instance: row.instance as InstanceId, node: row.node });
  }
  for (const [name, cost] of Object.entries(await store.prunedCosts())) {
    const pool = state.pools.get(name);
    if (pool !== undefined) pool.spentGone += cost;
  }
  for (const line of readLines(await store.getMeta(learnedKey))) loadOffer(state, line, nowMs);
  for (const line of readLines(await store.getMeta(holdsKey))) loadHold(state, line, nowMs);
  loadOrphans(state, orphans, nowMs);
  return gone;
}

/** Without their pool nobody could list machines, end them or hold them against a cap. */
function refuseStrays(
  state: FleetState,
  present: readonly { instance: string; pool: string; handle?: string }[],
): void {
  const strays = present.filter(({ pool }) => !state.pools.has(pool));
  if (strays.length === 0) return;
  const pools = [...new Set(strays.map(({ pool }) => `"${pool}"`))].join(', ');
  const names = strays
    .slice(0, strayNamesMax)
    .map(({ instance, handle }) => (handle ? `${instance} (${handle})` : instance));
  const more = strays.length > names.length ? ` and ${strays.length - names.length} more` : '';
  throw new PerigeeError(
    'conflict',
    `The pools file has no pool ${pools}, of which machines may still be there: ${names.join(', ')}${more}.`,
    {
      fix: 'Put it back into the file with "max": 0, which gives its machines back, and take it out once they are gone.',
      details: { instances: strays.map(({ instance }) => instance) },
    },
  );
}

/**
 * A node may have joined, and been given work, just before the coordinator died: then the token it
 * was admitted by is all that says on which instance it runs.
 */
export async function tieNodes(
  store: Pick<Store, 'findNode' | 'listTokens'>,
  state: FleetState,
  nodes: readonly NodeId[],
): Promise<void> {
  const known = new Set([...state.instances.values()].map(({ node }) => node));
  const untied = nodes.filter((node) => !known.has(node));
  if (untied.length === 0) return;
  const tokens = await store.listTokens('join');
  const instances = new Map(tokens.map((token) => [token.id, instanceOfToken(token)]));
  for (const node of untied) {
    const instance = instances.get((await store.findNode(node))?.tokenId ?? '');
    const record = instance == null ? undefined : state.instances.get(instance);
    if (record !== undefined) record.node ??= node;
  }
}

/**
 * Keeps measured boots, so that a restart does not begin with guesses, and failures, so that it does
 * not begin to buy what has just failed. Answers what stands there now; only a change is written.
 */
export async function saveLearned(
  store: Pick<Store, 'setMeta'>,
  state: FleetState,
  saved: string,
): Promise<string> {
  const pools = [...state.pools.values()];
  const offers = pools.flatMap((pool) =>
    [...pool.offers.values()].map(({ offer, presentSinceMs: _, ...learned }) => ({
      pool: pool.spec.pool,
      offer: offer.id,
      ...learned,
    })),
  );
  const holds = pools.flatMap(({ spec, hold, holds: times }) =>
    hold === null ? [] : [{ pool: spec.pool, ...hold, times }],
  );
  const orphans = listOrphans(state);
  const text = JSON.stringify({ offers, holds, orphans });
  if (text === saved) return saved;
  await store.setMeta(learnedKey, JSON.stringify(offers));
  await store.setMeta(holdsKey, JSON.stringify(holds));
  await store.setMeta(orphansKey, JSON.stringify(orphans));
  return text;
}

type Line = Readonly<Record<string, unknown>>;

function readLines(text: string | undefined): Line[] {
  const value: unknown = JSON.parse(text ?? '[]');
  return Array.isArray(value) ? value.filter((line) => typeof line === 'object' && line) : [];
}

/** Machines that nobody asked for are no rows: what they cost, and go on costing, is kept beside. */
export function listOrphans(state: FleetState): Line[] {
  const present = [...state.orphans].map(([instance, { pool, pricePerHour, sinceMs }]) => {
    return { pool, instance, pricePerHour, sinceMs };
  });
  const spent = [...state.pools.values()].flatMap(({ spec, spentOnOrphans }) =>
    spentOnOrphans === 0 ? [] : [{ pool: spec.pool, spent: spentOnOrphans }],
  );
  return [...present, ...spent];
}

/** The reverse: they are paid for until listings say otherwise. */
export function loadOrphans(state: FleetState, lines: readonly Line[], nowMs: number): void {
  for (const line of lines) {
    for (const { instance, ...about } of readOrphan(line)) {
      const sinceMs = Math.min(about.sinceMs, nowMs);
      state.orphans.set(instance, beginOrphan({ ...about, sinceMs }, nowMs));
    }
    const pool = state.pools.get(String(line['pool']));
    if (pool === undefined) continue;
    pool.spentOnOrphans += numberOr(line['spent'], 0);
    pool.spentGone += numberOr(line['spent'], 0);
  }
}

/** One that is there, if the line tells of one. */
function readOrphan(line: Line) {
  const { instance, pool, pricePerHour, sinceMs } = line;
  if (typeof instance !== 'string') return [];
  return [
    {
      ...{ instance: instance as InstanceId, pool: String(pool) },
      ...{ pricePerHour: numberOr(pricePerHour, 0), sinceMs: numberOr(sinceMs, 0) },
    },
  ];
}

function loadOffer(state: FleetState, line: Line, nowMs: number): void {
  const pool = state.pools.get(String(line['pool']));
  const record = pool?.offers.get(String(line['offer']));
  if (pool === undefined || record === undefined) return;
  record.bootMs = numberOr(line['bootMs'], record.bootMs);
  record.boots = numberOr(line['boots'], 0);
  record.failures = numberOr(line['failures'], 0);
  record.refusals = numberOr(line['refusals'], 0);
  // JSON has no infinity: what was never paused reads as null.
  record.pausedUntilMs = pauseEnd(pool, line['pausedUntilMs'], nowMs);
  record.pauseReason = String(line['pauseReason'] ?? '');
  loadInterruptions(record, line['interruptions'], nowMs);
}

function loadInterruptions(record: OfferRecord, value: unknown, nowMs: number): void {
  if (typeof value !== 'object' || value === null) return;
  const line: Line = { ...value };
  record.interruptions = {
    count: numberOr(line['count'], 0),
    exposedMs: numberOr(line['exposedMs'], 0),
    atMs: Math.min(numberOr(line['atMs'], nowMs), nowMs),
  };
}

function loadHold(state: FleetState, line: Line, nowMs: number): void {
  const pool = state.pools.get(String(line['pool']));
  if (pool === undefined) return;
  pool.hold = {
    reason: String(line['reason']),
    untilMs: pauseEnd(pool, line['untilMs'], nowMs),
  };
  pool.holds = numberOr(line['times'], 0);
}

/** No later than a pause from now on: the clock may have been set back since. */
function pauseEnd(pool: PoolRecord, value: unknown, nowMs: number): number {
  return Math.min(numberOr(value, Number.NEGATIVE_INFINITY), nowMs + pool.spec.retryMaxMs);
}

function numberOr(value: unknown, fallback: number): number {
  return typeof value === 'number' ? value : fallback;
}

/**
 * An instance as the run that saved it left it. One that was draining with no node was being ended,
 * and perhaps the cloud was not told any more.
 */
export function toRecord(row: StoredInstance, nowMs: number): InstanceRecord {
  return {
    instance: row.instance as InstanceId,
    pool: row.pool,
    offer: row.offer,
    pricePerHour: row.pricePerHour,
    requestedAtMs: Math.min(row.requestedAtMs, nowMs),
    phase: row.state,
    sinceMs: nowMs,
    reason: row.reason,
    handle: row.handle,
    isAsking: false,
    node: row.node,
    absences: 0,
    interrupted: false,
    // What an earlier run did with it is not known any more.
    isAsked: true,
    hasLeft: false,
    ending: row.state === 'draining' && row.node === null ? beginEnding(nowMs) : null,
  };
}
