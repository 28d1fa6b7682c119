/** The node-agent's decisions: the only way in which its state changes. */
import { assertNever } from '../../protocol/base/assert.ts';
import { askNextArguments } from './blobs.ts';
import { dispatchWork } from './dispatch.ts';
import type { AgentEffect } from './effects.ts';
import type { AgentEvent } from './events.ts';
import { onFileEvent } from './files.ts';
import { onCancelled, onGranted } from './grants.ts';
import { askImages, onImageFailed, onImageLost, onImageReady, returnFull } from './images.ts';
import {
  leaveWhenDrained,
  onClockTicked,
  onDrainOrdered,
  onSessionLost,
  onSessionOpened,
  onSessionRefused,
  onStopAsked,
  onUndrainOrdered,
  sendPull,
} from './lifecycle.ts';
import { onAcknowledged, sendReports, sendReturned, sendStarted } from './reports.ts';
import type { AgentState, Turn } from './state.ts';
import { onWorkerEvent } from './workers.ts';

/**
 * Takes one event and answers with the effects that follow from it. Facts are taken in as they
 * come; work is handed out and reports are cut by `turnEnded`, which closes each batch of events.
 * `now` is the agent's monotonic clock in ms.
 */
export function step(state: AgentState, event: AgentEvent, now: number): AgentEffect[] {
  const turn: Turn = { state, now, effects: [] };
  if (!state.exited) takeEvent(turn, event);
  return turn.effects;
}

function takeEvent(turn: Turn, event: AgentEvent): void {
  switch (event.kind) {
    case 'workerReady':
    case 'taskStarted':
    case 'taskEnded':
    case 'workerEnded':
    case 'tasksRetracted':
      onWorkerEvent(turn, event);
      break;
    case 'blobReady':
    case 'blobFailed':
    case 'resultUploaded':
    case 'resultUploadFailed':
    case 'outputUploaded':
    case 'outputUploadFailed':
      onFileEvent(turn, event);
      break;
    case 'imageReady':
      onImageReady(turn, event.digest);
      break;
    case 'imageFailed':
      onImageFailed(turn, event);
      break;
    case 'imageLost':
      onImageLost(turn, event.digest);
      break;
    case 'sessionOpened':
      onSessionOpened(turn, event.drop);
      break;
    case 'sessionLost':
      onSessionLost(turn);
      break;
    case 'sessionRefused':
      onSessionRefused(turn, event);
      break;
    case 'granted':
      onGranted(turn, event);
      break;
    case 'reportAcknowledged':
      onAcknowledged(turn, event.report);
      break;
    case 'attemptsCancelled':
      onCancelled(turn, event.attempts);
      break;
    case 'drainOrdered':
      onDrainOrdered(turn);
      break;
    case 'undrainOrdered':
      onUndrainOrdered(turn);
      break;
    case 'clockTicked':
      onClockTicked(turn);
      break;
    case 'healthMeasured':
      onHealthMeasured(turn, event.diskFreeBytes);
      break;
    case 'stopAsked':
      onStopAsked(turn, event.reason);
      break;
    case 'turnEnded':
      endTurn(turn);
      break;
    default:
      assertNever(event);
  }
}

function onHealthMeasured(turn: Turn, diskFreeBytes: number): void {
  const { state } = turn;
  const isLow = diskFreeBytes < state.settings.diskFreeBytesMin;
  if (isLow && !state.diskLow) {
    const message = `Only ${diskFreeBytes} bytes of disk are free: no work is taken until there are more.`;
    turn.effects.push({ kind: 'warn', message });
  }
  state.diskLow = isLow;
}

function endTurn(turn: Turn): void {
  askNextArguments(turn);
  returnFull(turn);
  askImages(turn);
  dispatchWork(turn);
  sendStarted(turn);
  sendReports(turn);
  sendReturned(turn);
  leaveWhenDrained(turn);
  sendPull(turn);
}
