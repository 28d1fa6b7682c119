/** Which machines are given back, and not before what. */
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import type { FleetInputs, FleetInstance, FleetPlan, FleetPool } from './inputs.ts';
import { lookAgain, secondsText } from './inputs.ts';
import { waitUntilMs } from './levels.ts';

/**
 * Of the idle ones, at most `live - keep`: the dearest first, then those whose cache others have,
 * too. Answers how many idle ones are kept for now in the hope of work.
 */
export function retire(
  plan: FleetPlan,
  options: {
    inputs: FleetInputs;
    pool: FleetPool;
    working: readonly FleetInstance[];
    /** Working and booting. */
    live: number;
    keep: number;
  },
): number {
  const { inputs, pool, working, live, keep } = options;
  const { nowMs } = inputs;
  if (live <= keep) return 0;
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
    .slice(0, Math.max(0, live - keep));
  let waiting = 0;
  for (const [index, one] of idle.entries()) {
    const dueMs = findDueMs(inputs, { pool, one, level: live - index });
    if (nowMs < dueMs) {
      lookAgain(plan, dueMs);
      waiting += 1;
      continue;
    }
    const reason = `It has been idle for ${secondsText(nowMs - one.idleSinceMs)}.`;
    plan.decisions.push({ kind: 'drain', instance: one.instance, node: one.node, reason });
  }
  return waiting;
}

/**
 * A paused node does no work and is paid for. An operator may let it work again for as long as a boot
 * may take; a bad image then costs a machine every so often, and not one a minute.
 */
export function retirePaused(
  plan: FleetPlan,
  options: { inputs: FleetInputs; pool: FleetPool; stopped: ReadonlySet<InstanceId> },
): void {
  const { inputs, pool, stopped } = options;
  for (const { instance, node, ...one } of inputs.instances) {
    if (one.pool !== pool.pool || !one.isPaused || one.isEnding || stopped.has(instance)) continue;
    if (node === null || one.held > 0 || one.idleSinceMs === null) continue;
    const dueMs = one.idleSinceMs + pool.bootMsMax;
    if (inputs.nowMs < dueMs) {
      lookAgain(plan, dueMs);
      continue;
    }
    const idle = secondsText(inputs.nowMs - one.idleSinceMs);
    const reason = `Its node is paused, workers died on it, and it has been idle for ${idle}.`;
    plan.decisions.push({ kind: 'drain', instance, node, reason });
  }
}

/** `level`: how many machines there are with it; work for so many must come for it to be used. */
function findDueMs(
  inputs: FleetInputs,
  options: { pool: FleetPool; one: FleetInstance & { idleSinceMs: number }; level: number },
): number {
  const { pool, one, level } = options;
  const { settings } = inputs;
  const bootMs = pool.offers.find(({ id }) => id === one.offer)?.bootMs ?? 0;
  // For the last one, waiting as long as a boot costs at most twice what perfect foresight would.
  // For a whole fleet that would double what a burst costs, so the others need a reason to wait.
  const idleBoots = level === 1 ? settings.idleBoots : settings.surplusIdleBoots;
  const waitMs = waitUntilMs(pool.levels[level - 1], {
    waitMsMax: settings.waitBootsMax * bootMs,
    slack: settings.waitSlack,
  });
  return Math.max(
    one.idleSinceMs + Math.max(pool.idleMs, idleBoots * bootMs),
    one.requestedAtMs + pool.billingFloorMs,
    waitMs ?? Number.NEGATIVE_INFINITY,
  );
}
