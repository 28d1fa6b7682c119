/** The coordinator's one decision function: an event in, orders out. Nothing else changes the state. */
import { assertNever } from '../../protocol/base/assert.ts';
import { takeCancel } from './cancel.ts';
import { takeDrain, takeUndrain } from './drain.ts';
import type { CoordinatorEffect } from './effects.ts';
import type { CoreNode } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { takeGroup, takeLimits, takeRemoval, takeTermination } from './groups.ts';
import { takeHoldings, takeImages } from './holdings.ts';
import { checkLeases, endInstance, hear, leaveNode } from './leases.ts';
import { findBySession, takeDisconnect, takeHeartbeat, takeHello, takePull } from './nodes.ts';
import { takeReport, takeReturned, takeStarted } from './reports.ts';
import { checkReservation } from './reservations.ts';
import { passTimers } from './retries.ts';
import { grantWork } from './scheduling.ts';
import type { CoordinatorState } from './state.ts';
import { takeBatch } from './submission.ts';
import { passSweeps } from './sweeps.ts';
import type { Turn } from './turn.ts';
import { createTurn } from './turn.ts';

type FromNode = Extract<CoordinatorEvent, { session: unknown }>;

/**
 * Takes one event at a time `now` (milliseconds of the coordinator's clock; one that steps back
 * stands still). Answers orders; the driver performs all saves before anything else.
 */
export function step(
  state: CoordinatorState,
  event: CoordinatorEvent,
  now: number,
): CoordinatorEffect[] {
  state.nowMs = Math.max(state.nowMs, now);
  const turn = createTurn(state, state.nowMs);
  take(turn, event);
  passTimers(turn);
  passSweeps(turn);
  grantWork(turn);
  return turn.effects;
}

function take(turn: Turn, event: CoordinatorEvent): void {
  switch (event.kind) {
    case 'clockTicked':
      passTime(turn);
      return;
    case 'nodeJoined':
      takeHello(turn, event);
      return;
    case 'nodeDisconnected':
    case 'heartbeatHeard':
    case 'nodePulled':
    case 'attemptsStarted':
    case 'reportReceived':
    case 'attemptsReturned':
    case 'imagesChanged':
    case 'holdingsTold':
    case 'nodeLeft': {
      const node = findBySession(turn.state, event);
      // What a superseded session still says is late; the node tells it again in its new one.
      if (node !== undefined) takeFromNode(turn, node, event);
      return;
    }
    case 'nodeDrainAsked':
      takeDrain(turn, event);
      return;
    case 'nodeUndrainAsked':
      takeUndrain(turn, event);
      return;
    case 'instanceEnded':
      endInstance(turn, event);
      return;
    case 'imagesKnown':
      turn.state.images = new Map(event.images.map((image) => [image.digest, image]));
      turn.wakeAll = true;
      return;
    case 'groupCreated':
      takeGroup(turn, event);
      return;
    case 'groupUpdated':
      takeLimits(turn, event);
      return;
    case 'groupTerminated':
      takeTermination(turn, event);
      return;
    case 'groupRemoved':
      takeRemoval(turn, event);
      return;
    case 'batchSubmitted':
      takeBatch(turn, event);
      return;
    case 'taskCancelled':
      takeCancel(turn, event);
      return;
    default:
      assertNever(event);
  }
}

function takeFromNode(
  turn: Turn,
  node: CoreNode,
  event: Exclude<FromNode, { kind: 'nodeJoined' }>,
): void {
  switch (event.kind) {
    case 'nodeDisconnected':
      takeDisconnect(turn, node);
      return;
    case 'nodeLeft':
      leaveNode(turn, node);
      return;
    case 'heartbeatHeard':
      takeHeartbeat(turn, node, event);
      break;
    case 'nodePulled':
      takePull(turn, node, event);
      break;
    case 'attemptsStarted':
      takeStarted(turn, node, event);
      break;
    case 'reportReceived':
      takeReport(turn, node, event);
      break;
    case 'attemptsReturned':
      takeReturned(turn, node, event);
      break;
    case 'imagesChanged':
      takeImages(turn, node, event);
      break;
    case 'holdingsTold':
      takeHoldings(turn, node, event);
      break;
    default:
      assertNever(event);
  }
  hear(turn, node);
}

function passTime(turn: Turn): void {
  checkLeases(turn);
  for (const node of turn.state.nodes.values()) checkReservation(turn, node);
}
