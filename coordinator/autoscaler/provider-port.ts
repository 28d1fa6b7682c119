/** What the autoscaler asks of a kind of machine. */
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';

/** What one instance can carry. */
export interface InstanceShape {
  slots: number;
  cpus: number;
  memoryBytes: number;
  isolation: IsolationLevel;
}

/** A listing that failed is `undefined`, which means not known, never none. */
export type InstanceListing = ReadonlyMap<InstanceId, string> | undefined;

export interface Provider {
  readonly pool: string;
  readonly shape: InstanceShape;
  /**
   * Makes an instance. The id is the idempotency tag: it was saved before, and whatever bears it can
   * be found again by `list`.
   * @returns what the provider needs to find it again.
   */
  create(instance: InstanceId): Promise<string>;
  /** Every instance that bears a tag of this coordinator, with its handle. */
  list(): Promise<InstanceListing>;
  /** Watches an instance of an earlier run; its end is told like any other's. */
  adopt(instance: InstanceId, handle: string): void;
  /** Asks it to end in order; repeating it changes nothing. */
  terminate(instance: InstanceId): void;
  /** Ends it now. */
  kill(instance: InstanceId): void;
  /** Process ids, for people and tests; empty for machines elsewhere. */
  pids(): readonly number[];
  /** Called once for each instance that ended. */
  onEnded(listener: (instance: InstanceId) => void): void;
  /** Stops watching; the instances go on. */
  close(): void;
}
