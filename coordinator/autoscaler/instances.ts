/**
 * What was asked of the provider and is not known to have ended: a row in the store for each, saved
 * before the provider is called, so that no crash leaves a machine that nobody knows of.
 */
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { Store, StoredInstance } from '../store/port.ts';

export interface Instances {
  /** Reads the rows of an earlier run. */
  load(): Promise<void>;
  /** All and only instances that are not gone, oldest first. */
  list(): readonly StoredInstance[];
  find(instance: InstanceId): StoredInstance | undefined;
  /** Saves a row; it is in the list at once, on disk when this resolves. */
  save(row: StoredInstance): Promise<void>;
  /** Changes a row that is in the list; nothing happens when it is not. */
  change(instance: InstanceId, change: Partial<StoredInstance>): Promise<void>;
}

export function createInstances(store: Pick<Store, 'listInstances' | 'saveInstance'>): Instances {
  const rows = new Map<string, StoredInstance>();
  const save = async (row: StoredInstance): Promise<void> => {
    if (row.state === 'gone') rows.delete(row.instance);
    else rows.set(row.instance, row);
    await store.saveInstance(row);
  };
  return {
    async load() {
      for (const row of await store.listInstances({ gone: false })) rows.set(row.instance, row);
    },
    list: () => [...rows.values()],
    find: (instance) => rows.get(instance),
    save,
    async change(instance, change) {
      const row = rows.get(instance);
      if (row !== undefined) await save({ ...row, ...change });
    },
  };
}
