/**
 * Counts the open streams of all edges, and ends them when the gateway stops, or when the token that
 * opened them is revoked or expires.
 */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { Authenticator, Caller } from './caller.ts';

/** Who opens a stream. */
export interface StreamOwner {
  caller: Caller;
  token: string;
}

/** A stream that was admitted. */
export interface AdmittedStream {
  /** Aborted with a PerigeeError that says why. */
  signal: AbortSignal;
  leave(): void;
}

/** Admission of long-lived streams. */
export interface StreamGate {
  /**
   * Admits a stream until `leave`.
   * @throws PerigeeError queue_full, draining
   */
  enter(owner: StreamOwner): AdmittedStream;
  /** Ends the streams whose token is no longer good. */
  recheck(): Promise<void>;
  /** Ends every stream and admits no more. */
  close(): void;
  readonly isClosed: boolean;
}

/** setTimeout takes at most 2^31 - 1 ms and fires at once above it. */
const timerMsMax = 2 ** 31 - 1;

/** A gate for at most `streamsMax` streams. */
export function createStreamGate(
  deps: { authenticator: Authenticator; clock: { nowMs(): number } },
  streamsMax: number,
): StreamGate {
  const open = new Map<AbortController, StreamOwner>();
  let closed = false;
  const expire = (controller: AbortController, expiresAtMs: number): NodeJS.Timeout => {
    const leftMs = Math.max(0, expiresAtMs - deps.clock.nowMs());
    const timer = setTimeout(
      () => controller.abort(new PerigeeError('token_expired')),
      Math.min(leftMs, timerMsMax),
    );
    return timer.unref();
  };
  return {
    enter(owner) {
      if (closed) throw new PerigeeError('draining');
      if (open.size >= streamsMax) {
        throw new PerigeeError('queue_full', `${streamsMax} streams are open already.`, {
          fix: 'Close streams that are not read, or try again later.',
        });
      }
      const controller = new AbortController();
      open.set(controller, owner);
      const { expiresAtMs } = owner.caller;
      const timer = expiresAtMs === null ? undefined : expire(controller, expiresAtMs);
      return {
        signal: controller.signal,
        leave() {
          clearTimeout(timer);
          open.delete(controller);
        },
      };
    },
    async recheck() {
      for (const [controller, { token }] of [...open]) {
        try {
          await deps.authenticator.authenticate(token);
        } catch (caught) {
          controller.abort(toError(caught));
        }
      }
    },
    close() {
      closed = true;
      for (const controller of open.keys()) controller.abort(new PerigeeError('draining'));
    },
    get isClosed() {
      return closed;
    },
  };
}
