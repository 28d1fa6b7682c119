/** Sees what really happens in a simulated world, and holds what the mesh says and writes against it. */
import { isDeepStrictEqual } from 'node:util';
import type { SaveEffect, SendEffect } from '../../coordinator/core/effects.ts';
import { defaultCoreSettings } from '../../coordinator/core/settings.ts';
import type { AttemptRef, BlobHash, GroupId, NodeId, TaskRef } from '../../protocol/wire/ids.ts';
import { formatTaskId, taskKey } from '../../protocol/wire/ids.ts';
import type { Agenda } from './agenda.ts';
import type { AgentHost } from './agent-host.ts';
import { promise } from './broken-promise.ts';
import { attemptKey, type Disk } from './disk.ts';
import { expectedOutputs, expectedResult, type TaskDeed } from './plan.ts';

export interface Witness {
  onOutcome(save: Extract<SaveEffect, { kind: 'saveOutcome' }>): void;
  onAttemptEnd(save: Extract<SaveEffect, { kind: 'saveAttemptEnd' }>): void;
  onSend(effect: SendEffect): void;
  onHeard(node: NodeId): void;
  onOutputStored(hash: BlobHash): void;
  onRunBegun(node: NodeId, attempt: AttemptRef): void;
  onRunEnded(node: NodeId, attempt: AttemptRef, how: TaskDeed['end'] | 'killed' | 'lost'): void;
  /** The agent's core ended a worker that had been running this attempt since then. */
  onKillOrdered(node: NodeId, attempt: AttemptRef, sinceMs: number): void;
  onCancelAsked(task: TaskRef): void;
  onTerminateAsked(group: GroupId): void;
  /** An answer "on disk" is about to leave for a client. */
  onAcknowledged(wish: { clientBatch: string; count: number }): void;
  check(): void;
  finish(acknowledged: ReadonlySet<string>): void;
}

interface Run {
  node: NodeId;
  end: TaskDeed['end'] | 'killed' | 'lost' | null;
}

/** A witness of an empty world. */
export function createWitness(world: {
  agenda: Agenda;
  disk: Disk;
  findAgent: (node: NodeId) => AgentHost | undefined;
  givesNetwork: (node: NodeId) => boolean;
}): Witness {
  const { agenda, disk } = world;
  /** All runs of an attempt; more than one only when its agent was killed and granted it again. */
  const runs = new Map<string, Run[]>();
  /** The last few times. */
  const heardAtMs = new Map<NodeId, number[]>();
  /** Attempts whose worker was ended for running too long. */
  const overdue = new Set<string>();
  const storedOutputs = new Set<BlobHash>();
  const cancelAsked = new Set<number>();
  const terminateAsked = new Set<GroupId>();

  const runsOf = (attempt: AttemptRef): Run[] => runs.get(attemptKey(attempt)) ?? [];

  return {
    onOutcome(save) {
      const { outcome } = save;
      const id = `${formatTaskId(save)}#${save.attempt}`;
      const ends = runsOf(save).map((run) => run.end);
      switch (outcome.status) {
        case 'success':
          promise(
            ends.includes('success'),
            () => `${id} was written as a success that never was (${ends})`,
          );
          promise(
            Buffer.compare(outcome.result, expectedResult(save)) === 0,
            () => `${id} has the result of another task`,
          );
          promise(
            isDeepStrictEqual(outcome.outputs ?? [], expectedOutputs(save)),
            () => `${id} has not the outputs of the attempt that settled it`,
          );
          promise(
            (outcome.outputs ?? []).every(({ hash }) => storedOutputs.has(hash)),
            () => `${id} was written with outputs that are nowhere`,
          );
          break;
        case 'exception':
          promise(
            ends.includes('exception'),
            () => `${id} was written as an exception that never was`,
          );
          break;
        case 'oom':
          promise(ends.includes('oom'), () => `${id} was written as an oom that never was`);
          break;
        case 'cancelled': {
          const wanted = cancelAsked.has(taskKey(save)) || terminateAsked.has(save.group);
          promise(wanted, () => `${id} was cancelled though nobody asked`);
          break;
        }
        case 'lost': {
          const losses = disk
            .findTask(save)
            ?.attempts.filter((attempt) => attempt.end === 'lost').length;
          promise((losses ?? 0) >= 4, () => `${id} was given up after ${losses} losses`);
          break;
        }
        default:
          break;
      }
      promise(
        outcome.status === 'success' || outcome.outputs === undefined,
        () => `${id} failed and has outputs`,
      );
    },
    onAttemptEnd(save) {
      const id = `${formatTaskId(save)}#${save.attempt}`;
      const ends = runsOf(save).map((run) => run.end);
      if (save.charged) {
        const isReal =
          save.end === 'timeout'
            ? overdue.has(attemptKey(save))
            : ends.includes(save.end as TaskDeed['end']);
        promise(
          isReal || save.end === 'crash',
          () => `${id} was charged a ${save.end} that never was`,
        );
      }
      if (save.end !== 'lost') return;
      promise(!save.charged, () => `${id} was charged the loss of its node`);
      // As it was when it was decided: a node may be heard again while that is being written.
      const heardMs = heardAtMs.get(save.node)?.findLast((atMs) => atMs <= save.atMs) ?? 0;
      const silentMs = save.atMs - heardMs;
      // The few ms are the driver's own: what it heard is seen by the core in its next turn.
      if (silentMs > defaultCoreSettings.leaseMs - 100) return;
      const state = world.findAgent(save.node)?.state;
      const held = state?.attempts.get(taskKey(save));
      promise(
        held?.attempt !== save.attempt || held.phase.kind !== 'running',
        () =>
          `${id} was declared lost while ${save.node} runs it and was heard ${Math.round(silentMs)} ms ago`,
      );
    },
    onSend(effect) {
      if (effect.kind === 'sendGrant') {
        const wantsNetwork = disk.groups.get(effect.group)?.spec.network === true;
        promise(
          !wantsNetwork || world.givesNetwork(effect.node),
          () =>
            `group ${effect.group} asks for network and was granted to ${effect.node}, which gives none`,
        );
        for (let index = effect.lo; index < effect.lo + effect.count; index += 1) {
          const task = disk.findTask({ batch: effect.batch, index });
          promise(
            task !== undefined && task.attempts.length >= effect.attempt,
            () => `${effect.batch}-${index}#${effect.attempt} was sent before it was on disk`,
          );
        }
      }
    },
    onOutputStored(hash) {
      storedOutputs.add(hash);
    },
    onHeard(node) {
      heardAtMs.set(node, [...(heardAtMs.get(node) ?? []).slice(-19), agenda.nowMs]);
    },
    onRunBegun(node, attempt) {
      const task = disk.findTask(attempt);
      promise(
        task?.attempts[attempt.attempt - 1]?.node === node,
        () =>
          `${node} runs ${formatTaskId(attempt)}#${attempt.attempt}, which is not on the ledger`,
      );
      const all = runsOf(attempt);
      promise(
        all.every((run) => run.end !== null),
        () => `${formatTaskId(attempt)}#${attempt.attempt} runs twice at once`,
      );
      runs.set(attemptKey(attempt), [...all, { node, end: null }]);
    },
    onRunEnded(_node, attempt, how) {
      const last = runsOf(attempt).at(-1);
      promise(last !== undefined, () => `${formatTaskId(attempt)} ended without having begun`);
      last.end = how;
    },
    onKillOrdered(node, attempt, sinceMs) {
      const id = `${formatTaskId(attempt)}#${attempt.attempt}`;
      const batch = disk.batches.get(attempt.batch);
      const task = disk.findTask(attempt);
      const spec = batch === undefined ? undefined : disk.groups.get(batch.group)?.spec;
      const isOverdue = spec !== undefined && agenda.nowMs - sinceMs >= spec.taskTimeoutMs - 100;
      const isUnwanted =
        cancelAsked.has(taskKey(attempt)) ||
        (batch !== undefined && terminateAsked.has(batch.group));
      const isSuperseded =
        task === undefined ||
        task.outcome !== null ||
        task.attempts.length > attempt.attempt ||
        task.attempts[attempt.attempt - 1]?.end !== null;
      if (isOverdue) overdue.add(attemptKey(attempt));
      promise(isOverdue || isUnwanted || isSuperseded, () => `${node} killed ${id} for no reason`);
    },
    onCancelAsked(task) {
      cancelAsked.add(taskKey(task));
    },
    onTerminateAsked(group) {
      terminateAsked.add(group);
    },
    onAcknowledged(wish) {
      const batch = disk.findByClient(wish.clientBatch);
      promise(
        batch !== undefined && batch.count === wish.count,
        () => `batch ${wish.clientBatch} was acknowledged before it was on disk`,
      );
    },
    check() {
      // The disk checks every save as it is written; the hosts check the cores after every step.
    },
    finish(acknowledged) {
      for (const clientBatch of acknowledged) {
        const batch = disk.findByClient(clientBatch);
        promise(batch !== undefined, () => `acknowledged batch ${clientBatch} is gone`);
        for (let index = 0; index < batch.count; index += 1) {
          const ref = { batch: batch.batch, index };
          const task = disk.findTask(ref);
          promise(
            task?.outcome !== null && task !== undefined,
            () => `${formatTaskId(ref)} never ended`,
          );
          const group = disk.groups.get(batch.group);
          const charged = task.attempts.filter((attempt) => attempt.charged).length;
          promise(
            group !== undefined && charged <= group.spec.retryCount,
            () =>
              `${formatTaskId(ref)} was retried ${charged} times, its group allows ${group?.spec.retryCount}`,
          );
        }
      }
    },
  };
}
