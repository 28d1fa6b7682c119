/**
 * Groups, batches, grants and ends of attempts. No task has a row while it is queued: a batch of
 * 1,000 tasks costs 0.34 µs a task as one block, 3.4 µs as rows, and a grant of a run is one row
 * however many tasks it has.
 */
import type Database from 'better-sqlite3';
import { assert } from '../../../protocol/base/assert.ts';
import { writeAssetList } from '../../../protocol/wire/asset-list.ts';
import { taskKey } from '../../../protocol/wire/ids.ts';
import type { SaveEffect } from '../../core/effects.ts';
import type { Names } from '../names.ts';
import { readSpec } from '../rows.ts';
import type { BlobStatements } from './blobs.ts';

/** Everything that is saved but outcomes. */
export type SaveWork = Exclude<SaveEffect, { kind: 'saveOutcome' }>;

/** Writes one save, within the caller's transaction. */
export function createWorkWriter(
  database: Database.Database,
  names: Names,
  blobs: BlobStatements,
): (save: SaveWork) => void {
  const addGroup = database.prepare<[string, number, string, string, number]>(`
    insert into grp (guid, namespace_id, name, spec, created_at_ms, state)
    values (?, ?, ?, ?, ?, 'running')`);
  const getSpec = database.prepare<[string], string>('select spec from grp where guid = ?').pluck();
  const setSpec = database.prepare<[string, string]>('update grp set spec = ? where guid = ?');
  const setState = database.prepare<[string, number | null, string]>(
    'update grp set state = ?, terminated_at_ms = coalesce(terminated_at_ms, ?) where guid = ?',
  );
  const addBatch = database.prepare<unknown[]>(`
    insert into batch (
      id, namespace_id, group_id, client_batch, block_hash, task_count, at_ms, submitted_after
    ) values (?, ?, ?, ?, ?, ?, ?, ?)`);
  const addBlock = database.prepare<[number, Uint8Array]>(
    'insert into block (batch, bytes) values (?, ?)',
  );
  const addAssets = database.prepare<[number, Uint8Array]>(
    'insert into batch_assets (batch, bytes) values (?, ?)',
  );
  const countSubmitted = database.prepare<[number, number]>(
    'update grp set submitted = submitted + ? where id = ?',
  );
  const addGrant = database.prepare<[number, number, number, number, number, number]>(`
    insert into grant_run (batch, lo, attempt, task_count, peer_id, at_ms)
    values (?, ?, ?, ?, ?, ?)`);
  const addEnd = database.prepare<[number, number, number, string, number, string, number]>(`
    insert into attempt_end (task_key, attempt, peer_id, ending, charged, message, at_ms)
    values (?, ?, ?, ?, ?, ?, ?)
    on conflict (task_key, attempt) do update set ending = excluded.ending,
      charged = excluded.charged, message = excluded.message, at_ms = excluded.at_ms`);
  const addCancel = database.prepare<[number, number]>(
    'insert into cancel_asked (task_key, at_ms) values (?, ?) on conflict do nothing',
  );
  const saveBatch = (save: Extract<SaveWork, { kind: 'saveBatch' }>): void => {
    const group = names.findGroup(save.group);
    assert(group !== undefined, `batch ${save.batch} of ${save.group}, which was never saved`);
    addBatch.run(
      save.batch,
      names.namespaceId(save.namespace, save.atMs),
      group.id,
      save.clientBatch,
      save.blockHash,
      save.count,
      save.atMs,
      save.submittedAfter,
    );
    addBlock.run(save.batch, save.block);
    if (save.assets !== null) addAssets.run(save.batch, writeAssetList(save.assets));
    countSubmitted.run(save.count, group.id);
  };
  return (save) => {
    switch (save.kind) {
      case 'saveGroup': {
        const { spec, atMs } = save;
        const namespaceId = names.namespaceId(spec.namespace, atMs);
        addGroup.run(spec.group, namespaceId, spec.name, JSON.stringify(spec), atMs);
        blobs.grant(spec.namespace, spec.functionBlob, atMs);
        if (spec.cloudpickleBlob !== null) blobs.grant(spec.namespace, spec.cloudpickleBlob, atMs);
        if (spec.include !== undefined) blobs.grant(spec.namespace, spec.include.blob, atMs);
        return;
      }
      case 'saveGroupLimits': {
        const text = getSpec.get(save.group);
        assert(text !== undefined, `limits of ${save.group}, a group that was never saved`);
        setSpec.run(JSON.stringify({ ...readSpec(text), ...save.limits }), save.group);
        return;
      }
      case 'saveGroupState':
        setState.run(save.state, save.state === 'running' ? null : save.atMs, save.group);
        return;
      case 'saveBatch':
        saveBatch(save);
        return;
      case 'saveGrant': {
        const peer = names.peerId(save.node);
        addGrant.run(save.batch, save.lo, save.attempt, save.count, peer, save.atMs);
        return;
      }
      case 'saveAttemptEnd': {
        const peer = names.peerId(save.node);
        const charged = save.charged ? 1 : 0;
        addEnd.run(taskKey(save), save.attempt, peer, save.end, charged, save.message, save.atMs);
        return;
      }
      case 'saveCancelAsked':
        addCancel.run(taskKey(save), save.atMs);
        return;
    }
  };
}
