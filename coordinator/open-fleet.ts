/** The fleet of this coordinator: local processes, the pools of its file, and what makes their machines nodes. */
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PerigeeError } from '../protocol/base/errors.ts';
import type { Fleet, FleetDeps } from './autoscaler/create-fleet.ts';
import { createFleet } from './autoscaler/create-fleet.ts';
import { defaultLifecycleSettings } from './autoscaler/lifecycle/state.ts';
import { describeLocalPool } from './autoscaler/local-pool.ts';
import { defaultFleetSettings } from './autoscaler/plan/inputs.ts';
import type { OpenPool } from './autoscaler/pools/open-pools.ts';
import { openPools } from './autoscaler/pools/open-pools.ts';
import { readPools } from './autoscaler/pools/read-pools.ts';
import { loadProvider } from './autoscaler/providers/load-provider.ts';
import { createProcessProvider } from './autoscaler/providers/process.ts';
import { createSteadyClock } from './autoscaler/steady-clock.ts';
import type { BootFiles } from './bootstrap/create-bootstrap.ts';
import { createBootstrap } from './bootstrap/create-bootstrap.ts';
import type { Bootstrap } from './bootstrap/port.ts';
import { makeInstanceToken } from './instance-token.ts';
import type { CoordinatorSettings } from './settings.ts';
import { localNodeMemoryBytes } from './settings.ts';
import type { Store } from './store/port.ts';

export interface OpenFleetDeps extends Pick<FleetDeps, 'driver' | 'images' | 'log'> {
  settings: CoordinatorSettings;
  env: Readonly<Record<string, string | undefined>>;
  store: Store;
  /** The mesh's peer id: every machine is tagged with it. */
  coordinator: string;
  joinAddress: string;
  mounts: readonly string[];
  /** PEM of the HTTP edge; null without TLS. */
  certificate: string | null;
  /** Where machines reach HTTP when no setting says; known once it listens. */
  listeningUrl(): string;
}

/** How long a local node may take from its start until it shows its join token. */
const instanceTokenMs = 5 * 60_000;
/** Between two looks at local nodes of an earlier run. */
const adoptedWatchMs = 250;
/** For machines that are being made when the coordinator stops: programs may be given an hour. */
const creationsMsMax = 60_000;

/**
 * Opens every pool; none makes a machine before the fleet starts.
 * @throws PerigeeError invalid_request for a wrong pools file
 */
export async function openFleet(
  deps: OpenFleetDeps,
): Promise<{ fleet: Fleet; bootstrap: Bootstrap & BootFiles }> {
  const { settings, store, driver, images, log } = deps;
  const pools = [openLocalPool(deps), ...(await openCloudPools(deps))];
  const bootstrap = openBootstrap(deps, pools);
  const fleet = createFleet(
    { driver, store, pools, bootstrap, images, clock: createSteadyClock(), log },
    {
      tickMs: settings.fleetTickMs,
      stopMsMax: settings.stopMsMax,
      creationsMsMax,
      goneKeptMs: settings.instanceKeepMs,
      lifecycle: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
    },
  );
  return { fleet, bootstrap };
}

async function openCloudPools(deps: OpenFleetDeps): Promise<OpenPool[]> {
  const { coordinator, env } = deps;
  const { pools, fleetDryRun: dryRun } = deps.settings;
  if (pools === '') return [];
  return openPools(readPools(pools), { coordinator, env, load: loadProvider, dryRun });
}

function openLocalPool(deps: OpenFleetDeps): OpenPool {
  const { settings, store } = deps;
  const provider = createProcessProvider(
    {
      makeJoinToken: (instance) =>
        makeInstanceToken(store, { instance, nowMs: Date.now(), lifeMs: instanceTokenMs }),
      joinAddress: () => deps.joinAddress,
      log: deps.log,
    },
    {
      agentMain: fileURLToPath(new URL('../node-agent/main.ts', import.meta.url)),
      folder: join(settings.data, 'nodes'),
      shape: {
        slots: 1,
        cpus: 1,
        memoryBytes: localNodeMemoryBytes(settings, totalmem()),
        network: settings.allowNetwork,
      },
      mounts: deps.mounts,
      imageryAllow: settings.imageryAllow,
      orphanMs: settings.nodeOrphanMs,
      watchMs: adoptedWatchMs,
      env: deps.env,
    },
  );
  const spec = describeLocalPool(provider, { ...settings, dryRun: settings.fleetDryRun });
  return { provider, spec, faults: [] };
}

function openBootstrap(deps: OpenFleetDeps, pools: readonly OpenPool[]): Bootstrap & BootFiles {
  const { settings, store } = deps;
  const find = (name: string) => pools.find(({ spec }) => spec.pool === name);
  return createBootstrap(
    {
      store,
      clock: { nowMs: () => Date.now() },
      url: () => settings.bootUrl || deps.listeningUrl(),
      joinAddress: () => deps.joinAddress,
      kindOf: (pool) => find(pool)?.provider.kind,
    },
    {
      root: fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, ''),
      home: settings.home,
      tokenLifeMs: (pool) => tokenLifeMs(find(pool), settings.bootTokenMs),
      deadManMs: settings.deadManMs,
      certificate: deps.certificate,
      agentFlags: (pool, offer) => flagsOf(find(pool), offer),
    },
  );
}

/** As long as a pool waits for a machine that it asked for, at least: a job may be queued for days. */
export function tokenLifeMs(pool: OpenPool | undefined, leastMs: number): number {
  if (pool === undefined) return leastMs;
  return Math.max(leastMs, pool.provider.answerMsMax + pool.spec.bootMsMax);
}

/** A machine offers what was planned with, whatever it finds of itself. */
function flagsOf(pool: OpenPool | undefined, id: string): string[] {
  const offer = pool?.spec.offers.find((each) => each.id === id);
  if (offer === undefined) throw new PerigeeError('internal', `There is no offer "${id}".`);
  const { slots, cpus, memoryBytes, network } = offer.shape;
  const size = ['--slots', `${slots}`, '--cpus', `${cpus}`, '--memory-bytes', `${memoryBytes}`];
  return network ? [...size, '--allow-network'] : size;
}
