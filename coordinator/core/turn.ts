/** What one step works on: the state, the time, and what it has decided so far. */

import type { ErrorCode } from '../../protocol/base/errors.ts';
import type { CoordinatorEffect } from './effects.ts';
import type { Batch, CoordinatorState, CoreNode, StoryLine } from './entities.ts';
import type { RequestNumber } from './events.ts';

/** Consecutive tasks of one batch granted to one node with one attempt number. */
export interface GrantRun {
  readonly batch: Batch;
  readonly lo: number;
  count: number;
  readonly attempt: number;
}

/** What one node is granted in this step. */
export interface NodeRuns {
  /** In the order of granting. */
  readonly inOrder: GrantRun[];
  /** Of each batch the run granted last. */
  readonly latest: Map<Batch, GrantRun>;
}

export interface Turn {
  readonly state: CoordinatorState;
  readonly now: number;
  readonly effects: CoordinatorEffect[];
  /** Grants of this step; written to `effects` at its end, when runs can grow no more. */
  readonly runs: Map<CoreNode, NodeRuns>;
  /** Something became runnable that any node might take. */
  wakeAll: boolean;
  /** Nodes that have more room than before. */
  readonly wakeNodes: Set<CoreNode>;
}

/** The turn of one step. */
export function createTurn(state: CoordinatorState, now: number): Turn {
  return { state, now, effects: [], runs: new Map(), wakeAll: false, wakeNodes: new Set() };
}

/** Answers a request with a refusal; nothing when nobody waits for an answer. */
export function refuse(
  turn: Turn,
  request: RequestNumber | null,
  reason: { code: ErrorCode; message: string; fix?: string },
): void {
  if (request === null) return;
  turn.effects.push({ kind: 'respond', request, answer: { kind: 'refused', ...reason } });
}

/** Answers a request that has nothing more to say. */
export function respondDone(turn: Turn, request: RequestNumber | null): void {
  if (request === null) return;
  turn.effects.push({ kind: 'respond', request, answer: { kind: 'done' } });
}

/** Adds a line to the bounded story of a node or group. */
export function tell(turn: Turn, owner: { story: StoryLine[] }, text: string): void {
  owner.story.push({ atMs: turn.now, text });
  if (owner.story.length > turn.state.settings.storyMax) owner.story.shift();
}
