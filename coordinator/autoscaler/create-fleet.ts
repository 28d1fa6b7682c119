/**
 * The autoscaler's shell: looks after every tick that changed something, lets `planFleet` decide,
 * and performs what it decided. It decides nothing by itself.
 */
import { randomBytes } from 'node:crypto';
import { assert, assertNever } from '../../protocol/base/assert.ts';
import { toError } from '../../protocol/base/errors.ts';
import type { ImageDigest, InstanceId } from '../../protocol/wire/ids.ts';
import type { IsolationLevel, NodeImage } from '../../protocol/wire/task.ts';
import { demand } from '../core/views.ts';
import type { Driver } from '../driver-port.ts';
import type { Store } from '../store/port.ts';
import { findIsolation, listFleetInstances, listOtherCapacity } from './fleet-inputs.ts';
import { createInstances } from './instances.ts';
import type { FleetDecision, FleetInstance, FleetPool, FleetSettings } from './plan.ts';
import { planFleet } from './plan.ts';
import type { InstanceShape, Provider } from './provider-port.ts';

export interface FleetDeps {
  driver: Pick<Driver, 'dispatch' | 'onTick' | 'state'>;
  store: Pick<Store, 'listInstances' | 'saveInstance'>;
  provider: Provider;
  /** Images that an instance will have. */
  images: { list(): Promise<readonly NodeImage[]> };
  clock: { nowMs(): number };
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface FleetShellSettings {
  instancesMax: number;
  idleMs: number;
  bootMsMax: number;
  /** Between two looks when nothing happens. */
  tickMs: number;
  /** For instances to end when the fleet stops; then they are killed. */
  stopMsMax: number;
  plan: FleetSettings;
}

/** The fleet, as `main.ts` and the gateway see it. */
export interface Fleet {
  /** Finds instances of an earlier run again, then keeps the fleet as large as the work. */
  start(): Promise<void>;
  shapes(): readonly InstanceShape[];
  booting(): number;
  hold(): string | null;
  pids(): readonly number[];
  /** Asks every instance to end, kills those that do not; idempotent. */
  stop(): Promise<void>;
  /** Kills every instance now. */
  kill(): void;
}

/** Looks are at least so far apart: thousands of ticks a second need no thousand plans. */
const lookGapMs = 20;
/** Assumed until a boot was measured. */
const bootMsGuess = 1_500;
/** Weight of the latest boot in the measured time. */
const bootWeight = 0.3;
/** For a drained instance whose node has left to end by itself. */
const leaveMsMax = 5_000;
/** Between asking an instance to end and killing it. */
const killAfterMs = 3_000;

export function createFleet(deps: FleetDeps, settings: FleetShellSettings): Fleet {
  const { driver, provider, clock, log } = deps;
  const instances = createInstances(deps.store);
  /** All and only instances asked for whose node has joined at some time. */
  const joined = new Set<InstanceId>();
  const killTimers = new Map<InstanceId, NodeJS.Timeout>();
  let images: readonly ImageDigest[] = [];
  let bootMs = bootMsGuess;
  let bootFailures = 0;
  let bootFailedAtMs: number | null = null;
  let heldBack: string | null = null;
  let isolation: IsolationLevel | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let nextLook: NodeJS.Timeout | undefined;
  let looking = false;
  let lookAsked = false;
  let tickTimer: NodeJS.Timeout | undefined;
  let unsubscribe: (() => void) | undefined;
  let stopping: Promise<void> | undefined;
  let endWaiters: (() => void)[] = [];
  /** Creations under way, so that stopping waits for their process ids. */
  const creations = new Set<Promise<void>>();
  const calls = new AbortController();
  const [offer] = provider.offers();
  assert(offer !== undefined, `pool ${provider.pool} offers a machine`);

  const askLook = (): void => {
    if (nextLook !== undefined || stopping !== undefined) return;
    if (looking) {
      lookAsked = true;
      return;
    }
    // At once when nothing was looked at lately: a first task must not wait for a timer.
    const pauseMs = Math.max(0, lookedAtMs + lookGapMs - clock.nowMs());
    nextLook = setTimeout(
      () => {
        nextLook = undefined;
        look().catch((caught: unknown) => {
          log.warn({ err: toError(caught) }, 'the fleet could not be looked at');
        });
      },
      Math.min(pauseMs, lookGapMs),
    );
  };
  const look = async (): Promise<void> => {
    looking = true;
    try {
      lookedAtMs = clock.nowMs();
      images = (await deps.images.list()).map((image) => image.digest);
      if (stopping !== undefined) return;
      const state = driver.state();
      const rows = instances.list();
      const fleet = listFleetInstances(state, rows);
      noticeJoined(fleet);
      isolation = findIsolation(state, rows) ?? isolation;
      const plan = planFleet({
        nowMs: clock.nowMs(),
        settings: settings.plan,
        demand: demand(state),
        pools: [pool()],
        instances: fleet,
        others: listOtherCapacity(state, rows),
      });
      heldBack = plan.outlooks[0]?.heldBack ?? null;
      for (const decision of plan.decisions) perform(decision);
    } finally {
      looking = false;
      if (lookAsked) {
        lookAsked = false;
        askLook();
      }
    }
  };
  const pool = (): FleetPool => ({
    pool: provider.pool,
    instancesMax: settings.instancesMax,
    ...shape(),
    images,
    namespaces: null,
    idleMs: settings.idleMs,
    bootMs,
    bootMsMax: settings.bootMsMax,
    leaveMsMax,
    bootFailures,
    bootFailedAtMs,
  });
  /** What an instance carries, with the isolation that its kind was found to have. */
  const shape = (): InstanceShape => ({
    ...offer.shape,
    isolation: isolation ?? offer.shape.isolation,
  });
  const noticeJoined = (fleet: readonly FleetInstance[]): void => {
    for (const { instance, node, requestedAtMs } of fleet) {
      if (node === null || joined.has(instance)) continue;
      joined.add(instance);
      bootFailures = 0;
      bootFailedAtMs = null;
      const tookMs = clock.nowMs() - requestedAtMs;
      bootMs += bootWeight * (Math.min(tookMs, settings.bootMsMax) - bootMs);
      note(instances.change(instance, { state: 'joined' }));
    }
  };
  const perform = (decision: FleetDecision): void => {
    switch (decision.kind) {
      case 'create':
        for (let made = 0; made < decision.count; made += 1) create(decision.reason);
        return;
      case 'drain':
        log.info(decision, 'drains a node');
        note(instances.change(decision.instance, { state: 'draining', reason: decision.reason }));
        driver.dispatch({
          kind: 'nodeDrainAsked',
          request: null,
          node: decision.node,
          by: 'autoscaler',
        });
        return;
      case 'undrain':
        log.info(decision, 'keeps a node that was draining');
        note(instances.change(decision.instance, { state: 'joined', reason: decision.reason }));
        driver.dispatch({ kind: 'nodeUndrainAsked', request: null, node: decision.node });
        return;
      case 'destroy':
        destroy(decision);
        return;
      default:
        assertNever(decision);
    }
  };
  const create = (reason: string): void => {
    const instance = `${provider.pool}-${randomBytes(4).toString('hex')}` as InstanceId;
    const creation = (async () => {
      await instances.save({
        instance,
        pool: provider.pool,
        state: 'requested',
        handle: '',
        reason,
        requestedAtMs: clock.nowMs(),
        endedAtMs: null,
      });
      try {
        const handle = await provider.create(
          { instance, offer: offer.id, userData: '' },
          calls.signal,
        );
        log.info({ instance, handle, reason }, 'started a node');
        await instances.change(instance, { state: 'booting', handle });
      } catch (caught) {
        log.warn({ instance, err: toError(caught) }, 'a node could not be started');
        await ended(instance);
      }
    })();
    creations.add(creation);
    note(creation.finally(() => creations.delete(creation)));
  };
  const destroy = (decision: Extract<FleetDecision, { kind: 'destroy' }>): void => {
    const { instance, bootFailed, reason } = decision;
    if (killTimers.has(instance)) return;
    log.warn({ instance, reason }, 'ends a node’s process');
    if (bootFailed) noteBootFailure();
    // Whatever follows, it counts once: its end must not be taken for a second failure.
    joined.add(instance);
    terminate(instance);
    killTimers.set(
      instance,
      setTimeout(() => provider.kill(instance), killAfterMs),
    );
  };
  const terminate = (instance: InstanceId): void => {
    note(provider.terminate(instance, instances.find(instance)?.handle || null, calls.signal));
  };
  const noteBootFailure = (): void => {
    bootFailures += 1;
    bootFailedAtMs = clock.nowMs();
  };
  const ended = async (instance: InstanceId): Promise<void> => {
    clearTimeout(killTimers.get(instance));
    killTimers.delete(instance);
    // One that never joined has failed to boot, unless it was told to end.
    if (!joined.delete(instance) && stopping === undefined) noteBootFailure();
    driver.dispatch({ kind: 'instanceEnded', instance });
    await instances.change(instance, { state: 'gone', endedAtMs: clock.nowMs() });
    if (instances.list().length === 0) {
      for (const resolve of endWaiters) resolve();
      endWaiters = [];
    }
    askLook();
  };
  const note = (work: Promise<void>): void => {
    work.catch((caught: unknown) => {
      // The row is a copy of what the provider can be asked again: the next look mends it.
      log.warn({ err: toError(caught) }, 'an instance could not be saved');
    });
  };
  const findAgain = async (): Promise<void> => {
    await instances.load();
    const listed = await provider.list(calls.signal);
    for (const row of instances.list()) {
      const instance = row.instance as InstanceId;
      const handle = row.handle || listed.get(instance)?.handle;
      if (handle === undefined) await ended(instance);
      else {
        joined.add(instance);
        provider.adopt(instance, handle);
        await instances.change(instance, { handle });
      }
    }
    for (const [instance, { handle }] of listed) {
      if (instances.find(instance) !== undefined) continue;
      log.warn({ instance }, 'ends a node that nobody asked for');
      provider.adopt(instance, handle);
      provider.kill(instance);
    }
  };
  const end = async (): Promise<void> => {
    unsubscribe?.();
    clearTimeout(nextLook);
    clearInterval(tickTimer);
    await Promise.allSettled(creations);
    const left = instances.list().map((row) => row.instance as InstanceId);
    if (left.length > 0) {
      const allEnded = new Promise<void>((resolve) => endWaiters.push(resolve));
      for (const instance of left) terminate(instance);
      const killTimer = setTimeout(() => {
        for (const instance of left) provider.kill(instance);
      }, settings.stopMsMax);
      await allEnded;
      clearTimeout(killTimer);
    }
    for (const timer of killTimers.values()) clearTimeout(timer);
    await provider.close();
  };
  return {
    async start() {
      provider.onEnded((instance) => note(ended(instance)));
      await findAgain();
      unsubscribe = driver.onTick(askLook);
      tickTimer = setInterval(askLook, settings.tickMs);
      askLook();
    },
    shapes: () => (settings.instancesMax > 0 ? [shape()] : []),
    booting: () =>
      instances.list().filter(({ state }) => state !== 'joined' && state !== 'draining').length,
    hold: () => heldBack,
    pids: () => provider.pids(),
    stop() {
      stopping ??= end();
      return stopping;
    },
    kill() {
      for (const row of instances.list()) provider.kill(row.instance as InstanceId);
    },
  };
}
