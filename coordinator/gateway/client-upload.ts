/** The bytes of an upload that arrive as messages, handed to whoever writes them. */
import type { PerigeeError } from '../../protocol/base/errors.ts';

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

/** An upload that tells when it is full and when there is room again. */
export function createClientUpload(flow: { onFull(): void; onRoom(): void }): ClientUpload {
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
      await promise;
    }
  }
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
    fail(error) {
      failure = error;
      notify();
    },
    discard() {
      isDiscarded = true;
      chunks = [];
      waiting = 0;
      makeRoom();
    },
  };
}
