/** The outputs' part of the store's twin in memory. */
import { taskKey } from '../../protocol/wire/ids.ts';
import type { MemoryRecords } from './memory-records.ts';
import type { Store, StoredOutcome, StoredOutput } from './port.ts';
import { outputCursor, readOutputCursor } from './statements/outputs.ts';

type OutputStore = Pick<Store, 'listTaskOutputs' | 'findTaskOutput' | 'listGroupOutputs'>;

export function createMemoryOutputs(records: MemoryRecords): OutputStore {
  const { outcomes } = records;
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
  };
}

function outputsOf(outcome: StoredOutcome): StoredOutput[] {
  const { batch, index, group, attempt, atMs } = outcome;
  return [...(outcome.outcome.outputs ?? [])]
    .sort((left, right) => (left.name < right.name ? -1 : 1))
    .map((output) => ({ ...output, batch, index, group, attempt, atMs }));
}
