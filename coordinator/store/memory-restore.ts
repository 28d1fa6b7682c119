/** What the store's twin tells the core at the start of a run. */
import type { GroupId, NamespaceName } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { RestoredBatch, RestoredState } from '../core/events.ts';
import type { MemoryBatch, MemoryRecords } from './memory-records.ts';

/** The state of the run before, as SQLite's store would read it. */
export function restoreRecords(records: MemoryRecords): RestoredState {
  const latest = new Map<NamespaceName, number>();
  for (const name of records.namespaces.keys()) latest.set(name, 0);
  for (const { namespace, outcomeNumber } of records.outcomes.values()) {
    latest.set(namespace, Math.max(latest.get(namespace) ?? 0, outcomeNumber));
  }
  const numbers = [records.removedBatchMax, ...records.batches.keys()];
  return {
    groups: [...records.groups.values()].map(({ spec, createdAtMs, state, counts }) => ({
      spec,
      createdAtMs,
      state,
      counts: {
        queued: counts.submitted - counts.succeeded - counts.failed,
        succeeded: counts.succeeded,
        failed: counts.failed,
      },
      runtimeMs: state === 'terminated' ? null : meanRuntime(records, spec.group),
    })),
    batches: [...records.batches.values()].flatMap((batch) => {
      const restored = restoreBatch(records, batch);
      return restored.doneCount < batch.count ? [restored] : [];
    }),
    nextBatch: Math.max(...numbers) + 1,
    outcomeNumbers: [...latest],
    nextSession: records.runs * 2 ** 32 + 1,
  };
}

function meanRuntime(records: MemoryRecords, group: GroupId): number | null {
  const latest = [...records.outcomes.values()]
    .filter((saved) => saved.group === group && saved.outcome.status === 'success')
    .sort((left, right) => right.outcomeNumber - left.outcomeNumber)
    .slice(0, 20);
  if (latest.length === 0) return null;
  return latest.reduce((sum, { outcome }) => sum + outcome.runtimeMs, 0) / latest.length;
}

function restoreBatch(records: MemoryRecords, batch: MemoryBatch): RestoredBatch {
  const grants = records.grants.filter((grant) => grant.batch === batch.batch);
  const indexes = Array.from({ length: batch.count }, (_, index) => index);
  const isGranted = (index: number): boolean =>
    grants.some((grant) => grant.lo <= index && index < grant.lo + grant.count);
  const next = indexes.find((index) => !isGranted(index)) ?? batch.count;
  const isDone = (index: number): boolean =>
    records.outcomes.has(taskKey({ batch: batch.batch, index }));
  const open = indexes.flatMap((index) => {
    const covering = grants.filter((grant) => grant.lo <= index && index < grant.lo + grant.count);
    const latest = covering.sort((left, right) => right.attempt - left.attempt)[0];
    if (latest === undefined || isDone(index)) return [];
    const ends = records.ends.filter((end) => end.batch === batch.batch && end.index === index);
    const latestEnd = ends.find((end) => end.attempt === latest.attempt);
    const killedOn = ends.filter(({ end }) => end === 'crash').map(({ node }) => node);
    return [
      {
        index,
        attempt: latest.attempt,
        node: latest.node,
        grantedAtMs: latest.atMs,
        ended: latestEnd !== undefined,
        adoptable: latestEnd?.end === 'lost',
        cancelAsked: records.cancelsAsked.has(taskKey({ batch: batch.batch, index })),
        charges: ends.filter(({ charged }) => charged).length,
        losses: ends.filter(({ end }) => end === 'lost').length,
        killedOn: [...new Set(killedOn)],
      },
    ];
  });
  return {
    batch: batch.batch,
    group: batch.group,
    count: batch.count,
    submittedAtMs: batch.atMs,
    assets: batch.assets,
    next,
    doneCount: indexes.filter(isDone).length,
    doneAhead: indexes.filter((index) => index >= next && isDone(index)),
    open,
  };
}
