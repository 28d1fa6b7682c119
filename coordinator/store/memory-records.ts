/** What the store's twin keeps, and how saves change it. */
import { assert } from '../../protocol/base/assert.ts';
import type {
  AttemptRef,
  BatchNumber,
  GroupId,
  NamespaceName,
  NodeId,
} from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import { findBlobReference } from '../../protocol/wire/payload.ts';
import type { TaskAssets } from '../../protocol/wire/task.ts';
import type { SaveEffect } from '../core/effects.ts';
import { cutRange, newPart } from './log-trim.ts';
import type { ImageRecords } from './memory-images.ts';
import type {
  LogChunk,
  StoredBatch,
  StoredFleetEvent,
  StoredGroup,
  StoredInstance,
  StoredNode,
  StoredOutcome,
  StoredToken,
} from './port.ts';

/** One kind of save. */
export type Save<Kind extends SaveEffect['kind']> = Extract<SaveEffect, { kind: Kind }>;

export interface MemoryBatch extends StoredBatch {
  assets: TaskAssets | null;
  block: Uint8Array;
}

export interface MemoryLog {
  chunks: { offset: number; bytes: Uint8Array }[];
  endOffset: number;
}

/** All that was saved. It outlives `close`, as a file would: open it again with `createMemoryStore`. */
export interface MemoryRecords extends ImageRecords {
  runs: number;
  removedBatchMax: number;
  namespaces: Map<NamespaceName, number>;
  groups: Map<GroupId, StoredGroup>;
  batches: Map<BatchNumber, MemoryBatch>;
  grants: Save<'saveGrant'>[];
  ends: Save<'saveAttemptEnd'>[];
  /** Keys of tasks. */
  cancelsAsked: Set<number>;
  outcomes: Map<number, StoredOutcome>;
  logs: Map<string, MemoryLog>;
  tokens: Map<string, StoredToken>;
  nodes: Map<NodeId, StoredNode>;
  instances: Map<string, StoredInstance>;
  fleetEvents: StoredFleetEvent[];
  prunedCosts: Record<string, number>;
  meta: Map<string, string>;
  /** `namespace hash` and `node hash`. */
  blobRights: Set<string>;
}

/** Nothing saved yet. */
export function createMemoryRecords(): MemoryRecords {
  return {
    runs: 0,
    removedBatchMax: 0,
    namespaces: new Map(),
    groups: new Map(),
    batches: new Map(),
    grants: [],
    ends: [],
    cancelsAsked: new Set(),
    outcomes: new Map(),
    logs: new Map(),
    tokens: new Map(),
    nodes: new Map(),
    instances: new Map(),
    fleetEvents: [],
    prunedCosts: {},
    meta: new Map(),
    blobRights: new Set(),
    images: new Map(),
    imageLogs: new Map(),
  };
}

/** Performs one save. */
export function applySave(records: MemoryRecords, save: SaveEffect): void {
  switch (save.kind) {
    case 'saveGroup': {
      const { spec, atMs } = save;
      if (!records.namespaces.has(spec.namespace)) records.namespaces.set(spec.namespace, atMs);
      records.groups.set(spec.group, {
        spec,
        createdAtMs: atMs,
        state: 'running',
        terminatedAtMs: null,
        counts: { submitted: 0, succeeded: 0, failed: 0 },
      });
      for (const hash of [spec.functionBlob, spec.cloudpickleBlob, spec.include?.blob ?? null]) {
        if (hash !== null) records.blobRights.add(`${spec.namespace} ${hash}`);
      }
      return;
    }
    case 'saveGroupLimits':
      changeGroup(records, save.group, (group) => {
        group.spec = { ...group.spec, ...save.limits };
      });
      return;
    case 'saveGroupState':
      changeGroup(records, save.group, (group) => {
        group.state = save.state;
        if (save.state !== 'running') group.terminatedAtMs ??= save.atMs;
      });
      return;
    case 'saveBatch': {
      const { kind: _kind, ...batch } = save;
      records.batches.set(save.batch, batch);
      changeGroup(records, save.group, ({ counts }) => {
        counts.submitted += save.count;
      });
      return;
    }
    case 'saveGrant':
      records.grants.push(save);
      return;
    case 'saveAttemptEnd':
      records.ends = records.ends.filter(
        (end) => taskKey(end) !== taskKey(save) || end.attempt !== save.attempt,
      );
      records.ends.push(save);
      return;
    case 'saveCancelAsked':
      records.cancelsAsked.add(taskKey(save));
      return;
    case 'saveOutcome': {
      const { kind: _kind, ...outcome } = save;
      records.outcomes.set(taskKey(save), outcome);
      changeGroup(records, save.group, ({ counts }) => {
        if (save.outcome.status === 'success') counts.succeeded += 1;
        else counts.failed += 1;
      });
      const reference = findBlobReference(save.outcome.result);
      if (reference !== undefined) records.blobRights.add(`${save.namespace} ${reference.hash}`);
      for (const { hash } of save.outcome.outputs ?? []) {
        records.blobRights.add(`${save.namespace} ${hash}`);
      }
      return;
    }
  }
}

function changeGroup(
  records: MemoryRecords,
  id: GroupId,
  change: (group: StoredGroup) => void,
): void {
  const group = records.groups.get(id);
  assert(group !== undefined, `${id} is a group that was never saved`);
  const copy = { ...group, counts: { ...group.counts } };
  change(copy);
  records.groups.set(id, copy);
}

/** Keeps a piece of output, and cuts what lies in the middle. */
export function appendLog(records: MemoryRecords, chunk: LogChunk): void {
  const log = records.logs.get(logKey(chunk)) ?? { chunks: [], endOffset: 0 };
  records.logs.set(logKey(chunk), log);
  const fresh = newPart(chunk, log.endOffset);
  if (fresh === undefined) return;
  const { offset, bytes } = fresh;
  log.chunks.push({ offset, bytes });
  log.endOffset = offset + bytes.length;
  const range = cutRange(log.endOffset);
  if (range === undefined) return;
  log.chunks = log.chunks.filter(
    (kept) => kept.offset < range.from || kept.offset + kept.bytes.length > range.to,
  );
}

/** Where an attempt's output is kept. */
export function logKey(attempt: AttemptRef): string {
  return `${taskKey(attempt)} ${attempt.attempt}`;
}
