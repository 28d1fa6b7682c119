/** The bytes of an upload that arrive as messages, handed to whoever writes them. */
import { PerigeeError } from '../../protocol/base/errors.ts';

/** One upload under way. */
export interface ClientUpload {
  push(bytes: Uint8Array): void;
  /** No more bytes follow. */
  finish(): void;
  /** Breaks the reader off. */
  fail(error: PerigeeError): void;
  /** Nobody reads any more: what still comes is dropped. */
  discard(): void;
  bytes: AsyncIterable<Uint8Array>;
}

/** Bytes that may wait for the disk before the client is held back. */
const waitingBytesMax = 4 * 1024 * 1024;

/** What an upload is one of several on. */
export interface UploadFlow {
  onFull(): void;
  onRoom(): void;
  /** Whether the client is held back, and so cannot send. */
  isHeld(): boolean;
}

/** An upload that tells when it is full and when there is room again; one that stands still is given up. */
export function createClientUpload(flow: UploadFlow, options: { idleMs: number }): ClientUpload {
  let chunks: Uint8Array[] = [];
  let waiting = 0;
  let isFull = false;
  let isFinished = false;
  let isDiscarded = false;
  let failure: PerigeeError | null = null;
  let wake: (() => void) | null = null;
  const notify = (): void => {
    wake?.();
    wake = null;
  };
  const makeRoom = (): void => {
    if (isFull && waiting <= waitingBytesMax / 2) {
      isFull = false;
      flow.onRoom();
    }
  };
  async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (failure !== null) throw failure;
      const chunk = chunks.shift();
      if (chunk !== undefined) {
        waiting -= chunk.length;
        makeRoom();
        yield chunk;
        continue;
      }
      if (isFinished) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const idle = setTimeout(() => {
        if (flow.isHeld()) idle.refresh();
        else fail(stoodStill());
      }, options.idleMs);
      await promise;
      clearTimeout(idle);
    }
  }
  const fail = (error: PerigeeError): void => {
    failure = error;
    notify();
  };
  return {
    bytes: read(),
    push(bytes) {
      if (isDiscarded || isFinished) return;
      chunks.push(bytes);
      waiting += bytes.length;
      if (!isFull && waiting > waitingBytesMax) {
        isFull = true;
        flow.onFull();
      }
      notify();
    },
    finish() {
      isFinished = true;
      notify();
    },
    fail,
    discard() {
      isDiscarded = true;
      chunks = [];
      waiting = 0;
      makeRoom();
    },
  };
}

function stoodStill(): PerigeeError {
  return new PerigeeError('timed_out', 'The upload stood still for too long.', {
    fix: 'Check the line, and send it again.',
  });
}
