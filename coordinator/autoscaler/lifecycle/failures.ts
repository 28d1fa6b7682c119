/** What a failure means for what is tried next: a ladder for an offer, a hold for a pool. */
import type { ProviderFailureKind } from '../provider-port.ts';
import type { FleetState, InstanceRecord, OfferRecord, PoolRecord } from './state.ts';

/** Longest pause while a cloud does not answer or asks to be called less. */
const awayMsMax = 60_000;

/** A boot came to nothing: money was spent, so that the offer is tried with care until one boots. */
export function noteOfferFailure(
  pool: PoolRecord,
  offerId: string,
  options: { nowMs: number; reason: string },
): void {
  const offer = pool.offers.get(offerId);
  // Machines asked for together fail together: that is one failure, not one for each.
  if (offer === undefined || options.nowMs < offer.pausedUntilMs) return;
  offer.failures += 1;
  pause(pool, offer, { ...options, verb: 'failed', times: offer.failures });
}

/** The cloud has none now, or took one back: nothing is wrong with the offer once it grants again. */
export function noteRefusal(
  pool: PoolRecord,
  offerId: string,
  options: { nowMs: number; reason: string },
): void {
  const offer = pool.offers.get(offerId);
  if (offer === undefined || options.nowMs < offer.pausedUntilMs) return;
  offer.refusals += 1;
  pause(pool, offer, { ...options, verb: 'was refused', times: offer.refusals });
}

/** The provider has made one: it may be asked for as many as are wanted. */
export function noteGrant(pool: PoolRecord, offerId: string): void {
  const offer = pool.offers.get(offerId);
  if (offer !== undefined) offer.refusals = 0;
}

/** An offer is left alone for a time that doubles; the next offer takes its place meanwhile. */
function pause(
  pool: PoolRecord,
  offer: OfferRecord,
  options: { nowMs: number; reason: string; verb: string; times: number },
): void {
  offer.pausedUntilMs = options.nowMs + ladderMs(pool, options.times);
  const times = options.times === 1 ? '' : ` ${options.times} times in a row`;
  offer.pauseReason = `${offer.offer.id} ${options.verb}${times}: ${options.reason}`;
}

/** By kind: a stockout is the offer's, missing permission or a network that is down the whole pool's. */
export function noteCreateFailure(
  pool: PoolRecord,
  offerId: string,
  options: { nowMs: number; failure: ProviderFailureKind; message: string },
): void {
  const { nowMs, failure, message } = options;
  if (failure === 'stockout' || failure === 'quota' || failure === 'invalid') {
    noteRefusal(pool, offerId, { nowMs, reason: message });
    return;
  }
  if (pool.hold !== null && nowMs < pool.hold.untilMs) return;
  pool.holds += 1;
  // Nothing was bought: a cloud that is away may be asked again soon, one that says no may not.
  const longestMs = failure === 'denied' ? pool.spec.retryMaxMs : awayMsMax;
  pool.hold = {
    reason: `The provider answers "${failure}": ${message}`,
    untilMs: nowMs + Math.min(longestMs, ladderMs(pool, pool.holds)),
  };
}

/** A boot that came through clears what its offer and pool had against them. */
export function noteBoot(
  state: FleetState,
  record: InstanceRecord,
  options: { nowMs: number },
): void {
  const pool = state.pools.get(record.pool);
  const offer = pool?.offers.get(record.offer);
  if (pool === undefined || offer === undefined) return;
  const tookMs = Math.min(options.nowMs - record.requestedAtMs, pool.spec.bootMsMax);
  const weight = offer.boots === 0 ? 1 : state.settings.bootWeight;
  offer.bootMs += weight * (tookMs - offer.bootMs);
  offer.boots += 1;
  offer.failures = 0;
  offer.refusals = 0;
  offer.pausedUntilMs = Number.NEGATIVE_INFINITY;
  pool.hold = null;
  pool.holds = 0;
}

function ladderMs(pool: PoolRecord, failures: number): number {
  const { retryBaseMs, retryMaxMs } = pool.spec;
  return Math.min(retryMaxMs, retryBaseMs * 2 ** Math.min(failures - 1, 30));
}
