/**
 * How many calls a token may make: a bucket for each that fills at a steady rate, so that one client
 * in a loop does not take the loop of the process from all others. HTTP and libp2p share it.
 */
import { PerigeeError } from '../../protocol/base/errors.ts';

/** Counts calls by token. */
export interface RateLimit {
  /**
   * Takes one call.
   * @throws PerigeeError rate_limited, with `retryAfterSeconds` among its details
   */
  take(tokenId: string): void;
}

export interface RateLimitSettings {
  /** Calls of one token that are let through a second in the long run; 0 for any number. */
  callsPerSecondMax: number;
  /** Calls at once by a token that has been quiet. */
  callsBurst: number;
}

interface Bucket {
  calls: number;
  atMs: number;
}

/** Buckets that are kept; full ones are as good as new and go first. */
const bucketsMax = 10_000;

/** A limit for every token alike. */
export function createRateLimit(
  clock: { nowMs(): number },
  settings: RateLimitSettings,
): RateLimit {
  const { callsPerSecondMax, callsBurst } = settings;
  const capacity = Math.max(1, callsBurst);
  const buckets = new Map<string, Bucket>();
  const refill = (bucket: Bucket, nowMs: number): void => {
    // A clock that steps back fills nothing.
    const passedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.calls = Math.min(capacity, bucket.calls + (passedMs * callsPerSecondMax) / 1000);
    bucket.atMs = nowMs;
  };
  const dropFull = (nowMs: number): void => {
    for (const [tokenId, bucket] of buckets) {
      refill(bucket, nowMs);
      if (bucket.calls >= capacity) buckets.delete(tokenId);
    }
  };
  return {
    take(tokenId) {
      if (callsPerSecondMax === 0) return;
      const nowMs = clock.nowMs();
      let bucket = buckets.get(tokenId);
      if (bucket === undefined) {
        if (buckets.size >= bucketsMax) dropFull(nowMs);
        bucket = { calls: capacity, atMs: nowMs };
        buckets.set(tokenId, bucket);
      }
      refill(bucket, nowMs);
      if (bucket.calls < 1) {
        const retryAfterSeconds = Math.ceil((1 - bucket.calls) / callsPerSecondMax);
        throw new PerigeeError(
          'rate_limited',
          `The token makes more than ${callsPerSecondMax} calls a second.`,
          { details: { retryAfterSeconds } },
        );
      }
      bucket.calls -= 1;
    },
  };
}
