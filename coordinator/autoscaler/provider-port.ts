/** What the autoscaler asks of a kind of machine, and what it is told. */
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';

export type ProviderKind = 'process' | 'ec2' | 'gce' | 'slurm' | 'command';

/** What one instance can carry. */
export interface InstanceShape {
  slots: number;
  cpus: number;
  memoryBytes: number;
  isolation: IsolationLevel;
  /** Whether its tasks may have the machine's network. */
  network: boolean;
}

/** A machine that can be had: a type, in a zone, on demand or spot. */
export interface InstanceOffer {
  /** Unique within its pool. */
  id: string;
  type: string;
  zone: string | null;
  /** It costs less and may be taken back at short notice. */
  spot: boolean;
  shape: InstanceShape;
  /** Dollars; 0 when it is not known or costs nothing. */
  pricePerHour: number;
}

/**
 * `stockout`: the cloud has none of this offer now. `quota`: the account may have no more.
 * `throttled`: too many calls. `denied`: credentials or permissions. `invalid`: the request can
 * never work as it is. `unavailable`: all else, the network among it.
 */
export type ProviderFailureKind =
  | 'stockout'
  | 'quota'
  | 'throttled'
  | 'denied'
  | 'invalid'
  | 'unavailable';

/** The only error that a provider throws. */
export class ProviderFailure extends Error {
  override readonly name = 'ProviderFailure';
  readonly failure: ProviderFailureKind;
  /** The machine may be there all the same: only a listing tells. */
  readonly mayHaveMade: boolean;

  constructor(
    failure: ProviderFailureKind,
    message: string,
    options: { mayHaveMade: boolean; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.failure = failure;
    this.mayHaveMade = options.mayHaveMade;
  }
}

export interface CreateRequest {
  /** The idempotency tag: it is saved before, and the machine is found by it. */
  instance: InstanceId;
  offer: string;
  /** What the machine runs at its first boot, for cloud-init; empty for processes. */
  userData: string;
}

export interface ListedInstance {
  handle: string;
  state: 'pending' | 'running' | 'stopping' | 'gone';
  /** By the cloud's clock: for people, never to decide by. */
  launchedAtMs: number | null;
  offer: string | null;
  /** The cloud has announced that it takes the machine back. */
  interrupted: boolean;
}

/** Something in the way, found before the first machine is made. */
export interface ProviderFault {
  /** `credentials`, `permission`, `type`, `zone`, `image` and so on. */
  code: string;
  message: string;
  fix: string;
}

export interface Provider {
  readonly kind: ProviderKind;
  readonly pool: string;
  /** For one of the calls below that take a signal; beyond it the answer counts as lost. */
  readonly answerMsMax: number;
  /** In order of preference. */
  offers(): readonly InstanceOffer[];
  /** Credentials, types and zones, at start; empty when all is well. */
  check(signal: AbortSignal): Promise<ProviderFault[]>;
  /**
   * Makes an instance; a second call with the same instance id makes no second machine.
   * @returns what the provider needs to find it again.
   * @throws ProviderFailure
   */
  create(request: CreateRequest, signal: AbortSignal): Promise<string>;
  /**
   * Every instance that bears a tag of this coordinator; one may be missing for a while after it was
   * made.
   * @throws ProviderFailure which means not known, never none.
   */
  list(signal: AbortSignal): Promise<ReadonlyMap<InstanceId, ListedInstance>>;
  /**
   * Ends an instance, by its tag when there is no handle; nothing happens when it is gone already.
   * @throws ProviderFailure
   */
  terminate(instance: InstanceId, handle: string | null, signal: AbortSignal): Promise<void>;
  /** Ends it now, without waiting; machines elsewhere know no such thing. */
  kill(instance: InstanceId): void;
  /** Process ids, for people and tests; empty for machines elsewhere. */
  pids(): readonly number[];
  /** Called once for each instance whose end is seen by itself, without a listing. */
  onEnded(listener: (instance: InstanceId) => void): void;
  /** Watches an instance of an earlier run; its end is told like any other's. */
  adopt(instance: InstanceId, handle: string): void;
  /** Stops watching; the instances go on. */
  close(): Promise<void>;
}
