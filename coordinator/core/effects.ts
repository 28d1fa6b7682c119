/**
 * Orders to the shell. The driver performs them in this order: all `save*` of a tick in one durable
 * transaction, then everything else. A send or an answer never leaves before what it rests on is
 * on disk.
 */

import type { ErrorCode } from '../../protocol/base/errors.ts';
import type {
  AttemptRef,
  BatchNumber,
  GroupId,
  NamespaceName,
  NodeId,
  SessionNumber,
  TaskRef,
} from '../../protocol/wire/ids.ts';
import type { AttemptOutcome, GroupSpec, TaskAssets } from '../../protocol/wire/task.ts';
import type { GroupLimits, RequestNumber } from './events.ts';

/** Why an attempt ended without settling its task; the ledger shows it to users. */
export type AttemptEnd =
  | 'exception'
  | 'timeout'
  | 'crash'
  /** The node's lease ran out, its machine ended, or it came back without the attempt. */
  | 'lost'
  /** The node gave it back unstarted. */
  | 'returned';

export type SaveEffect =
  | { kind: 'saveGroup'; spec: GroupSpec; atMs: number }
  | { kind: 'saveGroupLimits'; group: GroupId; limits: GroupLimits }
  | {
      kind: 'saveGroupState';
      group: GroupId;
      state: 'running' | 'draining' | 'terminated';
      atMs: number;
    }
  | {
      kind: 'saveBatch';
      batch: BatchNumber;
      namespace: NamespaceName;
      group: GroupId;
      clientBatch: string;
      blockHash: string;
      count: number;
      block: Uint8Array;
      assets: TaskAssets | null;
      atMs: number;
      /** The namespace's latest outcome number when the batch was taken. */
      submittedAfter: number;
    }
  | {
      kind: 'saveGrant';
      batch: BatchNumber;
      lo: number;
      count: number;
      attempt: number;
      node: NodeId;
      atMs: number;
    }
  /**
   * Saved again for the same attempt it replaces what was saved before: a lost attempt that its node
   * reports late after all, a charge that is taken back.
   */
  | ({
      kind: 'saveAttemptEnd';
      node: NodeId;
      end: AttemptEnd;
      /** Whether the end counts against retry_count. */
      charged: boolean;
      /** What the node said of it; empty for losses and returns. */
      message: string;
      atMs: number;
    } & AttemptRef)
  /** A running task is to end as cancelled: remembered, so that its node is told even after a restart. */
  | ({ kind: 'saveCancelAsked'; atMs: number } & TaskRef)
  | ({
      kind: 'saveOutcome';
      namespace: NamespaceName;
      /** Position in the namespace's completion order, from 1 without gaps. */
      outcomeNumber: number;
      group: GroupId;
      /** The attempt that settled it; 0 and null when the task never ran. */
      attempt: number;
      node: NodeId | null;
      outcome: AttemptOutcome;
      submittedAtMs: number;
      startedAtMs: number | null;
      atMs: number;
    } & TaskRef);

interface ToNode {
  node: NodeId;
  session: SessionNumber;
}

export type SendEffect =
  /** `drop`: of what the node holds, what is no longer its own. The shell adds the log offsets of `kept`. */
  | ({ kind: 'sendWelcome'; drop: readonly AttemptRef[]; kept: readonly AttemptRef[] } & ToNode)
  | ({
      kind: 'sendGrant';
      group: GroupId;
      batch: BatchNumber;
      lo: number;
      count: number;
      attempt: number;
    } & ToNode)
  | ({ kind: 'sendAck'; report: number } & ToNode)
  | ({ kind: 'sendCancel'; attempts: readonly AttemptRef[] } & ToNode)
  /** Tell everything that your cache holds: a change was missed. */
  | ({ kind: 'sendHoldingsAsked' } & ToNode)
  | ({ kind: 'sendDrain'; reason: string } & ToNode)
  | ({ kind: 'sendUndrain' } & ToNode)
  | ({ kind: 'sendHoldingsAsked' } & ToNode)
  /** Close the stream: a newer session of the node took over, or the node was refused. */
  | ({ kind: 'endSession'; code: ErrorCode; message: string } & ToNode);

export type Answer =
  | { kind: 'done' }
  | { kind: 'batchTaken'; batch: BatchNumber; count: number; submittedAfter: number }
  /** `state` before the cancel: a done task cannot be cancelled any more. */
  | { kind: 'cancelTaken'; state: 'queued' | 'running' | 'done' }
  | { kind: 'refused'; code: ErrorCode; message: string; fix?: string };

export type CoordinatorEffect =
  | SaveEffect
  | SendEffect
  | { kind: 'respond'; request: RequestNumber; answer: Answer };
