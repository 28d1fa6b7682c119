/** Looks up what callers name: groups by id or prefix, tasks by id, within one namespace. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { GroupId, NamespaceName, TaskRef } from '../../../protocol/wire/ids.ts';
import { findTaskRef } from '../../../protocol/wire/ids.ts';
import type { StoredBatch, StoredGroup } from '../../store/port.ts';
import type { Services } from '../services.ts';

const idDigits = 12;

/**
 * The id of a group by itself or by a unique prefix.
 * @throws PerigeeError not_found, also for groups of other namespaces; ambiguous_id
 */
export async function getGroupId(
  services: Services,
  namespace: NamespaceName,
  id: string,
): Promise<GroupId> {
  if (!/^[0-9a-f]{1,12}$/.test(id)) throw noGroup(namespace, id);
  if (id.length === idDigits) {
    // The hot path: a whole id of a group that takes tasks costs no query.
    const live = services.deps.driver.state().groups.get(id as GroupId);
    if (live !== undefined) {
      if (live.spec.namespace !== namespace) throw noGroup(namespace, id);
      return live.id;
    }
  }
  const found = await services.deps.store.findGroupsByPrefix(namespace, id);
  const [first, second] = found;
  if (first === undefined) throw noGroup(namespace, id);
  if (second !== undefined) {
    throw new PerigeeError('ambiguous_id', `"${id}" fits ${first} and ${second}.`, {
      details: { fits: found },
    });
  }
  return first;
}

/**
 * A group of a namespace as the store has it.
 * @throws PerigeeError not_found, ambiguous_id
 */
export async function getStoredGroup(
  services: Services,
  namespace: NamespaceName,
  id: string,
): Promise<StoredGroup> {
  const group = await getGroupId(services, namespace, id);
  const stored = await services.deps.store.findGroup(group);
  if (stored === undefined) throw noGroup(namespace, id);
  return stored;
}

/**
 * The batch of a task of a namespace, and the task.
 * @throws PerigeeError not_found, also for tasks of other namespaces; result_expired
 */
export async function getTask(
  services: Services,
  namespace: NamespaceName,
  id: string,
): Promise<{ task: TaskRef; batch: StoredBatch }> {
  const task = findTaskRef(id);
  const { store, retention } = services.deps;
  const batch = task === undefined ? undefined : await store.findBatch(task.batch);
  if (task !== undefined && batch === undefined) {
    if (await retention.mayHaveRemoved(namespace, task.batch)) {
      throw new PerigeeError('result_expired', `Task ${id} is not kept any more.`);
    }
  }
  if (
    task === undefined ||
    batch === undefined ||
    batch.namespace !== namespace ||
    task.index >= batch.count
  ) {
    throw new PerigeeError('not_found', `There is no task "${id.slice(0, 40)}" in ${namespace}.`, {
      fix: 'Task ids look like 17-3; `scripts/perigee tasks` lists them.',
    });
  }
  return { task, batch };
}

function noGroup(namespace: NamespaceName, id: string): PerigeeError {
  return new PerigeeError('not_found', `There is no group "${id.slice(0, 40)}" in ${namespace}.`, {
    fix: '`scripts/perigee groups` lists them; a group of another namespace needs its token.',
  });
}
