/** From the pools file to pools that the fleet runs: each with its provider, checked before it may buy. */
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { PoolSpec } from '../lifecycle/state.ts';
import type { Provider } from '../provider-port.ts';
import type { CloudDeps } from '../providers/cloud-provider.ts';
import type { loadProvider } from '../providers/load-provider.ts';
import type { PoolEntry, PoolKind } from './read-pools.ts';

export interface OpenPool {
  spec: PoolSpec;
  provider: Provider;
  /** What is in the way; the pool makes nothing and says so. */
  faults: string[];
}

/** Assumed until a boot was measured. */
const bootMsGuess: Record<PoolKind, number> = {
  ec2: 90_000,
  gce: 60_000,
  slurm: 30_000,
  command: 120_000,
};
/** Machines elsewhere are ended, never killed. */
const killAfterMs = Number.POSITIVE_INFINITY;
const retryBaseMs = 60_000;
const retryMaxMs = 3_600_000;

/**
 * Opens every pool; missing credentials, types and zones become faults, a wrong field ends the start.
 * @throws PerigeeError invalid_request
 */
export async function openPools(
  entries: readonly PoolEntry[],
  options: Pick<CloudDeps, 'coordinator' | 'env'> & { load: typeof loadProvider; dryRun: boolean },
): Promise<OpenPool[]> {
  // All files' fields before the first SDK is loaded.
  const openers = await Promise.all(entries.map((entry) => load(entry, options.load)));
  return Promise.all(
    entries.map(async (entry, index) => {
      const { name: pool, offers } = entry;
      const { coordinator, env } = options;
      const open = openers[index];
      if (open === undefined) throw new PerigeeError('internal', `Pool ${pool} was not loaded.`);
      const provider = await open({ pool, offers, coordinator, env });
      const spec = describePool(entry, options.dryRun);
      return { spec, provider, faults: await check(provider) };
    }),
  );
}

async function load(entry: PoolEntry, loadFields: typeof loadProvider) {
  try {
    return await loadFields(entry.kind, entry.fields);
  } catch (caught) {
    const cause = toError(caught);
    throw new PerigeeError('invalid_request', `Pool "${entry.name}": ${cause.message}`, {
      cause,
      ...(cause instanceof PerigeeError ? { fix: cause.fix } : {}),
    });
  }
}

async function check(provider: Provider): Promise<string[]> {
  try {
    const faults = await provider.check(AbortSignal.timeout(provider.answerMsMax));
    return faults.map(({ message, fix }) => `${message} ${fix}`);
  } catch (caught) {
    return [`It could not be checked: ${toError(caught).message}`];
  }
}

function describePool(entry: PoolEntry, dryRun: boolean): PoolSpec {
  return {
    pool: entry.name,
    provider: entry.kind,
    instancesMin: entry.min,
    instancesMax: entry.max,
    warm: entry.warm,
    idleMs: entry.idleMs,
    billingFloorMs: entry.billingFloorMs,
    spendPerHourMax: entry.spendPerHourMax,
    spendTotalMax: entry.spendTotalMax,
    namespaces: entry.namespaces,
    offers: entry.offers,
    bootMsGuess: bootMsGuess[entry.kind],
    bootMsMax: entry.bootMsMax,
    leaveMsMax: entry.leaveMsMax,
    killAfterMs,
    retryBaseMs,
    retryMaxMs,
    dryRun: dryRun || entry.dryRun,
  };
}
