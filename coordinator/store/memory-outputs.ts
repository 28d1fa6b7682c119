/** The outputs' part of the store's twin in memory. */
import type { BlobHash, NamespaceName } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { MemoryRecords } from './memory-records.ts';
import type { Store, StoredOutcome, StoredOutput } from './port.ts';
import { outputCursor, readOutputCursor } from './statements/outputs.ts';

type OutputStore = Pick<
  Store,
  | 'listTaskOutputs'
  | 'findTaskOutput'
  | 'listGroupOutputs'
  | 'recordOutputBlob'
  | 'listOutputBlobs'
  | 'forgetOutputBlob'
>;

export function createMemoryOutputs(records: MemoryRecords): OutputStore {
  const { outcomes, outputBlobs, blobRights, namespaces } = records;
  const isReferenced = (hash: BlobHash): boolean =>
    [...namespaces.keys()].some((namespace: NamespaceName) =>
      blobRights.has(`${namespace} ${hash}`),
    );
  return {
    async listTaskOutputs(task) {
      const outcome = outcomes.get(taskKey(task));
      return outcome === undefined ? [] : outputsOf(outcome);
    },
    async findTaskOutput(task, name) {
      const outcome = outcomes.get(taskKey(task));
      if (outcome === undefined) return undefined;
      return outputsOf(outcome).find((output) => output.name === name);
    },
    async listGroupOutputs(group, { limit, cursor }) {
      const after = readOutputCursor(cursor);
      const all = [...outcomes.values()]
        .filter((outcome) => outcome.group === group)
        .sort((left, right) => taskKey(left) - taskKey(right))
        .flatMap(outputsOf)
        .filter((output) => {
          const key = taskKey(output);
          return key > after.taskKey || (key === after.taskKey && output.name > after.name);
        });
      const items = all.slice(0, limit);
      const last = items.at(-1);
      return {
        items,
        next: all.length > limit && last !== undefined ? outputCursor(last) : null,
      };
    },
    async recordOutputBlob(hash) {
      outputBlobs.add(hash);
    },
    listOutputBlobs: async ({ after, limit }) =>
      [...outputBlobs]
        .sort()
        .filter((hash) => hash > after)
        .slice(0, limit)
        .map((hash) => ({ hash, isReferenced: isReferenced(hash) })),
    async forgetOutputBlob(hash) {
      outputBlobs.delete(hash);
      for (const right of blobRights) if (right.endsWith(` ${hash}`)) blobRights.delete(right);
    },
  };
}

function outputsOf(outcome: StoredOutcome): StoredOutput[] {
  const { batch, index, group, attempt, atMs } = outcome;
  return [...(outcome.outcome.outputs ?? [])]
    .sort((left, right) => (left.name < right.name ? -1 : 1))
    .map((output) => ({ ...output, batch, index, group, attempt, atMs }));
}
