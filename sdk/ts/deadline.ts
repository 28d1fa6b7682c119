/** Waiting with an end: an AbortSignal, a timeout, or both. */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';

/** What every call that waits takes. */
export interface WaitOptions {
  /** Ends the wait with the signal's reason; the work on the mesh goes on. */
  signal?: AbortSignal | undefined;
  /** Ends the wait with `timed_out` after so many milliseconds; without it, it may last for ever. */
  timeoutMs?: number | undefined;
}

/** A signal that stands for both ends of a wait. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

/** Joins the caller's signal and timeout; dispose of it when the wait is over. */
export function createDeadline(options: WaitOptions, waitsFor: string): Deadline {
  const controller = new AbortController();
  const { signal, timeoutMs } = options;
  const forward = (): void => controller.abort(signal?.reason);
  let timer: NodeJS.Timeout | undefined;
  if (signal?.aborted === true) forward();
  else {
    signal?.addEventListener('abort', forward, { once: true });
    if (timeoutMs !== undefined) {
      timer = setTimeout(() => {
        controller.abort(
          new PerigeeError('timed_out', `${waitsFor} was not over in ${timeoutMs} ms.`),
        );
      }, timeoutMs);
    }
  }
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', forward);
    },
  };
}

/** The promise, or the signal's reason if that comes first; `onAbort` is told so. */
export async function untilAborted<Value>(
  promise: Promise<Value>,
  signal: AbortSignal,
  onAbort: () => void = () => undefined,
): Promise<Value> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => {
    onAbort();
    reject(toError(signal.reason));
  };
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * A pause between two tries.
 * @throws the signal's reason.
 */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  try {
    await untilAborted(promise, signal);
  } finally {
    clearTimeout(timer);
  }
}
