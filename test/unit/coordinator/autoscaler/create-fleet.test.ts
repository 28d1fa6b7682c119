import { describe, expect, it } from 'vitest';
import type { Fleet } from '../../../../coordinator/autoscaler/create-fleet.ts';
import { createFleet } from '../../../../coordinator/autoscaler/create-fleet.ts';
import type { PoolSpec } from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import { defaultLifecycleSettings } from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import { defaultFleetSettings } from '../../../../coordinator/autoscaler/plan/inputs.ts';
import type { Provider } from '../../../../coordinator/autoscaler/provider-port.ts';
import { createCommandProvider } from '../../../../coordinator/autoscaler/providers/command/create-provider.ts';
import { createSteadyClock } from '../../../../coordinator/autoscaler/steady-clock.ts';
import { defaultCoreSettings } from '../../../../coordinator/core/settings.ts';
import { createState } from '../../../../coordinator/core/state.ts';
import { createMemoryStore } from '../../../../coordinator/store/memory.ts';
import { offer } from './plan/fleets.ts';

const noHurryMs = 60_000;

/** A fleet that wants one machine of one pool, made by a program. */
async function openFleet(options: {
  create: string;
  timeoutMs: number;
  creationsMsMax?: number;
  userData?: () => Promise<string>;
}) {
  const store = createMemoryStore();
  const deps = { pool: 'cloud', offers: [offer()], coordinator: 'mine', env: process.env };
  const provider: Provider = createCommandProvider(
    {
      ...{ create: ['sh', '-c', options.create], list: ['echo', '[]'], destroy: ['true'] },
      timeoutMs: options.timeoutMs,
    },
    deps,
  );
  const spec: PoolSpec = {
    ...{ pool: 'cloud', provider: 'command', instancesMin: 1, instancesMax: 1, warm: 0 },
    ...{ idleMs: 0, billingFloorMs: 0, spendPerHourMax: null, spendTotalMax: null },
    ...{ namespaces: null, offers: deps.offers, bootMsGuess: 60_000, bootMsMax: 600_000 },
    ...{ leaveMsMax: 60_000, killAfterMs: 5_000, retryBaseMs: 60_000, retryMaxMs: 3_600_000 },
    dryRun: false,
  };
  const restored = { groups: [], batches: [], nextBatch: 1, outcomeNumbers: [], nextSession: 1 };
  const core = createState({ seed: 1, settings: defaultCoreSettings, restored, now: 0 });
  const fleet = createFleet(
    {
      driver: { dispatch: () => undefined, onTick: () => () => undefined, state: () => core },
      store,
      pools: [{ spec, provider, faults: [] }],
      bootstrap: { userData: options.userData ?? (async () => '#!/bin/sh\n') },
      images: { list: async () => [] },
      clock: createSteadyClock(),
      log: { info: () => undefined, warn: () => undefined },
    },
    {
      tickMs: 20,
      stopMsMax: noHurryMs,
      creationsMsMax: options.creationsMsMax ?? noHurryMs,
      goneKeptMs: noHurryMs,
      lifecycle: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
    },
  );
  await fleet.start();
  return fleet;
}

const told = async (fleet: Fleet): Promise<string[]> =>
  (await fleet.events(20)).map(({ event, text }) => `${event}: ${text}`);

describe('createFleet', () => {
  it('gives a provider the time that it asks for, and no more', async () => {
    const fleet = await openFleet({ create: 'sleep 60', timeoutMs: 300 });
    await expect
      .poll(() => told(fleet), { timeout: 20_000 })
      .toContain('create failed: small: unavailable: sh took over 0.3 s: ');
    // It may be there: only a listing tells.
    expect(fleet.state().instances.size).toBe(1);
    await fleet.stop();
  });

  it('books no machine when its user data could not be made', async () => {
    const fleet = await openFleet({
      ...{ create: 'echo handle', timeoutMs: noHurryMs },
      userData: () => Promise.reject(new Error('there is no program "bwrap"')),
    });
    await expect
      .poll(() => told(fleet), { timeout: 20_000 })
      .toContain('create failed: small: unavailable: there is no program "bwrap"');
    expect(fleet.state().instances.size).toBe(0);
    await fleet.stop();
  });

  it('stops in the midst of a creation that may take an hour', async () => {
    const fleet = await openFleet({
      create: 'sleep 120',
      timeoutMs: 3_600_000,
      creationsMsMax: 100,
    });
    await expect.poll(() => fleet.state().instances.size, { timeout: 20_000 }).toBe(1);
    const begunAtMs = Date.now();
    await fleet.stop();
    expect(Date.now() - begunAtMs).toBeLessThan(30_000);
    expect(await told(fleet)).toContain(
      'create failed: small: unavailable: sh was ended by a signal: ',
    );
  });
});
