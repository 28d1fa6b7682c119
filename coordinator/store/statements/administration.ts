/** Namespaces, tokens, nodes, instances and settings: rarely written, each in its own transaction. */
import type Database from 'better-sqlite3';
import type { NamespaceName, NodeId } from '../../../protocol/wire/ids.ts';
import type { Names } from '../names.ts';
import type { StoredFleetEvent, StoredInstance, StoredNode, StoredToken } from '../port.ts';
import { fleetEventsMax } from '../port.ts';
import type { InstanceRow, NodeRow, TokenRow } from '../rows.ts';
import { namespacesText, withNamespaces } from '../rows.ts';

export interface Administration {
  createNamespace(namespace: NamespaceName, atMs: number): boolean;
  hasNamespace(namespace: NamespaceName): boolean;
  listNamespaces(): { namespace: NamespaceName; createdAtMs: number }[];
  removeNamespace(namespace: NamespaceName): boolean;
  saveToken(token: StoredToken): void;
  findTokenByHash(secretHash: string): StoredToken | undefined;
  listTokens(purpose: 'access' | 'join'): StoredToken[];
  revokeToken(id: string, atMs: number): boolean;
  admitNode(node: StoredNode): boolean;
  findNode(node: NodeId): StoredNode | undefined;
  saveInstance(instance: StoredInstance): void;
  listInstances(options: { gone: boolean }): StoredInstance[];
  pruneInstances(endedBeforeMs: number): void;
  prunedCosts(): Record<string, number>;
  saveFleetEvent(event: StoredFleetEvent): void;
  listFleetEvents(options: { limit: number }): StoredFleetEvent[];
  getMeta(key: string): string | undefined;
  setMeta(key: string, value: string): void;
}

const prunedCostsKey = 'fleetPrunedCosts';
const tokenColumns = `
  id, purpose, secret_hash as secretHash, label, role, namespaces, created_at_ms as createdAtMs,
  expires_at_ms as expiresAtMs, revoked_at_ms as revokedAtMs, uses_left as usesLeft`;

export function createAdministration(database: Database.Database, names: Names): Administration {
  const namespaces = createNamespaces(database, names);
  const addToken = database.prepare<unknown[]>(`
    insert into token (
      id, purpose, secret_hash, label, role, namespaces, created_at_ms, expires_at_ms,
      revoked_at_ms, uses_left
    ) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const tokenByHash = database.prepare<[string], TokenRow>(
    `select ${tokenColumns} from token where secret_hash = ?`,
  );
  const tokens = database.prepare<[string], TokenRow>(
    `select ${tokenColumns} from token where purpose = ? order by created_at_ms, id`,
  );
  const revoke = database.prepare<[number, string]>(
    'update token set revoked_at_ms = coalesce(revoked_at_ms, ?) where id = ?',
  );
  // The use is taken in the same statement that finds one left: two nodes cannot share the last.
  const useToken = database.prepare<[string, number]>(`
    update token set uses_left = uses_left - 1
    where id = ? and purpose = 'join' and revoked_at_ms is null
      and (expires_at_ms is null or expires_at_ms > ?) and (uses_left is null or uses_left > 0)`);
  const addNode = database.prepare<[number, string, string | null, number, string]>(`
    insert into node (peer_id, name, namespaces, admitted_at_ms, token_id) values (?, ?, ?, ?, ?)
    on conflict (peer_id) do update set
      name = excluded.name, namespaces = excluded.namespaces,
      admitted_at_ms = excluded.admitted_at_ms, token_id = excluded.token_id`);
  const nodeByPeer = database.prepare<[string], NodeRow>(`
    select peer.name as node, node.name, namespaces, admitted_at_ms as admittedAtMs,
      token_id as tokenId
    from node join peer on peer.id = node.peer_id where peer.name = ?`);
  const putInstance = database.prepare<StoredInstance>(`
    insert into instance (id, pool, state, handle, reason, requested_at_ms, ended_at_ms, offer,
      price_per_hour, node, cost)
    values (@instance, @pool, @state, @handle, @reason, @requestedAtMs, @endedAtMs, @offer,
      @pricePerHour, @node, @cost)
    on conflict (id) do update set
      pool = excluded.pool, state = excluded.state, handle = excluded.handle,
      reason = excluded.reason, ended_at_ms = excluded.ended_at_ms, node = excluded.node,
      cost = excluded.cost`);
  const instances = database.prepare<[number], InstanceRow>(`
    select id as instance, pool, state, handle, reason, requested_at_ms as requestedAtMs,
      ended_at_ms as endedAtMs, offer, price_per_hour as pricePerHour, node, cost
    from instance where (state = 'gone') <= ? order by requested_at_ms, id`);
  const goneCosts = database.prepare<[number], { pool: string; cost: number }>(`
    select pool, sum(cost) as cost from instance
    where state = 'gone' and ended_at_ms < ? group by pool`);
  const dropGone = database.prepare<[number]>(`
    delete from instance where state = 'gone' and ended_at_ms < ?`);
  const putEvent = database.prepare<[number, string, string | null, string, string, number]>(`
    insert into fleet_event (at_ms, pool, instance, event, text, is_loud)
    values (?, ?, ?, ?, ?, ?)`);
  const dropEvents = database.prepare<[number]>(`
    delete from fleet_event where id <= (select max(id) from fleet_event) - ?`);
  const events = database.prepare<[number], Omit<StoredFleetEvent, 'isLoud'> & { isLoud: number }>(`
    select at_ms as atMs, pool, instance, event, text, is_loud as isLoud
    from fleet_event order by id desc limit ?`);
  const getMeta = database
    .prepare<[string], string>('select value from meta where key = ?')
    .pluck();
  const setMeta = database.prepare<[string, string]>(`
    insert into meta (key, value) values (?, ?)
    on conflict (key) do update set value = excluded.value`);
  const admit = database.transaction((node: StoredNode): boolean => {
    if (useToken.run(node.tokenId, node.admittedAtMs).changes === 0) return false;
    const peer = names.peerId(node.node);
    addNode.run(peer, node.name, namespacesText(node.namespaces), node.admittedAtMs, node.tokenId);
    return true;
  });
  const prunedCosts = (): Record<string, number> =>
    JSON.parse(getMeta.get(prunedCostsKey) ?? '{}') as Record<string, number>;
  // Together: a crash between the two must neither lose what was spent nor count it twice.
  const prune = database.transaction((endedBeforeMs: number): void => {
    const costs = prunedCosts();
    for (const { pool, cost } of goneCosts.all(endedBeforeMs)) {
      costs[pool] = (costs[pool] ?? 0) + cost;
    }
    if (dropGone.run(endedBeforeMs).changes === 0) return;
    setMeta.run(prunedCostsKey, JSON.stringify(costs));
  });
  return {
    ...namespaces,
    saveToken(token) {
      addToken.run(
        token.id,
        token.purpose,
        token.secretHash,
        token.label,
        token.role,
        namespacesText(token.namespaces),
        token.createdAtMs,
        token.expiresAtMs,
        token.revokedAtMs,
        token.usesLeft,
      );
    },
    findTokenByHash(secretHash) {
      const row = tokenByHash.get(secretHash);
      return row === undefined ? undefined : withNamespaces(row);
    },
    listTokens: (purpose) => tokens.all(purpose).map(withNamespaces),
    revokeToken: (id, atMs) => revoke.run(atMs, id).changes > 0,
    admitNode: (node) => admit.immediate(node),
    findNode(node) {
      const row = nodeByPeer.get(node);
      return row === undefined ? undefined : withNamespaces(row);
    },
    saveInstance: (instance) => {
      putInstance.run(instance);
    },
    listInstances: ({ gone }) => instances.all(gone ? 1 : 0),
    pruneInstances: (endedBeforeMs) => {
      prune.immediate(endedBeforeMs);
    },
    prunedCosts,
    saveFleetEvent: database.transaction((event: StoredFleetEvent): void => {
      const { atMs, pool, instance, text } = event;
      putEvent.run(atMs, pool, instance, event.event, text, event.isLoud ? 1 : 0);
      dropEvents.run(fleetEventsMax);
    }),
    listFleetEvents: ({ limit }) =>
      events.all(limit).map((row) => ({ ...row, isLoud: row.isLoud === 1 })),
    getMeta: (key) => getMeta.get(key),
    setMeta: (key, value) => {
      setMeta.run(key, value);
    },
  };
}

type Namespaces = Pick<
  Administration,
  'createNamespace' | 'hasNamespace' | 'listNamespaces' | 'removeNamespace'
>;

/** Deletes what a namespace holds, dependants first; each statement takes the namespace's id. */
const removals = [
  `delete from log_chunk where task_key / 65536 in (select id from batch where namespace_id = ?)`,
  `delete from log_end where task_key / 65536 in (select id from batch where namespace_id = ?)`,
  `delete from attempt_end where task_key / 65536 in (select id from batch where namespace_id = ?)`,
  `delete from cancel_asked where task_key / 65536 in (select id from batch where namespace_id = ?)`,
  `delete from grant_run where batch in (select id from batch where namespace_id = ?)`,
  `delete from batch_assets where batch in (select id from batch where namespace_id = ?)`,
  `delete from block where batch in (select id from batch where namespace_id = ?)`,
  'delete from task_output where group_id in (select id from grp where namespace_id = ?)',
  'delete from outcome where namespace_id = ?',
  'delete from batch where namespace_id = ?',
  'delete from grp where namespace_id = ?',
  'delete from blob_namespace where namespace_id = ?',
  'delete from removed_until where namespace_id = ?',
  'delete from namespace where id = ?',
];

function createNamespaces(database: Database.Database, names: Names): Namespaces {
  const add = database.prepare<[string, number]>(
    'insert into namespace (name, created_at_ms) values (?, ?) on conflict do nothing',
  );
  const list = database.prepare<[], { namespace: NamespaceName; createdAtMs: number }>(
    'select name as namespace, created_at_ms as createdAtMs from namespace order by name',
  );
  const runningGroups = database
    .prepare<[number], number>(
      "select count(*) from grp where namespace_id = ? and state <> 'terminated'",
    )
    .pluck();
  const openBatches = database
    .prepare<[number], number>(
      'select count(*) from batch where namespace_id = ? and done_count < task_count',
    )
    .pluck();
  // Batch numbers are never given twice, so that ids of removed tasks stay dead.
  const keepNumber = database.prepare<[]>(`
    insert into meta (key, value) select 'removedBatchMax', max(id) from batch having max(id) > 0
    on conflict (key) do update set value = max(cast(value as integer), excluded.value)`);
  const remove = database.transaction((id: number): boolean => {
    if ((runningGroups.get(id) ?? 0) > 0 || (openBatches.get(id) ?? 0) > 0) return false;
    keepNumber.run();
    for (const removal of removals) database.prepare<[number]>(removal).run(id);
    return true;
  });
  return {
    createNamespace: (namespace, atMs) => add.run(namespace, atMs).changes > 0,
    hasNamespace: (namespace) => names.findNamespace(namespace) !== undefined,
    listNamespaces: () => list.all(),
    removeNamespace(namespace) {
      const id = names.findNamespace(namespace);
      if (id === undefined) return true;
      const removed = remove.immediate(id);
      names.forget();
      return removed;
    },
  };
}
