/** What a failure means for what is tried next: a ladder for an offer, a hold for a pool. */
import type { ProviderFailureKind } from '../provider-port.ts';
import type { FleetState, InstanceRecord, PoolRecord } from './state.ts';

/** Longest pause while a cloud does not answer or asks to be called less. */
const awayMsMax = 60_000;
/** How an offer's count of either kind is told. */
const verbs = { failures: 'failed', refusals: 'was refused' } as const;

/** A boot came to nothing: money was spent, so that the offer is tried with care until one boots. */
export function noteOfferFailure(
  pool: PoolRecord,
  offerId: string,
  options: { nowMs: number; reason: string },
): void {
  pause(pool, offerId, { ...options, counter: 'failures' });
}

/** The cloud has none now, or took one back: nothing is wrong with the offer once it grants again. */
export function noteRefusal(
  pool: PoolRecord,
  offerId: string,
  options: { nowMs: number; reason: string },
): void {
  pause(pool, offerId, { ...options, counter: 'refusals' });
}

/** The provider has made one: it may be asked for as many as are wanted. */
export function noteGrant(pool: PoolRecord, offerId: string): void {
  const offer = pool.offers.get(offerId);
  if (offer !== undefined) offer.refusals = 0;
}

/** An offer is left alone for a time that doubles; the next offer takes its place meanwhile. */
function pause(
  pool: PoolRecord,
  offerId: string,
  options: { nowMs: number; reason: string; counter: keyof typeof verbs },
): void {
  const { nowMs, reason, counter } = options;
  const offer = pool.offers.get(offerId);
  // Machines asked for together fail together: that is one failure, not one for each.
  if (offer === undefined || nowMs < offer.pausedUntilMs) return;
  offer[counter] += 1;
  offer.pausedUntilMs = nowMs + ladderMs(pool, offer[counter]);
  const times = offer[counter] === 1 ? '' : ` ${offer[counter]} times in a row`;
  offer.pauseReason = `${offer.offer.id} ${verbs[counter]}${times}: ${reason}`;
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
