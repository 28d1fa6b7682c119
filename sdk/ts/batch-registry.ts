/** The batches that somebody still holds a task of. */
import type { BatchNumber } from '../../protocol/wire/ids.ts';
import { type BatchDescription, createTaskBatch, type TaskBatch } from './task-batch.ts';

/** Batches by number; one goes when the last `Task` of it goes. */
export interface BatchRegistry extends Iterable<TaskBatch> {
  find(number: BatchNumber): TaskBatch | undefined;
  /** The batch of that number, made when nobody holds it. */
  provide(described: BatchDescription): TaskBatch;
}

/** An empty registry. It holds batches weakly: a service that runs for years forgets what it forgot. */
export function createBatchRegistry(): BatchRegistry {
  const batches = new Map<BatchNumber, WeakRef<TaskBatch>>();
  const find = (number: BatchNumber): TaskBatch | undefined => batches.get(number)?.deref();
  const gone = new FinalizationRegistry<BatchNumber>((number) => {
    // It may have been made anew since.
    if (find(number) === undefined) batches.delete(number);
  });
  return {
    find,
    provide(described) {
      const known = find(described.batch);
      if (known !== undefined) return known;
      const batch = createTaskBatch(described);
      batches.set(batch.number, new WeakRef(batch));
      gone.register(batch, batch.number);
      return batch;
    },
    *[Symbol.iterator]() {
      for (const reference of batches.values()) {
        const batch = reference.deref();
        if (batch !== undefined) yield batch;
      }
    },
  };
}
