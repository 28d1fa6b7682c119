/**
 * The store's twin in memory, for tests and simulations of what stands on it. It keeps what the
 * effects said and answers from that; nothing of SQLite's layout is repeated here.
 */
import { assert } from '../../protocol/base/assert.ts';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { AttemptRef, BlobHash, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { ImageStore } from '../images/image.ts';
import { createMemoryImages } from './memory-images.ts';
import { createMemoryOutputs } from './memory-outputs.ts';
import type { MemoryBatch, MemoryRecords, Save } from './memory-records.ts';
import { appendLog, applySave, createMemoryRecords, logKey } from './memory-records.ts';
import { restoreRecords } from './memory-restore.ts';
import type { Store, StoredAttempt, StoredBatch, StoredOutcome, StorePage } from './port.ts';
import { fleetEventsMax } from './port.ts';

/** A store over records. */
export function createMemoryStore(records: MemoryRecords = createMemoryRecords()): Store {
  return {
    ...createWork(records),
    ...createOutcomes(records),
    ...createAdministration(records),
    ...createMemoryImages(records),
    ...createMemoryOutputs(records),
    close: async () => {},
  };
}

type Part<Name extends keyof Store> = Pick<Store, Name>;

function createWork(
  records: MemoryRecords,
): Part<
  | 'restore'
  | 'commit'
  | 'findBatchByClient'
  | 'findBatch'
  | 'getBlock'
  | 'findGroup'
  | 'findGroupsByPrefix'
  | 'listGroups'
  | 'listBatches'
> {
  const batchesOf = (namespace: NamespaceName): MemoryBatch[] =>
    [...records.batches.values()].filter((batch) => batch.namespace === namespace);
  return {
    async restore() {
      records.runs += 1;
      return restoreRecords(records);
    },
    async commit({ saves, logs }) {
      // Checked before anything changes: a transaction is all or nothing.
      for (const save of saves) {
        const isSecond = save.kind === 'saveOutcome' && records.outcomes.has(taskKey(save));
        assert(!isSecond, 'a second outcome of a task');
      }
      for (const save of saves) applySave(records, save);
      for (const chunk of logs) appendLog(records, chunk);
    },
    findBatchByClient: async (namespace, clientBatch) => {
      const found = batchesOf(namespace).find((batch) => batch.clientBatch === clientBatch);
      return found === undefined ? undefined : withoutBlock(found);
    },
    findBatch: async (number) => {
      const found = records.batches.get(number);
      return found === undefined ? undefined : withoutBlock(found);
    },
    async getBlock(number) {
      const found = records.batches.get(number);
      assert(found !== undefined, `batch ${number} has no block`);
      return found.block;
    },
    findGroup: async (group) => records.groups.get(group),
    findGroupsByPrefix: async (namespace, prefix) =>
      [...records.groups.values()]
        .filter(({ spec }) => spec.namespace === namespace && spec.group.startsWith(prefix))
        .map(({ spec }) => spec.group)
        .sort()
        .slice(0, 2),
    listGroups: async (namespace, { limit, cursor, name }) => {
      const groups = [...records.groups.values()].filter(
        ({ spec }) => spec.namespace === namespace && (name === null || spec.name === name),
      );
      return page(groups, { limit, cursor });
    },
    listBatches: async (namespace, { group, limit, cursor }) => {
      const batches = batchesOf(namespace).filter(
        (batch) => group === null || batch.group === group,
      );
      const { items, next } = page(batches, { limit, cursor });
      return { items: items.map(withoutBlock), next };
    },
  };
}

function createOutcomes(
  records: MemoryRecords,
): Part<
  | 'findOutcome'
  | 'listOutcomes'
  | 'listBatchOutcomes'
  | 'listAttempts'
  | 'latestOutcomeNumber'
  | 'readLog'
  | 'logOffset'
> {
  const sorted = (): StoredOutcome[] =>
    [...records.outcomes.values()].sort((left, right) => left.outcomeNumber - right.outcomeNumber);
  return {
    findOutcome: async (task) => records.outcomes.get(taskKey(task)),
    listOutcomes: async (namespace, { after, limit, groups }) =>
      sorted()
        .filter((saved) => saved.namespace === namespace && saved.outcomeNumber > after)
        .filter((saved) => groups === null || groups.includes(saved.group))
        .slice(0, limit),
    listBatchOutcomes: async (batch, { afterIndex, limit }) =>
      [...records.outcomes.values()]
        .filter((saved) => saved.batch === batch && saved.index > afterIndex)
        .sort((left, right) => left.index - right.index)
        .slice(0, limit),
    async listAttempts(task) {
      const settled = records.outcomes.get(taskKey(task));
      return records.grants
        .filter(({ batch, lo, count }) => {
          return batch === task.batch && lo <= task.index && task.index < lo + count;
        })
        .sort((left, right) => left.attempt - right.attempt)
        .map((grant) => ledgerLine(records, { ...task, attempt: grant.attempt }, grant, settled));
    },
    latestOutcomeNumber: async (namespace) =>
      Math.max(
        0,
        ...sorted()
          .filter((saved) => saved.namespace === namespace)
          .map((saved) => saved.outcomeNumber),
      ),
    async readLog(attempt, { offset, bytesMax }) {
      const log = records.logs.get(logKey(attempt)) ?? { chunks: [], endOffset: 0 };
      const chunks: { offset: number; bytes: Uint8Array }[] = [];
      let left = bytesMax;
      for (const chunk of log.chunks) {
        const skipped = Math.max(0, offset - chunk.offset);
        if (skipped >= chunk.bytes.length || left <= 0) continue;
        const bytes = chunk.bytes.subarray(skipped, skipped + left);
        left -= bytes.length;
        chunks.push({ offset: chunk.offset + skipped, bytes });
      }
      return { chunks, endOffset: log.endOffset };
    },
    logOffset: async (attempt) => records.logs.get(logKey(attempt))?.endOffset ?? 0,
  };
}

function ledgerLine(
  records: MemoryRecords,
  attempt: AttemptRef,
  grant: Save<'saveGrant'>,
  settled: StoredOutcome | undefined,
): StoredAttempt {
  const end = records.ends.find(
    (saved) => taskKey(saved) === taskKey(attempt) && saved.attempt === attempt.attempt,
  );
  const settles =
    settled !== undefined && settled.attempt === attempt.attempt ? settled : undefined;
  return {
    attempt: attempt.attempt,
    node: grant.node,
    grantedAtMs: grant.atMs,
    end: end?.end ?? settles?.outcome.status ?? null,
    charged: end?.charged ?? false,
    message: end?.message ?? settles?.outcome.failure?.message ?? '',
    endedAtMs: end?.atMs ?? settles?.atMs ?? null,
  };
}

function createAdministration(
  records: MemoryRecords,
): Omit<
  Store,
  | 'close'
  | keyof ImageStore
  | keyof ReturnType<typeof createWork>
  | keyof ReturnType<typeof createOutcomes>
  | keyof ReturnType<typeof createMemoryOutputs>
> {
  const { namespaces, tokens, nodes, instances, fleetEvents, meta, blobRights, prunedCosts } =
    records;
  const right = (holder: NamespaceName | NodeId, hash: BlobHash): string => `${holder} ${hash}`;
  return {
    async createNamespace(namespace, atMs) {
      if (namespaces.has(namespace)) return false;
      namespaces.set(namespace, atMs);
      return true;
    },
    hasNamespace: async (namespace) => namespaces.has(namespace),
    listNamespaces: async () =>
      [...namespaces]
        .map(([namespace, createdAtMs]) => ({ namespace, createdAtMs }))
        .sort((left, rightHand) => (left.namespace < rightHand.namespace ? -1 : 1)),
    removeNamespace: async (namespace) => removeNamespace(records, namespace),
    async saveToken(token) {
      tokens.set(token.id, token);
    },
    findTokenByHash: async (secretHash) =>
      [...tokens.values()].find((token) => token.secretHash === secretHash),
    listTokens: async (purpose) =>
      [...tokens.values()].filter((token) => token.purpose === purpose),
    async revokeToken(id, atMs) {
      const token = tokens.get(id);
      if (token === undefined) return false;
      tokens.set(id, { ...token, revokedAtMs: token.revokedAtMs ?? atMs });
      return true;
    },
    async admitNode(node) {
      const token = tokens.get(node.tokenId);
      if (token?.purpose !== 'join' || token.revokedAtMs !== null) return false;
      if (token.expiresAtMs !== null && token.expiresAtMs <= node.admittedAtMs) return false;
      if (token.usesLeft === 0) return false;
      const usesLeft = token.usesLeft === null ? null : token.usesLeft - 1;
      tokens.set(token.id, { ...token, usesLeft });
      nodes.set(node.node, node);
      return true;
    },
    findNode: async (node) => nodes.get(node),
    async grantBlob(namespace, hash, atMs) {
      if (!namespaces.has(namespace)) namespaces.set(namespace, atMs);
      blobRights.add(right(namespace, hash));
    },
    mayReadBlob: async (namespace, hash) => blobRights.has(right(namespace, hash)),
    async recordUploads(uploads) {
      for (const { node, hash } of uploads) blobRights.add(right(node, hash));
    },
    hasUploaded: async (node, hash) => blobRights.has(right(node, hash)),
    async saveInstance(instance) {
      instances.set(instance.instance, instance);
    },
    async saveFleetEvent(event) {
      fleetEvents.unshift(event);
      fleetEvents.splice(fleetEventsMax);
    },
    listFleetEvents: async ({ limit }) => fleetEvents.slice(0, limit),
    listInstances: async ({ gone }) =>
      [...instances.values()].filter(({ state }) => gone || state !== 'gone'),
    async pruneInstances(endedBeforeMs) {
      for (const { instance, pool, state, endedAtMs, cost } of [...instances.values()]) {
        if (state !== 'gone' || endedAtMs === null || endedAtMs >= endedBeforeMs) continue;
        instances.delete(instance);
        prunedCosts[pool] = (prunedCosts[pool] ?? 0) + cost;
      }
    },
    prunedCosts: async () => ({ ...prunedCosts }),
    getMeta: async (key) => meta.get(key),
    async setMeta(key, value) {
      meta.set(key, value);
    },
  };
}

function removeNamespace(records: MemoryRecords, namespace: NamespaceName): boolean {
  const groups = [...records.groups.values()].filter(({ spec }) => spec.namespace === namespace);
  const isOpen = groups.some(({ state, counts }) => {
    return state !== 'terminated' || counts.succeeded + counts.failed < counts.submitted;
  });
  if (isOpen) return false;
  for (const { spec } of groups) records.groups.delete(spec.group);
  for (const [number, batch] of records.batches) {
    records.removedBatchMax = Math.max(records.removedBatchMax, number);
    if (batch.namespace === namespace) records.batches.delete(number);
  }
  for (const [key, saved] of records.outcomes) {
    if (saved.namespace === namespace) records.outcomes.delete(key);
  }
  for (const key of records.blobRights) {
    if (key.startsWith(`${namespace} `)) records.blobRights.delete(key);
  }
  records.namespaces.delete(namespace);
  return true;
}

function withoutBlock(batch: MemoryBatch): StoredBatch {
  const { block: _block, assets: _assets, ...stored } = batch;
  return stored;
}

/** Newest first; the cursor is how many are older. */
function page<Item>(
  items: readonly Item[],
  options: { limit: number; cursor: string | null },
): StorePage<Item> {
  const end = options.cursor === null ? items.length : Number(options.cursor);
  if (!Number.isSafeInteger(end) || end < 0) {
    throw new PerigeeError('invalid_request', 'The cursor is not one that a list answered.');
  }
  const start = Math.max(0, end - options.limit);
  return {
    items: items.slice(start, end).reverse(),
    next: start === 0 ? null : String(start),
  };
}
