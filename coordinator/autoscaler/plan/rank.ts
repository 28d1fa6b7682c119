/**
 * Which offer is made first. As the pool lists them, but for one that has been taken back lately: it
 * comes after all that are expected to cost less for the work that they finish.
 */
import type { FleetInputs, FleetOffer, FleetPool } from './inputs.ts';
import { secondsText } from './inputs.ts';
import { findLifeMs } from './interruptions.ts';
import type { Want } from './wants.ts';
import { typicalTaskMs } from './wants.ts';

/** Below it an interruption is forgotten: a fortieth of a fleet half a day ago. */
const countMin = 0.01;

export interface RankedOffer {
  readonly offer: FleetOffer;
  /** Why offers do not come as they are listed, or why they do all the same; null without a history. */
  readonly reason: string | null;
  /** It is taken back so soon that next to nothing would be finished. */
  readonly isHopeless: boolean;
}

interface Valued {
  readonly offer: FleetOffer;
  readonly hasHistory: boolean;
  /** Of the time that is paid for, what becomes finished work. */
  readonly share: number;
  /** Dollars for an hour of finished work on one slot; null when the price is not known. */
  readonly cost: number | null;
}

export function rankOffers(
  inputs: FleetInputs,
  pool: FleetPool,
  options: { wants: readonly Want[]; horizonMs: number },
): RankedOffer[] {
  if (!pool.offers.some(hasHistory)) {
    return pool.offers.map((offer) => ({ offer, reason: null, isHopeless: false }));
  }
  const taskMs = typicalTaskMs(options.wants, inputs.settings);
  const values = pool.offers.map((offer) =>
    valueOffer(inputs, pool, { ...options, offer, taskMs }),
  );
  const order: Valued[] = [];
  for (const value of values) {
    if (order.includes(value)) continue;
    if (value.hasHistory) order.push(...findCheaper(value, values, order));
    order.push(value);
  }
  const reason = describe(inputs, values);
  const { finishedShareMin } = inputs.settings;
  return order.map(({ offer, share, hasHistory: has }) => ({
    offer,
    reason,
    isHopeless: has && share < finishedShareMin,
  }));
}

function hasHistory({ interruptions }: FleetOffer): boolean {
  return interruptions.count >= countMin;
}

/** The cheapest first; nothing is cheaper than what has no price. */
function findCheaper(value: Valued, values: readonly Valued[], order: readonly Valued[]): Valued[] {
  const { cost } = value;
  if (cost === null) return [];
  return values
    .filter((other) => other.cost !== null && other.cost < cost && !order.includes(other))
    .sort((one, other) => (one.cost ?? 0) - (other.cost ?? 0));
}

/**
 * A machine is paid for from its boot to its end and is taken back at any moment alike, after `lifeMs`
 * on average. Until it has booted nothing is done; a task of `taskMs` is begun again until one
 * run comes through, which takes `life × (e^(task ÷ life) − 1)`.
 */
export function finishedShare(options: {
  lifeMs: number;
  bootMs: number;
  useMs: number;
  taskMs: number;
}): number {
  const { lifeMs, bootMs, useMs, taskMs } = options;
  if (lifeMs === Number.POSITIVE_INFINITY) return useMs / (bootMs + useMs);
  const bootShare = Math.exp(-bootMs / lifeMs);
  const paid = 1 - Math.exp(-(bootMs + useMs) / lifeMs);
  const worked = bootShare * (1 - Math.exp(-useMs / lifeMs));
  const tries = taskMs <= 0 ? 1 : (lifeMs / taskMs) * Math.expm1(taskMs / lifeMs);
  return worked / paid / tries;
}

function valueOffer(
  inputs: FleetInputs,
  pool: FleetPool,
  options: { offer: FleetOffer; wants: readonly Want[]; horizonMs: number; taskMs: number },
): Valued {
  const { offer, wants, horizonMs, taskMs } = options;
  const { slots } = offer.shape;
  const workMs = wants.reduce((sum, want) => sum + want.workMs, 0);
  const share = finishedShare({
    lifeMs: offer.spot
      ? findLifeMs(offer.interruptions, inputs.settings)
      : Number.POSITIVE_INFINITY,
    bootMs: offer.bootMs,
    // A machine works for as long as the pool's largest fleet would have work.
    useMs: Math.max(horizonMs, workMs / Math.max(1, pool.instancesMax * slots)),
    taskMs,
  });
  const cost = offer.pricePerHour === 0 ? null : offer.pricePerHour / Math.max(1, slots) / share;
  return { offer, hasHistory: hasHistory(offer), share, cost };
}

function describe(inputs: FleetInputs, values: readonly Valued[]): string {
  const taken = values
    .filter((value) => value.hasHistory)
    .map(({ offer }) => {
      const lifeMs = findLifeMs(offer.interruptions, inputs.settings);
      return `${offer.id} has lately been taken back every ${secondsText(lifeMs)}.`;
    });
  const costs = values.flatMap(({ offer, cost }) =>
    cost === null ? [] : [`$${cost.toFixed(2)} of ${offer.id}`],
  );
  if (costs.length === 0) return taken.join(' ');
  return `${taken.join(' ')} An hour of finished work is expected to cost ${costs.join(', ')}.`;
}
