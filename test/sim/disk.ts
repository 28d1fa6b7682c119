/**
 * The coordinator's disk in a simulation: what survives its death. Every save is held against the
 * promises as it is written, and the state of a restarted coordinator is read back from here alone.
 */
import type { CoordinatorEffect, SaveEffect } from '../../coordinator/core/effects.ts';
import type { RestoredBatch, RestoredState } from '../../coordinator/core/events.ts';
import type { BatchNumber, GroupId, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import { formatTaskId, type TaskRef, taskKey } from '../../protocol/wire/ids.ts';
import type { GroupSpec, OutcomeStatus, TaskAssets } from '../../protocol/wire/task.ts';
import { promise } from './broken-promise.ts';

export interface DiskAttempt {
  node: NodeId;
  grantedAtMs: number;
  end: string | null;
  charged: boolean;
}

export interface DiskTask {
  attempts: DiskAttempt[];
  outcome: { status: OutcomeStatus; attempt: number } | null;
  cancelAsked: boolean;
}

export interface DiskBatch {
  batch: BatchNumber;
  namespace: NamespaceName;
  group: GroupId;
  clientBatch: string;
  count: number;
  atMs: number;
  submittedAfter: number;
  assets: TaskAssets | null;
  tasks: Map<number, DiskTask>;
}

interface DiskGroup {
  spec: GroupSpec;
  createdAtMs: number;
  state: 'running' | 'draining' | 'terminated';
}

export interface Disk {
  readonly groups: ReadonlyMap<GroupId, DiskGroup>;
  readonly batches: ReadonlyMap<BatchNumber, DiskBatch>;
  findByClient(clientBatch: string): DiskBatch | undefined;
  findTask(task: TaskRef): DiskTask | undefined;
  /** Writes the saves of a tick, all of them or (on a crash before) none. */
  commit(saves: readonly SaveEffect[]): void;
  restore(): RestoredState;
}

export interface DiskWitness {
  /** Called before a save is written, to hold it against what happened in the world. */
  onOutcome(save: Extract<SaveEffect, { kind: 'saveOutcome' }>): void;
  onAttemptEnd(save: Extract<SaveEffect, { kind: 'saveAttemptEnd' }>): void;
}

/** Whether an effect is to be on disk before anything else of its tick is done. */
export function isSave(effect: CoordinatorEffect): effect is SaveEffect {
  return effect.kind.startsWith('save');
}

/** An empty disk. */
export function createDisk(witness: DiskWitness): Disk {
  const groups = new Map<GroupId, DiskGroup>();
  const batches = new Map<BatchNumber, DiskBatch>();
  const byClient = new Map<string, DiskBatch>();
  const outcomeNumbers = new Map<NamespaceName, number>();
  let nextSession = 1;

  const taskOf = (ref: TaskRef): DiskTask => {
    const batch = batches.get(ref.batch);
    promise(batch !== undefined, () => `${formatTaskId(ref)} was saved before its batch`);
    promise(ref.index < batch.count, () => `${formatTaskId(ref)} is beyond its batch`);
    let task = batch.tasks.get(ref.index);
    if (task === undefined) {
      task = { attempts: [], outcome: null, cancelAsked: false };
      batch.tasks.set(ref.index, task);
    }
    return task;
  };

  const write = (save: SaveEffect): void => {
    switch (save.kind) {
      case 'saveGroup':
        groups.set(save.spec.group, { spec: save.spec, createdAtMs: save.atMs, state: 'running' });
        break;
      case 'saveGroupLimits':
        break;
      case 'saveGroupState': {
        const group = groups.get(save.group);
        promise(group !== undefined, () => `group ${save.group} changed before it was saved`);
        group.state = save.state;
        break;
      }
      case 'saveBatch': {
        promise(!batches.has(save.batch), () => `batch ${save.batch} was numbered twice`);
        promise(!byClient.has(save.clientBatch), () => `${save.clientBatch} was taken twice`);
        const batch: DiskBatch = { ...save, tasks: new Map() };
        batches.set(save.batch, batch);
        byClient.set(save.clientBatch, batch);
        break;
      }
      case 'saveGrant':
        for (let index = save.lo; index < save.lo + save.count; index += 1) {
          writeGrant(taskOf({ batch: save.batch, index }), save, index);
        }
        break;
      case 'saveAttemptEnd': {
        witness.onAttemptEnd(save);
        const attempt = taskOf(save).attempts[save.attempt - 1];
        promise(
          attempt !== undefined,
          () => `${formatTaskId(save)} ended an attempt never granted`,
        );
        // One declared lost may turn out to be there after all, and end again.
        promise(
          attempt.end === null || attempt.end === 'lost',
          () => `${formatTaskId(save)} ended attempt ${save.attempt} twice`,
        );
        attempt.end = save.end;
        attempt.charged = save.charged;
        break;
      }
      case 'saveCancelAsked':
        taskOf(save).cancelAsked = true;
        break;
      case 'saveOutcome': {
        witness.onOutcome(save);
        const task = taskOf(save);
        promise(task.outcome === null, () => `${formatTaskId(save)} got a second outcome`);
        promise(
          save.attempt === 0 || save.attempt === task.attempts.length,
          () =>
            `${formatTaskId(save)} was settled by attempt ${save.attempt} after ${task.attempts.length} had been granted`,
        );
        const number = (outcomeNumbers.get(save.namespace) ?? 0) + 1;
        promise(
          save.outcomeNumber === number,
          () => `outcome ${save.outcomeNumber} follows ${number - 1}`,
        );
        outcomeNumbers.set(save.namespace, number);
        task.outcome = { status: save.outcome.status, attempt: save.attempt };
        break;
      }
    }
  };

  return {
    groups,
    batches,
    findByClient: (clientBatch) => byClient.get(clientBatch),
    findTask: (ref) => batches.get(ref.batch)?.tasks.get(ref.index),
    commit: (saves) => {
      for (const save of saves) write(save);
    },
    restore() {
      nextSession += 1_000_000;
      return {
        groups: [...groups.values()].map((group) => ({
          ...group,
          counts: countTasks(group.spec.group, batches),
          runtimeMs: null,
        })),
        batches: [...batches.values()]
          .map(restoreBatch)
          .filter((batch) => batch.doneCount < batch.count),
        nextBatch: Math.max(0, ...batches.keys()) + 1,
        outcomeNumbers: [...outcomeNumbers],
        nextSession,
      };
    },
  };
}

function writeGrant(
  task: DiskTask,
  save: Extract<SaveEffect, { kind: 'saveGrant' }>,
  index: number,
): void {
  const id = formatTaskId({ batch: save.batch, index });
  promise(task.outcome === null, () => `${id} was granted after its outcome`);
  promise(
    save.attempt === task.attempts.length + 1,
    () => `${id} was granted attempt ${save.attempt} after ${task.attempts.length}`,
  );
  const last = task.attempts.at(-1);
  promise(
    last === undefined || last.end !== null,
    () => `${id} was granted attempt ${save.attempt} while the one before still stood`,
  );
  task.attempts.push({ node: save.node, grantedAtMs: save.atMs, end: null, charged: false });
}

function countTasks(
  group: GroupId,
  batches: ReadonlyMap<BatchNumber, DiskBatch>,
): { queued: number; succeeded: number; failed: number } {
  const counts = { queued: 0, succeeded: 0, failed: 0 };
  for (const batch of batches.values()) {
    if (batch.group !== group) continue;
    counts.queued += batch.count;
    for (const task of batch.tasks.values()) {
      if (task.outcome === null) continue;
      counts.queued -= 1;
      counts[task.outcome.status === 'success' ? 'succeeded' : 'failed'] += 1;
    }
  }
  return counts;
}

function restoreBatch(batch: DiskBatch): RestoredBatch {
  const tasks = [...batch.tasks].sort(([one], [other]) => one - other);
  let next = 0;
  while ((batch.tasks.get(next)?.attempts.length ?? 0) > 0) next += 1;
  return {
    batch: batch.batch,
    group: batch.group,
    count: batch.count,
    submittedAtMs: batch.atMs,
    assets: batch.assets,
    next,
    doneCount: tasks.filter(([, task]) => task.outcome !== null).length,
    doneAhead: tasks
      .filter(([index, task]) => index >= next && task.outcome !== null)
      .map(([index]) => index),
    open: tasks
      .filter(([, task]) => task.attempts.length > 0 && task.outcome === null)
      .map(([index, task]) => restoreTask(index, task)),
  };
}

function restoreTask(index: number, task: DiskTask): RestoredBatch['open'][number] {
  const last = task.attempts.at(-1);
  promise(last !== undefined, () => `task ${index} below next was never granted`);
  return {
    index,
    attempt: task.attempts.length,
    node: last.node,
    grantedAtMs: last.grantedAtMs,
    ended: last.end !== null,
    adoptable: last.end === 'lost',
    cancelAsked: task.cancelAsked,
    charges: task.attempts.filter((attempt) => attempt.charged).length,
    losses: task.attempts.filter((attempt) => attempt.end === 'lost').length,
    killedOn: [
      ...new Set(
        task.attempts.filter((attempt) => attempt.end === 'crash').map((attempt) => attempt.node),
      ),
    ],
  };
}

/** The key under which the world remembers an attempt. */
export function attemptKey(attempt: TaskRef & { attempt: number }): string {
  return `${taskKey(attempt)}#${attempt.attempt}`;
}
