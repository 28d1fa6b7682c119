/** A stream of calls, as the link above it sees one; knows nothing of libp2p, and nor do its types. */
import type { PerigeeError } from '../../protocol/base/errors.ts';
import type { ClientCallName } from '../../protocol/wire/client.ts';

/** What becomes of a call. Exactly one of `onEnd` and `onFail` is called, once. */
export interface CallSink {
  /** Subscriptions only. */
  onItem(item: unknown): void;
  /** The output of an operation; undefined at the end of a subscription. */
  onEnd(output: unknown): void;
  onFail(error: PerigeeError): void;
}

/** A call that is under way. */
export interface OpenCall {
  /** Tells the coordinator that nobody waits any more; the sink hears nothing after it. */
  cancel(): void;
  /** The next bytes of an upload; false when the peer is behind. */
  sendPart(bytes: Uint8Array): boolean;
  /** The upload is complete. */
  endParts(): void;
}

export interface ClientStream {
  readonly isOpen: boolean;
  /** Calls under way. */
  readonly callCount: number;
  /** Fields of the input that are undefined are left out. */
  start(name: ClientCallName, input: object, sink: CallSink): OpenCall;
  /** Resolves when what was sent has left. */
  drained(): Promise<void>;
  /** Holds every call of the stream back, or lets them go on. */
  pause(): void;
  resume(): void;
  close(): Promise<void>;
  abort(error: Error): void;
}
