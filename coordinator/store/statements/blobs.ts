/** Who may read a blob: the namespaces that put or returned it, and the nodes that put it. */
import type Database from 'better-sqlite3';
import type { BlobHash, NamespaceName, NodeId } from '../../../protocol/wire/ids.ts';
import type { Names } from '../names.ts';
import type { BlobUpload } from '../port.ts';

export interface BlobStatements {
  grant(namespace: NamespaceName, hash: BlobHash, atMs: number): void;
  mayRead(namespace: NamespaceName, hash: BlobHash): boolean;
  recordUploads(uploads: readonly BlobUpload[]): void;
  hasUploaded(node: NodeId, hash: BlobHash): boolean;
}

export function createBlobStatements(database: Database.Database, names: Names): BlobStatements {
  const grant = database.prepare<[string, number]>(
    'insert into blob_namespace (hash, namespace_id) values (?, ?) on conflict do nothing',
  );
  const find = database.prepare<[string, number]>(
    'select 1 from blob_namespace where hash = ? and namespace_id = ?',
  );
  const record = database.prepare<[string, number]>(
    'insert into blob_peer (hash, peer_id) values (?, ?) on conflict do nothing',
  );
  const findUpload = database.prepare<[string, number]>(
    'select 1 from blob_peer where hash = ? and peer_id = ?',
  );
  const use = database.prepare<[string, number]>(`
    insert into blob (hash, used_at_ms) values (?, ?)
    on conflict do update set used_at_ms = max(used_at_ms, excluded.used_at_ms)`);
  const useNow = database.prepare<[string]>(`
    insert into blob (hash, used_at_ms) values (?, cast(unixepoch('subsec') * 1000 as integer))
    on conflict do update set used_at_ms = excluded.used_at_ms`);
  return {
    grant: (namespace, hash, atMs) => {
      use.run(hash, atMs);
      grant.run(hash, names.namespaceId(namespace, atMs));
    },
    mayRead(namespace, hash) {
      const id = names.findNamespace(namespace);
      return id !== undefined && find.get(hash, id) !== undefined;
    },
    recordUploads: database.transaction((uploads: readonly BlobUpload[]) => {
      for (const { node, hash } of uploads) {
        useNow.run(hash);
        record.run(hash, names.peerId(node));
      }
    }).immediate,
    hasUploaded(node, hash) {
      const id = names.findPeer(node);
      return id !== undefined && findUpload.get(hash, id) !== undefined;
    },
  };
}
