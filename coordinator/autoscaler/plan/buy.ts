/** Which machines are made for what is missing, and what keeps them from being made. */
import type { FleetInputs, FleetInstance, FleetOffer, FleetPlan, FleetPool } from './inputs.ts';
import { lookAgain, secondsText } from './inputs.ts';
import type { RankedOffer } from './rank.ts';
import { rankOffers } from './rank.ts';
import type { Spending } from './spend.ts';
import { dollars, leastLifeMs } from './spend.ts';
import type { Want } from './wants.ts';
import { countCarriers, takeByOne } from './wants.ts';

const hourMs = 3_600_000;

export interface Purchase {
  inputs: FleetInputs;
  pool: FleetPool;
  /** All that is there of the pool, of whatever state. */
  present: readonly FleetInstance[];
  /** What no machine at hand carries within the horizon. */
  wants: readonly Want[];
  horizonMs: number;
  /** Made even when no work asks for them: minimum and spares. */
  spares: number;
  spending: Spending;
  /** Dollars that may be committed; infinite without a cap in all. */
  free: number;
}

export interface Bought {
  /** Instances that the work at hand is worth beyond those that are there, bought or not. */
  missing: number;
  heldBack: string | null;
}

/** Orders what is missing from the first offer that can be had; falls back to the next. */
export function buy(plan: FleetPlan, purchase: Purchase): Bought {
  const { inputs, pool, wants, horizonMs } = purchase;
  const { nowMs } = inputs;
  const paused: string[] = [];
  let missing = 0;
  let room = pool.instancesMax - purchase.present.length;
  let sparesLeft = purchase.spares;
  let heldBack: string | null = null;
  const budget = createBudget(purchase);
  if (wants.every(({ places }) => places <= 0) && sparesLeft === 0) return { missing, heldBack };
  for (const ranked of rankOffers(inputs, pool, { wants, horizonMs })) {
    const { offer } = ranked;
    const carrier = { ...offer.shape, images: pool.images, namespaces: pool.namespaces };
    const carriers = countCarriers(wants, carrier, horizonMs);
    const count = Math.max(carriers, sparesLeft);
    if (count === 0) continue;
    missing = Math.max(missing, carriers);
    if (pool.hold !== null && nowMs < pool.hold.untilMs) {
      lookAgain(plan, pool.hold.untilMs);
      return { missing, heldBack: `${pool.hold.reason} ${againIn(pool.hold.untilMs - nowMs)}` };
    }
    if (nowMs < offer.pausedUntilMs) {
      lookAgain(plan, offer.pausedUntilMs);
      paused.push(`${offer.pauseReason} ${againIn(offer.pausedUntilMs - nowMs)}`);
      continue;
    }
    if (ranked.isHopeless) {
      paused.push(`${ranked.reason} Hardly anything would be finished on ${offer.id}.`);
      continue;
    }
    const limits: [number, string][] = [
      [room, `The pool's limit is ${pool.instancesMax} instances.`],
      carefulLimit(inputs, offer, purchase.present),
      budget.limit(offer),
    ];
    const [allowed, why] = limits.reduce((least, limit) => (limit[0] < least[0] ? limit : least));
    const made = Math.max(0, Math.min(count, allowed));
    if (made > 0) {
      room -= made;
      sparesLeft -= Math.min(made, sparesLeft);
      budget.take(offer, made);
      for (let one = 0; one < made; one += 1) takeByOne(wants, carrier, horizonMs);
      plan.decisions.push({
        kind: 'create',
        pool: pool.pool,
        offer: offer.id,
        count: made,
        reason: describe(count, { pool, ranked, paused }),
      });
    }
    if (made < count) heldBack = why;
    // A cap is a cap for every offer; only what an offer itself refuses goes to the next.
    if (made === count || room <= 0 || why !== carefulLimit(inputs, offer, purchase.present)[1]) {
      return { missing, heldBack };
    }
  }
  return { missing, heldBack: (heldBack ?? paused.join(' ')) || null };
}

function describe(
  count: number,
  options: { pool: FleetPool; ranked: RankedOffer; paused: readonly string[] },
): string {
  const { pool, ranked, paused } = options;
  const { offer, reason } = ranked;
  const what = pool.offers.length > 1 ? ` of ${offer.id}` : '';
  const instead = paused.length > 0 ? ` ${paused.join(' ')}` : '';
  const costs = reason === null ? '' : ` ${reason}`;
  return `The queue is worth ${count} instances${what} more than are there or booting.${instead}${costs}`;
}

/**
 * One at a time of what has failed to boot, until one boots; one of what was refused, until one is
 * granted, which costs nothing to find out; not all at once of what has never booted.
 */
function carefulLimit(
  inputs: FleetInputs,
  offer: FleetOffer,
  present: readonly FleetInstance[],
): [number, string] {
  const booting = present.filter((one) => one.state === 'booting' && one.offer === offer.id);
  if (offer.failures > 0) {
    return [
      1 - booting.length,
      `${offer.id} failed ${timesText(offer.failures)}; it is tried one at a time.`,
    ];
  }
  if (offer.refusals > 0) {
    return [
      1 - booting.filter(({ isGranted }) => !isGranted).length,
      `${offer.id} was refused ${timesText(offer.refusals)}; one is asked for first.`,
    ];
  }
  if (offer.boots > 0) return [Number.POSITIVE_INFINITY, ''];
  return [
    inputs.settings.unprovenBootsMax - booting.length,
    `${offer.id} has never booted yet; at most ${inputs.settings.unprovenBootsMax} boot at once until one has.`,
  ];
}

function timesText(times: number): string {
  return times === 1 ? 'the last time' : `${times} times in a row`;
}

/** What the spend caps leave; what is bought now counts, so that a burst cannot pass them. */
function createBudget(purchase: Purchase): {
  limit(offer: FleetOffer): [number, string];
  take(offer: FleetOffer, count: number): void;
} {
  const { pool, inputs, spending } = purchase;
  const { spendPerHourMax, spendTotalMax } = pool;
  let { perHour } = spending;
  let free = purchase.free;
  const costOf = (offer: FleetOffer): number =>
    (offer.pricePerHour * leastLifeMs(inputs, pool, offer)) / hourMs;
  const unlimited = Number.POSITIVE_INFINITY;
  return {
    limit(offer) {
      if (offer.pricePerHour === 0) return [unlimited, ''];
      const byHour =
        spendPerHourMax === null
          ? unlimited
          : Math.floor((spendPerHourMax - perHour) / offer.pricePerHour + 1e-9);
      const each = costOf(offer);
      const inAll = spendTotalMax === null ? unlimited : Math.floor(free / each + 1e-9);
      return byHour <= inAll
        ? [byHour, `The pool may cost $${spendPerHourMax} an hour; it costs ${dollars(perHour)}.`]
        : [
            inAll,
            `The pool may cost $${spendTotalMax} in all; ${dollars(pool.spent)} are spent, what is there needs up to ${dollars(spending.kept)} more until it has ended, and one of ${offer.id} costs at least ${dollars(each)}.`,
          ];
    },
    take(offer, count) {
      perHour += offer.pricePerHour * count;
      free -= count * costOf(offer);
    },
  };
}

function againIn(leftMs: number): string {
  return `Tried again in ${secondsText(leftMs)}.`;
}
