/** What the cloud takes back, as the plan will remember it: see `plan/interruptions.ts`. */
import type { Interruptions } from '../plan/interruptions.ts';
import { fadeInterruptions } from '../plan/interruptions.ts';
import { noteRefusal } from './failures.ts';
import type { FleetState, InstanceRecord, OfferRecord } from './state.ts';
import type { FleetTurn } from './turn.ts';

/** An offer's history as it stands now. */
export function recallInterruptions(
  state: FleetState,
  record: OfferRecord,
  nowMs: number,
): Interruptions {
  return fadeInterruptions(record.interruptions, {
    nowMs,
    presentSinceMs: record.presentSinceMs,
    halfLifeMs: state.settings.plan.interruptionHalfLifeMs,
  });
}

/** Notes which offers have machines now; time in which one has none says nothing of how long they live. */
export function notePresence(turn: FleetTurn): void {
  const { state, nowMs } = turn;
  for (const pool of state.pools.values()) {
    for (const offer of pool.offers.values()) {
      const isPresent = hasMachines(state, pool.spec.pool, offer.offer.id);
      if (isPresent === (offer.presentSinceMs !== null)) continue;
      offer.interruptions = recallInterruptions(state, offer, nowMs);
      offer.presentSinceMs = isPresent ? nowMs : null;
    }
  }
}

function hasMachines(state: FleetState, pool: string, offer: string): boolean {
  for (const record of state.instances.values()) {
    if (record.pool === pool && record.offer === offer) return true;
  }
  return false;
}

/**
 * A storm that takes all of an offer's machines is one interruption, one machine of forty a fortieth.
 * What costs is weighed by the plan; for an offer without a price the next takes its place for a while.
 */
export function noteInterruption(turn: FleetTurn, record: InstanceRecord): void {
  const { state, nowMs } = turn;
  const pool = state.pools.get(record.pool);
  const offer = pool?.offers.get(record.offer);
  if (pool === undefined || offer === undefined) return;
  if (offer.offer.pricePerHour === 0) {
    noteRefusal(pool, record.offer, { nowMs, reason: 'The cloud takes it back.' });
    return;
  }
  let present = 0;
  for (const other of state.instances.values()) {
    if (other.pool === record.pool && other.offer === record.offer) present += 1;
  }
  const before = recallInterruptions(state, offer, nowMs);
  offer.interruptions = { ...before, count: before.count + 1 / Math.max(1, present) };
  if (offer.presentSinceMs !== null) offer.presentSinceMs = nowMs;
}
