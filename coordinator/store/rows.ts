/** From rows to what the port speaks of. */
import { assert } from '../../protocol/base/assert.ts';
import { checkGroupSpec } from '../../protocol/net/check-group-spec.ts';
import type { BatchNumber, GroupId, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import { taskOfKey } from '../../protocol/wire/ids.ts';
import type { Failure, GroupSpec, OutcomeStatus } from '../../protocol/wire/task.ts';
import { failureCodes } from '../../protocol/wire/task.ts';
import type {
  StoredBatch,
  StoredGroup,
  StoredInstance,
  StoredNode,
  StoredOutcome,
  StoredToken,
} from './port.ts';

const statuses: readonly OutcomeStatus[] = ['success', ...failureCodes];

/** A status as it is stored. */
export function statusNumber(status: OutcomeStatus): number {
  return statuses.indexOf(status);
}

/** A stored status. */
export function statusOf(number: number): OutcomeStatus {
  const status = statuses[number];
  assert(status !== undefined, `the database holds the unknown status ${number}`);
  return status;
}

/** A stored group document. */
export function readSpec(text: string): GroupSpec {
  return checkGroupSpec(JSON.parse(text), 'group');
}

export const outcomeColumns = `
  outcome.task_key as taskKey, namespace.name as namespace, outcome.number,
  grp.guid as "group", outcome.attempt, peer.name as node, outcome.status,
  outcome.runtime_ms as runtimeMs, outcome.peak_memory_bytes as peakMemoryBytes,
  outcome.log_bytes as logBytes, outcome.submitted_at_ms as submittedAtMs,
  outcome.started_at_ms as startedAtMs, outcome.at_ms as atMs, outcome.failure, outcome.result`;

export const outcomeTables = `
  outcome
  join namespace on namespace.id = outcome.namespace_id
  join grp on grp.id = outcome.group_id
  left join peer on peer.id = outcome.peer_id`;

export interface OutcomeRow {
  taskKey: number;
  namespace: NamespaceName;
  number: number;
  group: GroupId;
  attempt: number;
  node: NodeId | null;
  status: number;
  runtimeMs: number;
  peakMemoryBytes: number;
  logBytes: number;
  submittedAtMs: number;
  startedAtMs: number | null;
  atMs: number;
  failure: string | null;
  result: Uint8Array;
}

export function outcomeOf(row: OutcomeRow): StoredOutcome {
  return {
    ...taskOfKey(row.taskKey),
    namespace: row.namespace,
    outcomeNumber: row.number,
    group: row.group,
    attempt: row.attempt,
    node: row.node,
    outcome: {
      status: statusOf(row.status),
      result: row.result,
      failure: row.failure === null ? null : (JSON.parse(row.failure) as Failure),
      runtimeMs: row.runtimeMs,
      peakMemoryBytes: row.peakMemoryBytes,
      logBytes: row.logBytes,
    },
    submittedAtMs: row.submittedAtMs,
    startedAtMs: row.startedAtMs,
    atMs: row.atMs,
  };
}

export const batchColumns = `
  batch.id as batch, namespace.name as namespace, grp.guid as "group",
  batch.client_batch as clientBatch, batch.block_hash as blockHash, batch.task_count as count,
  batch.at_ms as atMs, batch.submitted_after as submittedAfter`;

export const batchTables = `
  batch
  join namespace on namespace.id = batch.namespace_id
  join grp on grp.id = batch.group_id`;

/** The columns bear the port's names, so that a row is the thing itself. */
export type BatchRow = StoredBatch & { batch: BatchNumber };

export interface GroupRow {
  id: number;
  spec: string;
  createdAtMs: number;
  state: StoredGroup['state'];
  terminatedAtMs: number | null;
  submitted: number;
  succeeded: number;
  failed: number;
}

export const groupColumns = `
  grp.id, grp.spec, grp.created_at_ms as createdAtMs, grp.state,
  grp.terminated_at_ms as terminatedAtMs, grp.submitted, grp.succeeded, grp.failed`;

export function groupOf(row: GroupRow): StoredGroup {
  const { createdAtMs, state, terminatedAtMs, submitted, succeeded, failed } = row;
  return {
    spec: readSpec(row.spec),
    createdAtMs,
    state,
    terminatedAtMs,
    counts: { submitted, succeeded, failed },
  };
}

type Listed<Stored> = Omit<Stored, 'namespaces'> & { namespaces: string | null };
export type TokenRow = Listed<StoredToken>;
export type NodeRow = Listed<StoredNode>;
export type InstanceRow = StoredInstance;

/** A row whose namespaces are a JSON list. */
export function withNamespaces<Row extends { namespaces: string | null }>(
  row: Row,
): Omit<Row, 'namespaces'> & { namespaces: readonly NamespaceName[] | null } {
  const { namespaces } = row;
  return {
    ...row,
    namespaces: namespaces === null ? null : (JSON.parse(namespaces) as NamespaceName[]),
  };
}

export function namespacesText(namespaces: readonly NamespaceName[] | null): string | null {
  return namespaces === null ? null : JSON.stringify(namespaces);
}
