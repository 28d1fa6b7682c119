/** Between the fleet's records and their rows in the store. */
import type { InstanceId, NodeId } from '../../protocol/wire/ids.ts';
import { instanceOfToken } from '../instance-token.ts';
import type { Store, StoredInstance } from '../store/port.ts';
import type { FleetOrder, FleetState, InstanceRecord } from './lifecycle/state.ts';

const offersKey = 'fleetOffers';

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
 */
export async function loadFleet(
  store: Pick<Store, 'listInstances' | 'getMeta'>,
  state: FleetState,
  nowMs: number,
): Promise<{ instance: InstanceId; node: NodeId }[]> {
  const gone: { instance: InstanceId; node: NodeId }[] = [];
  for (const row of await store.listInstances({ gone: true })) {
    const pool = state.pools.get(row.pool);
    if (row.state !== 'gone') {
      const record = toRecord(row, nowMs);
      state.instances.set(record.instance, record);
      continue;
    }
    if (pool !== undefined) pool.spentGone += row.cost;
    if (row.node !== null) gone.push({ instance: row.instance as InstanceId, node: row.node });
  }
  const known: unknown = JSON.parse((await store.getMeta(offersKey)) ?? '[]');
  for (const line of Array.isArray(known) ? known : []) {
    const { pool, offer, bootMs, boots } = line as Record<string, unknown>;
    const record = state.pools.get(String(pool))?.offers.get(String(offer));
    if (record === undefined || typeof bootMs !== 'number' || typeof boots !== 'number') continue;
    record.bootMs = bootMs;
    record.boots = boots;
  }
  return gone;
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

/** Keeps measured boots, so that a restart does not begin with guesses. */
export async function saveOffers(store: Pick<Store, 'setMeta'>, state: FleetState): Promise<void> {
  const lines = [...state.pools.values()].flatMap((pool) =>
    [...pool.offers.values()].map(({ offer, bootMs, boots }) => ({
      pool: pool.spec.pool,
      offer: offer.id,
      bootMs,
      boots,
    })),
  );
  await store.setMeta(offersKey, JSON.stringify(lines));
}

function toRecord(row: StoredInstance, nowMs: number): InstanceRecord {
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
    ending: null,
  };
}
