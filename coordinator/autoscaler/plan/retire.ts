/** Which machines are given back, and not before what. */
import type { FleetInputs, FleetInstance, FleetPlan, FleetPool } from './inputs.ts';
import { lookAgain, secondsText } from './inputs.ts';

/** Of the idle ones, at most `spare`: the dearest first, then those whose cache others have, too. */
export function retire(
  plan: FleetPlan,
  options: {
    inputs: FleetInputs;
    pool: FleetPool;
    working: readonly FleetInstance[];
    spare: number;
  },
): void {
  const { inputs, pool, working, spare } = options;
  const { nowMs } = inputs;
  if (pool.spendTotalMax !== null && pool.spent >= pool.spendTotalMax) {
    stopSpending(plan, pool, working);
    return;
  }
  const idle = working
    .flatMap((one) =>
      one.idleSinceMs === null || one.held > 0 || one.node === null
        ? []
        : [{ ...one, node: one.node, idleSinceMs: one.idleSinceMs }],
    )
    .sort(
      (one, other) =>
        other.pricePerHour - one.pricePerHour ||
        one.uniqueCacheBytes - other.uniqueCacheBytes ||
        one.idleSinceMs - other.idleSinceMs,
    )
    .slice(0, Math.max(0, spare));
  for (const one of idle) {
    const bootMs = pool.offers.find(({ id }) => id === one.offer)?.bootMs ?? 0;
    // Waiting for as long as a boot takes costs at most twice what perfect foresight would.
    const idleMs = Math.max(pool.idleMs, inputs.settings.idleBoots * bootMs);
    const dueMs = Math.max(one.idleSinceMs + idleMs, one.requestedAtMs + pool.billingFloorMs);
    if (nowMs < dueMs) {
      lookAgain(plan, dueMs);
      continue;
    }
    const reason = `It has been idle for ${secondsText(nowMs - one.idleSinceMs)}.`;
    plan.decisions.push({ kind: 'drain', instance: one.instance, node: one.node, reason });
  }
}

/** Busy ones, too: they finish what they hold and take nothing more. */
function stopSpending(plan: FleetPlan, pool: FleetPool, working: readonly FleetInstance[]): void {
  const reason = `The pool has spent the $${pool.spendTotalMax} that it may cost in all.`;
  for (const { instance, node } of working) {
    if (node !== null) plan.decisions.push({ kind: 'drain', instance, node, reason });
  }
}
