/** Interned names: each text once in the database, small integers everywhere else. */
import type Database from 'better-sqlite3';
import type { GroupId, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';

/** Looks names up and makes them; each look-up is a map's once it was seen. */
export interface Names {
  findNamespace(name: NamespaceName): number | undefined;
  /** Makes it when there is none. */
  namespaceId(name: NamespaceName, atMs: number): number;
  findGroup(group: GroupId): { id: number; namespaceId: number } | undefined;
  /** Makes it when there is none. */
  peerId(node: NodeId): number;
  findPeer(node: NodeId): number | undefined;
  /** What a transaction interned is not there when it was rolled back. */
  forget(): void;
}

/** Entries of one map; beyond it the map starts afresh. */
const cachedMax = 200_000;

/** Names of a database. */
export function createNames(database: Database.Database): Names {
  const namespaces = new Map<string, number>();
  const groups = new Map<string, { id: number; namespaceId: number }>();
  const peers = new Map<string, number>();
  const findNamespaceRow = database
    .prepare<[string], number>('select id from namespace where name = ?')
    .pluck();
  const addNamespace = database
    .prepare<[string, number], number>(
      'insert into namespace (name, created_at_ms) values (?, ?) returning id',
    )
    .pluck();
  const findGroupRow = database.prepare<[string], { id: number; namespaceId: number }>(
    'select id, namespace_id as namespaceId from grp where guid = ?',
  );
  const findPeerRow = database
    .prepare<[string], number>('select id from peer where name = ?')
    .pluck();
  const addPeer = database
    .prepare<[string], number>('insert into peer (name) values (?) returning id')
    .pluck();
  const remember = <Value>(map: Map<string, Value>, key: string, value: Value): Value => {
    if (map.size >= cachedMax) map.clear();
    map.set(key, value);
    return value;
  };
  const findNamespace = (name: NamespaceName): number | undefined => {
    const cached = namespaces.get(name);
    if (cached !== undefined) return cached;
    const found = findNamespaceRow.get(name);
    return found === undefined ? undefined : remember(namespaces, name, found);
  };
  const findPeer = (node: NodeId): number | undefined => {
    const cached = peers.get(node);
    if (cached !== undefined) return cached;
    const found = findPeerRow.get(node);
    return found === undefined ? undefined : remember(peers, node, found);
  };
  return {
    findNamespace,
    namespaceId: (name, atMs) =>
      findNamespace(name) ?? remember(namespaces, name, Number(addNamespace.get(name, atMs))),
    findGroup(group) {
      const cached = groups.get(group);
      if (cached !== undefined) return cached;
      const found = findGroupRow.get(group);
      return found === undefined ? undefined : remember(groups, group, found);
    },
    findPeer,
    peerId: (node) => findPeer(node) ?? remember(peers, node, Number(addPeer.get(node))),
    forget() {
      namespaces.clear();
      groups.clear();
      peers.clear();
    },
  };
}
