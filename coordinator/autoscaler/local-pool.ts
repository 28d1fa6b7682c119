/** The pool of local processes, as the coordinator's own settings say. */
import type { PoolSpec } from './lifecycle/state.ts';
import type { Provider } from './provider-port.ts';

/** Assumed until a boot was measured. */
const bootMsGuess = 1_500;
/** For a drained instance whose node has left to end by itself. */
const leaveMsMax = 5_000;
/** Between asking an instance to end and killing it. */
const killAfterMs = 3_000;
const retryBaseMs = 1_000;
const retryMaxMs = 60_000;

export function describeLocalPool(
  provider: Provider,
  settings: { localNodes: number; nodeIdleMs: number; nodeBootMsMax: number; dryRun: boolean },
): PoolSpec {
  return {
    pool: provider.pool,
    provider: provider.kind,
    instancesMin: 0,
    instancesMax: settings.localNodes,
    warm: 0,
    idleMs: settings.nodeIdleMs,
    billingFloorMs: 0,
    spendPerHourMax: null,
    spendTotalMax: null,
    namespaces: null,
    offers: provider.offers(),
    bootMsGuess,
    bootMsMax: settings.nodeBootMsMax,
    leaveMsMax,
    killAfterMs,
    retryBaseMs,
    retryMaxMs,
    dryRun: settings.dryRun,
  };
}
