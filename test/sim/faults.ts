/**
 * Mistakes planted around the real cores, to show that the simulation would find them. Each changes
 * one thing that the product does right; the product itself knows nothing of them.
 */
import type { SaveEffect } from '../../coordinator/core/effects.ts';
import type { CoordinatorEvent } from '../../coordinator/core/events.ts';
import type { CoordinatorState } from '../../coordinator/core/state.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import { attemptKey } from './disk.ts';

export interface Faults {
  /** Effects leave the coordinator before its saves are on disk. */
  readonly sendsFirst: boolean;
  /** What the coordinator's core is shown for an event. */
  seeEvent(state: CoordinatorState, event: CoordinatorEvent): CoordinatorEvent[];
  /** What is written for the saves of a tick. */
  seeSaves(state: CoordinatorState, saves: SaveEffect[]): SaveEffect[];
  /** Whether a report of a node is really sent; `again` when its outcomes were sent before. */
  passesReport(again: boolean): boolean;
  /** Whether a drain order also kills what runs. */
  readonly drainKills: boolean;
}

export const noFaults: Faults = {
  sendsFirst: false,
  seeEvent: (_state, event) => [event],
  seeSaves: (_state, saves) => saves,
  passesReport: () => true,
  drainKills: false,
};

/** The faults, by name. */
export const plantedFaults: Readonly<Record<string, () => Faults>> = {
  'send before persist': () => ({ ...noFaults, sendsFirst: true }),
  'no fencing': () => ({ ...noFaults, seeEvent: forgetAttemptNumbers }),
  'lease not renewed': () => ({ ...noFaults, seeEvent: dropRenewals }),
  'duplicate report counted': countDuplicates,
  'lost acknowledgement not retried': () => ({ ...noFaults, passesReport: (again) => !again }),
  'drain that kills': () => ({ ...noFaults, drainKills: true }),
  'network taken for granted': () => ({ ...noFaults, seeEvent: grantNetwork }),
};

/** A report counts for whatever attempt is the latest, on whatever node. */
function forgetAttemptNumbers(
  state: CoordinatorState,
  event: CoordinatorEvent,
): CoordinatorEvent[] {
  if (event.kind !== 'reportReceived') return [event];
  const reports = new Map<string, CoordinatorEvent>();
  const own = { ...event, outcomes: [...event.outcomes] };
  const kept = own.outcomes.filter((outcome) => {
    const task = state.tasks.get(taskKey(outcome));
    if (task === undefined || (task.attempt === outcome.attempt && task.node === event.node))
      return true;
    const session = state.nodes.get(task.node)?.session ?? null;
    if (session === null) return true;
    reports.set(`${taskKey(outcome)}`, {
      ...event,
      node: task.node,
      session,
      report: 0,
      outcomes: [{ ...outcome, attempt: task.attempt }],
    });
    return false;
  });
  return [...reports.values(), { ...event, outcomes: kept }];
}

/** Heartbeats reach the coordinator and renew nothing. */
function dropRenewals(_state: CoordinatorState, event: CoordinatorEvent): CoordinatorEvent[] {
  return event.kind === 'heartbeatHeard' ? [] : [event];
}

/** Every node counts as one that gives its tasks network. */
function grantNetwork(_state: CoordinatorState, event: CoordinatorEvent): CoordinatorEvent[] {
  if (event.kind !== 'nodeJoined') return [event];
  return [{ ...event, hello: { ...event.hello, network: true } }];
}

/** An outcome whose report comes again is written again. */
function countDuplicates(): Faults {
  const written = new Map<string, Extract<SaveEffect, { kind: 'saveOutcome' }>>();
  let doubled: Extract<SaveEffect, { kind: 'saveOutcome' }>[] = [];
  return {
    ...noFaults,
    seeEvent(_state, event) {
      if (event.kind !== 'reportReceived') return [event];
      for (const outcome of event.outcomes) {
        const save = written.get(attemptKey(outcome));
        if (save !== undefined) doubled.push(save);
      }
      return [event];
    },
    seeSaves(_state, saves) {
      for (const save of saves) {
        if (save.kind === 'saveOutcome') written.set(attemptKey(save), save);
      }
      const all = [...saves, ...doubled];
      doubled = [];
      return all;
    },
  };
}
