/** When an origin is asked again, and how fast it is asked at all: decisions alone, no I/O. */
import type { OriginFailureKind } from './port.ts';

/** Attempts of one request in all, and the pauses between them, doubled and half chance. */
export const attemptsMax = 4;
const pauseMsMin = 200;
const pauseMsMax = 10_000;

export type RetryDecision =
  | { kind: 'giveUp' }
  | { kind: 'again'; afterMs: number; renew: boolean; pauseOrigin: boolean };

/** What follows the failure of attempt number `attempt`, from 1. */
export function decideRetry(
  failure: OriginFailureKind,
  state: { attempt: number; retryAfterMs: number | null; random: number },
): RetryDecision {
  if (state.attempt >= attemptsMax) return { kind: 'giveUp' };
  const doubled = Math.min(pauseMsMax, pauseMsMin * 2 ** (state.attempt - 1));
  const afterMs = doubled * (0.5 + state.random / 2);
  switch (failure) {
    case 'faulty':
      return { kind: 'again', afterMs, renew: false, pauseOrigin: false };
    case 'busy': {
      // Everybody who asks this origin waits: one that is overrun is not helped by the others.
      const asked = Math.min(state.retryAfterMs ?? 0, pauseMsMax);
      return { kind: 'again', afterMs: Math.max(afterMs, asked), renew: false, pauseOrigin: true };
    }
    case 'unsigned':
      // One renewal; a second refusal is final.
      return state.attempt === 1
        ? { kind: 'again', afterMs: 0, renew: true, pauseOrigin: false }
        : { kind: 'giveUp' };
    default:
      return { kind: 'giveUp' };
  }
}

/** A bucket of permissions: refilled evenly, holding at most one second's worth. */
export interface RateState {
  tokens: number;
  atMs: number;
}

/** Takes one permission and tells how long to wait for it; the bucket may go into debt. */
export function takeToken(state: RateState, now: { nowMs: number; perSecond: number }): number {
  const gained = ((now.nowMs - state.atMs) / 1_000) * now.perSecond;
  state.tokens = Math.min(now.perSecond, state.tokens + Math.max(0, gained)) - 1;
  state.atMs = now.nowMs;
  return state.tokens >= 0 ? 0 : (-state.tokens / now.perSecond) * 1_000;
}
