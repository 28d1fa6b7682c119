/**
 * The fleet's shell: looks after every tick that changed something, lets `stepFleet` decide, and
 * performs its orders. It decides nothing by itself.
 */
import { randomBytes } from 'node:crypto';
import { assert, assertNever } from '../../protocol/base/assert.ts';
import { toError } from '../../protocol/base/errors.ts';
import type { ImageDigest, InstanceId, NodeId } from '../../protocol/wire/ids.ts';
import type { IsolationLevel, NodeImage } from '../../protocol/wire/task.ts';
import type { Bootstrap } from '../bootstrap/port.ts';
import { demand } from '../core/views.ts';
import type { Driver } from '../driver-port.ts';
import type { Store, StoredFleetEvent } from '../store/port.ts';
import { listInstanceNodes, listOtherCapacity } from './fleet-inputs.ts';
import { isCalm } from './is-calm.ts';
import type {
  FleetEvent,
  FleetOrder,
  FleetState,
  LifecycleSettings,
  PoolSpec,
} from './lifecycle/state.ts';
import { createFleetState } from './lifecycle/state.ts';
import { stepFleet } from './lifecycle/step.ts';
import { planFleet } from './plan/plan-fleet.ts';
import type { InstanceShape, Provider } from './provider-port.ts';
import { ProviderFailure } from './provider-port.ts';
import type { FleetStore } from './records.ts';
import { loadFleet, saveLearned, tieNodes, toRow } from './records.ts';

export interface FleetDeps {
  driver: Pick<Driver, 'dispatch' | 'onTick' | 'state'>;
  store: FleetStore &
    Pick<
      Store,
      | 'saveInstance'
      | 'pruneInstances'
      | 'saveFleetEvent'
      | 'listFleetEvents'
      | 'findNode'
      | 'listTokens'
    >;
  /** In order of preference. */
  pools: readonly { spec: PoolSpec; provider: Provider; faults: readonly string[] }[];
  /** What an instance runs at its first boot; empty for those that are processes. */
  bootstrap: Bootstrap;
  /** Images that an instance will have. */
  images: { list(): Promise<readonly NodeImage[]> };
  /** Never goes back and never jumps (`steady-clock.ts`). */
  clock: { nowMs(): number };
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface FleetShellSettings {
  /** Between two looks when nothing happens; a few times as long while nothing can. */
  tickMs: number;
  /** For local instances to end when the fleet stops; then they are killed. */
  stopMsMax: number;
  /** For creations under way when the fleet stops; then they are broken off, and found by their tag. */
  creationsMsMax: number;
  /** How long instances that are gone are kept in the store. */
  goneKeptMs: number;
  lifecycle: LifecycleSettings;
}

/** The fleet, as `main.ts` and the gateway see it. */
export interface Fleet {
  /**
   * Finds instances of an earlier run again, then keeps the fleet as large as the work.
   * @throws PerigeeError conflict when their pool is no more
   */
  start(): Promise<void>;
  shapes(): readonly InstanceShape[];
  booting(): number;
  hold(): string | null;
  /** To read only; for views. */
  state(): FleetState;
  nowMs(): number;
  events(limit: number): Promise<StoredFleetEvent[]>;
  pids(): readonly number[];
  /** Asks every local instance to end, kills those that do not; machines elsewhere go on. Idempotent. */
  stop(): Promise<void>;
  /** Kills every local instance now. */
  kill(): void;
}

/** Looks are at least so far apart: thousands of ticks a second need no thousand plans. */
const lookGapMs = 20;
/** Ticks between two looks at a fleet that only time can change. */
const calmTicks = 4;
/** Between two looks for instances that are long gone. */
const pruneEveryMs = 3_600_000;

export function createFleet(deps: FleetDeps, settings: FleetShellSettings): Fleet {
  const { driver, store, clock, log } = deps;
  const state = createFleetState({
    pools: deps.pools.map(({ spec }) => spec),
    settings: settings.lifecycle,
    decide: planFleet,
    nextId: () => randomBytes(4).toString('hex'),
  });
  const providers = new Map(deps.pools.map(({ spec, provider }) => [spec.pool, provider]));
  for (const { spec, faults } of deps.pools) state.pools.get(spec.pool)?.faults.push(...faults);
  const calls = new AbortController();
  let images: readonly ImageDigest[] = [];
  /** How well nodes of the process pool isolate, once one was seen. */
  let isolation: IsolationLevel | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let nextLook: NodeJS.Timeout | undefined;
  let tickTimer: NodeJS.Timeout | undefined;
  let unsubscribe: (() => void) | undefined;
  let stopping: Promise<void> | undefined;
  /** What was learned, as it is in the store. */
  let learned = '';
  let prunedAtMs = Number.NEGATIVE_INFINITY;
  /** Orders of all turns so far, performed one after the other. */
  let performing: Promise<void> = Promise.resolve();
  const creations = new Set<Promise<void>>();

  const take = (event: FleetEvent): void => {
    const orders = stepFleet(state, event, clock.nowMs());
    if (event.kind !== 'looked') armTick();
    if (orders.length === 0) return;
    performing = performing.then(() => perform(orders)).catch(warn);
  };
  const warn = (caught: unknown): void => {
    // Rows are copies of what providers can be asked again: a listing mends them.
    log.warn({ err: toError(caught) }, 'the fleet could not do what it decided');
  };
  const perform = async (orders: readonly FleetOrder[]): Promise<void> => {
    /** Intents that are not on disk: their machines must not be made. */
    const unsaved = new Set<InstanceId>();
    for (const order of orders) {
      if (order.kind === 'create' && unsaved.has(order.instance)) {
        take({
          kind: 'createFailed',
          instance: order.instance,
          failure: 'unavailable',
          message: 'The intent could not be saved.',
          mayHaveMade: false,
        });
        continue;
      }
      try {
        await performOne(order);
      } catch (caught) {
        // One failed save must not keep another machine from being ended.
        if (order.kind === 'save') unsaved.add(order.instance.instance);
        warn(caught);
      }
    }
  };
  const performOne = async (order: FleetOrder): Promise<void> => {
    switch (order.kind) {
      case 'save':
        return store.saveInstance(toRow(order));
      case 'create':
        return create(order);
      case 'list':
        return list(order.pool);
      case 'adopt':
        return getProvider(order.pool).adopt(order.instance, order.handle);
      case 'terminate':
        return terminate(order);
      case 'kill':
        return getProvider(order.pool).kill(order.instance);
      case 'drain':
        driver.dispatch({
          kind: 'nodeDrainAsked',
          request: null,
          node: order.node,
          by: 'autoscaler',
          reason: order.reason,
        });
        return;
      case 'undrain':
        driver.dispatch({ kind: 'nodeUndrainAsked', request: null, node: order.node });
        return;
      case 'forget':
        driver.dispatch({ kind: 'instanceEnded', instance: order.instance, node: order.node });
        askLook();
        return;
      case 'tell': {
        const { kind: _, ...event } = order;
        if (order.isLoud) log.warn(event, `fleet: ${order.text}`);
        else log.info(event, `fleet: ${order.text}`);
        return store.saveFleetEvent({ atMs: clock.nowMs(), ...event });
      }
      default:
        assertNever(order);
    }
  };
  const getProvider = (pool: string): Provider => {
    const provider = providers.get(pool);
    assert(provider !== undefined, `pool ${pool} has a provider`);
    return provider;
  };
  const limit = (pool: string): AbortSignal =>
    AbortSignal.any([calls.signal, AbortSignal.timeout(getProvider(pool).answerMsMax)]);
  /** Not awaited by the orders behind it: a cloud that takes its time must not hold up a drain. */
  const create = async (order: Extract<FleetOrder, { kind: 'create' }>): Promise<void> => {
    const { pool, instance, offer } = order;
    const creation = (async () => {
      try {
        const userData = await makeUserData(order);
        const handle = await getProvider(pool).create({ instance, offer, userData }, limit(pool));
        take({ kind: 'created', instance, handle });
      } catch (caught) {
        const { failure, mayHaveMade, message } = toFailure(caught);
        take({ kind: 'createFailed', instance, failure, mayHaveMade, message });
      }
    })();
    creations.add(creation);
    creation.finally(() => creations.delete(creation)).catch(warn);
  };
  const makeUserData = async (order: Extract<FleetOrder, { kind: 'create' }>): Promise<string> => {
    try {
      return await deps.bootstrap.userData(order.instance, order.pool, order.offer);
    } catch (caught) {
      // No provider has been asked for anything yet.
      const cause = toError(caught);
      throw new ProviderFailure('unavailable', cause.message, { mayHaveMade: false, cause });
    }
  };
  const list = async (pool: string): Promise<void> => {
    const askedAtMs = clock.nowMs();
    getProvider(pool)
      .list(limit(pool))
      .then(
        (found) => take({ kind: 'listed', pool, found, askedAtMs }),
        (caught: unknown) => {
          const { failure, message } = toFailure(caught);
          take({ kind: 'listFailed', pool, failure, message });
        },
      )
      .catch(warn);
  };
  const terminate = async (order: Extract<FleetOrder, { kind: 'terminate' }>): Promise<void> => {
    const { pool, instance, handle } = order;
    getProvider(pool)
      .terminate(instance, handle, limit(pool))
      .catch((caught: unknown) =>
        take({ kind: 'endFailed', instance, message: toError(caught).message }),
      )
      .catch(warn);
  };
  const askLook = (): void => {
    if (nextLook !== undefined || stopping !== undefined) return;
    // At once when nothing was looked at lately: a first task must not wait for a timer.
    const pauseMs = Math.max(0, lookedAtMs + lookGapMs - clock.nowMs());
    nextLook = setTimeout(
      () => {
        look()
          .catch(warn)
          .finally(() => {
            nextLook = undefined;
            armTick();
          });
      },
      Math.min(pauseMs, lookGapMs),
    );
  };
  /** The next look when nothing else asks for one. */
  const armTick = (): void => {
    clearTimeout(tickTimer);
    if (unsubscribe === undefined || stopping !== undefined) return;
    const ticks = isCalm(state, driver.state()) ? calmTicks : 1;
    tickTimer = setTimeout(askLook, ticks * settings.tickMs);
  };
  const look = async (): Promise<void> => {
    lookedAtMs = clock.nowMs();
    // What its machines will have matters to those who wait for one.
    if (images.length === 0 || !isCalm(state, driver.state())) {
      images = (await deps.images.list()).map((image) => image.digest);
    }
    if (stopping !== undefined) return;
    const core = driver.state();
    const made = new Set<string>(state.instances.keys());
    noticeIsolation();
    take({
      kind: 'looked',
      view: {
        demand: demand(core),
        nodes: listInstanceNodes(core, clock.nowMs()),
        others: listOtherCapacity(core, made),
        images,
        isStopping: false,
      },
    });
    learned = await saveLearned(store, state, learned);
    await prune();
  };
  /** The agent probes what its machine can isolate; the process pool's shape follows it. */
  const noticeIsolation = (): void => {
    for (const { profile } of driver.state().nodes.values()) {
      const record = profile?.instance == null ? undefined : state.instances.get(profile.instance);
      if (profile === null || record === undefined) continue;
      if (!isLocal(record.pool) || profile.isolation === isolation) continue;
      isolation = profile.isolation;
      for (const { offer } of state.pools.get(record.pool)?.offers.values() ?? []) {
        offer.shape.isolation = isolation;
      }
    }
  };
  const prune = async (): Promise<void> => {
    const nowMs = clock.nowMs();
    if (nowMs - prunedAtMs < pruneEveryMs) return;
    prunedAtMs = nowMs;
    await store.pruneInstances(nowMs - settings.goneKeptMs);
  };
  const isLocal = (pool: string): boolean => providers.get(pool)?.kind === 'process';
  /** Processes are adopted or buried at once: their listing cannot lie. Clouds are asked in time. */
  const findAgain = async (): Promise<void> => {
    const gone = await loadFleet(store, state, clock.nowMs());
    // The end was on disk, and perhaps the core was not told any more.
    for (const { instance, node } of gone) {
      if (isOutOfContact(node)) driver.dispatch({ kind: 'instanceEnded', instance, node });
    }
    await tieNodes(store, state, [...driver.state().nodes.keys()].filter(isOutOfContact));
    for (const [pool, provider] of providers) {
      if (provider.kind !== 'process') continue;
      const found = await provider.list(limit(pool));
      for (const record of [...state.instances.values()]) {
        if (record.pool !== pool) continue;
        const handle = record.handle || found.get(record.instance)?.handle;
        if (handle === undefined) take({ kind: 'ended', instance: record.instance });
        else provider.adopt(record.instance, handle);
      }
      for (const [instance, { handle }] of found) {
        if (!state.instances.has(instance)) provider.adopt(instance, handle);
      }
      take({ kind: 'listed', pool, found, askedAtMs: clock.nowMs() });
    }
    await performing;
  };
  /** It holds attempts of an earlier run and has not been heard since. */
  const isOutOfContact = (node: NodeId): boolean =>
    driver.state().nodes.get(node)?.phase.kind === 'lostContact';
  const localInstances = (): InstanceId[] =>
    [...state.instances.values()]
      .filter(({ pool }) => isLocal(pool))
      .map(({ instance }) => instance);
  const killLocal = (): void => {
    for (const [pool, provider] of providers) {
      if (!isLocal(pool)) continue;
      for (const instance of localInstances()) provider.kill(instance);
    }
  };
  const end = async (): Promise<void> => {
    unsubscribe?.();
    clearTimeout(nextLook);
    clearTimeout(tickTimer);
    // Their process ids must be known before they can be told to end.
    await performing;
    const patience = setTimeout(() => calls.abort(), settings.creationsMsMax);
    await Promise.allSettled(creations);
    clearTimeout(patience);
    await performing;
    for (const instance of localInstances()) {
      const record = state.instances.get(instance);
      if (record !== undefined) {
        await getProvider(record.pool)
          .terminate(instance, record.handle || null, limit(record.pool))
          .catch(warn);
      }
    }
    const allEnded = Promise.withResolvers<void>();
    const watch = setInterval(() => {
      if (localInstances().length === 0) allEnded.resolve();
    }, 10);
    const killTimer = setTimeout(killLocal, settings.stopMsMax);
    await allEnded.promise;
    clearInterval(watch);
    clearTimeout(killTimer);
    await performing;
    calls.abort();
    for (const provider of providers.values()) await provider.close();
  };
  return {
    async start() {
      for (const provider of providers.values()) {
        provider.onEnded((instance) => take({ kind: 'ended', instance }));
      }
      await findAgain();
      unsubscribe = driver.onTick(askLook);
      askLook();
    },
    shapes: () =>
      [...state.pools.values()]
        .filter(({ spec }) => spec.instancesMax > 0)
        .flatMap(({ offers }) => [...offers.values()].map(({ offer }) => offer.shape)),
    booting: () =>
      [...state.instances.values()].filter(({ node, ending }) => node === null && ending === null)
        .length,
    hold: () => state.plan?.outlooks.find(({ heldBack }) => heldBack !== null)?.heldBack ?? null,
    state: () => state,
    nowMs: () => clock.nowMs(),
    events: (eventsMax) => store.listFleetEvents({ limit: eventsMax }),
    pids: () => [...providers.values()].flatMap((provider) => [...provider.pids()]),
    stop() {
      stopping ??= end();
      return stopping;
    },
    kill: killLocal,
  };
}

function toFailure(caught: unknown): ProviderFailure {
  if (caught instanceof ProviderFailure) return caught;
  // Whatever a provider did not expect, a time-out among it, may have happened after the effect.
  const cause = toError(caught);
  return new ProviderFailure('unavailable', cause.message, { mayHaveMade: true, cause });
}
