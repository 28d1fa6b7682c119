/** How the coordinator's shells reach the core: by events alone. `driver.ts` implements it. */
import type { Answer } from './core/effects.ts';
import type { CoordinatorEvent } from './core/events.ts';
import type { CoordinatorState } from './core/state.ts';
import type { LogChunk, StoredOutcome } from './store/port.ts';

type RequestEvent = Extract<CoordinatorEvent, { request: number | null }>;
type WithoutRequest<E> = E extends unknown ? Omit<E, 'request'> : never;

export interface Driver {
  /** Queues an event for the next tick. */
  dispatch(event: CoordinatorEvent): void;
  /** Queues an event and resolves with the core's answer, once what it rests on is on disk. */
  request(event: WithoutRequest<RequestEvent>): Promise<Exclude<Answer, { kind: 'refused' }>>;
  /** Queues log output for the next commit. */
  appendLogs(chunks: readonly LogChunk[]): void;
  /** The state, to read only, between ticks; for views and the autoscaler. */
  state(): CoordinatorState;
  /** Called after each commit with the outcomes it recorded, in order. Returns the unsubscriber. */
  onOutcomes(listener: (outcomes: readonly StoredOutcome[]) => void): () => void;
  /** Called after each commit with the log output it recorded. Returns the unsubscriber. */
  onLogs(listener: (chunks: readonly LogChunk[]) => void): () => void;
  /** Called after each tick that changed anything. Returns the unsubscriber. */
  onTick(listener: () => void): () => void;
}
