/**
 * The one loop of the coordinator: events collect, a tick steps the core through them, everything
 * that was decided goes to disk in one transaction, and only then are messages sent and callers
 * answered.
 *
 * Ticks are driven by `setImmediate`, never by a timer: a timer of 1 ms is paid several times in a
 * round trip and tripled it.
 */
import { assert } from '../protocol/base/assert.ts';
import { PerigeeError, toError } from '../protocol/base/errors.ts';
import { createClockRhythm } from './clock-rhythm.ts';
import type { Answer, CoordinatorEffect, SaveEffect, SendEffect } from './core/effects.ts';
import type { CoordinatorEvent, RequestNumber } from './core/events.ts';
import type { CoordinatorState } from './core/state.ts';
import type { Driver } from './driver-port.ts';
import type { LogChunk, Store, StoredOutcome } from './store/port.ts';

export interface DriverDeps {
  state: CoordinatorState;
  step(state: CoordinatorState, event: CoordinatorEvent, nowMs: number): CoordinatorEffect[];
  /** When the core wants to see the clock at the latest; null for never. */
  nextWakeMs(state: CoordinatorState): number | null;
  /** Whether nothing waits for time before then. */
  isClockIdle(state: CoordinatorState, untilMs: number): boolean;
  store: Pick<Store, 'commit'>;
  /** Wall-clock milliseconds; made monotonic here. */
  clock: { nowMs(): number };
  disk: { isFull(): boolean };
  /** The mesh: takes messages to nodes, and hears of blocks that it will be asked for. */
  transport: {
    send(effects: readonly SendEffect[]): void;
    keepBlock(save: Extract<SaveEffect, { kind: 'saveBatch' }>): void;
  };
  /** Nothing has been queued or held for a few seconds. */
  onRested?(): void;
  /** The process must end: what it holds contradicts itself or cannot be stored. */
  onFatal(error: Error): void;
  log: { warn(fields: object, message: string): void };
}

export interface DriverSettings {
  /** Between `clockTicked` events while anything waits for time. */
  clockTickMs: number;
  /** Outcomes of one tick, so that it stays under some 5 ms; the rest is the next tick's. */
  tickOutcomesMax: number;
  /** Bytes of new payloads of one tick. */
  tickBytesMax: number;
  /** Pause before a commit that found the disk full is tried again. */
  commitRetryMs: number;
  /** Events and log output that wait; beyond it `isBehind` tells the mesh to hold its peers back. */
  backlogBytesMax: number;
}

/** The driver with its life. */
export interface RunningDriver extends Driver {
  start(): void;
  /** True while peers should be held back: the disk is full, or too much waits to be stored. */
  isBehind(): boolean;
  /** Resolves once the core has taken in everything that was dispatched before. */
  caughtUp(): Promise<void>;
  /** Finishes what is queued, then takes nothing more; idempotent. Waiting callers are refused. */
  stop(): Promise<void>;
}

interface Queued {
  event: CoordinatorEvent;
  /** Arrival. The core decides by it, so that a stall of the disk costs no node its lease. */
  atMs: number;
}

interface Waiting {
  resolve(answer: Exclude<Answer, { kind: 'refused' }>): void;
  reject(error: Error): void;
}

interface Tick {
  saves: SaveEffect[];
  sends: SendEffect[];
  answers: { request: RequestNumber; answer: Answer }[];
  logs: LogChunk[];
  /** Whether the clock was in it. */
  ticked: boolean;
  /** Whether anything may look different behind it: time and heartbeats alone change nothing. */
  changed: boolean;
}

/** A driver that is not started yet. */
export function createDriver(deps: DriverDeps, settings: DriverSettings): RunningDriver {
  let queue: Queued[] = [];
  let logs: LogChunk[] = [];
  let backlogBytes = 0;
  let nowMs = 0;
  let nextRequest: RequestNumber = 1;
  let phase: 'idle' | 'scheduled' | 'ticking' = 'idle';
  let stalled = false;
  let accepting = false;
  let dead = false;
  let clockTickQueued = false;
  let idleWaiters: (() => void)[] = [];
  /** Events ever queued and ever stepped, so that somebody can wait for a place in the queue. */
  let queuedCount = 0;
  let steppedCount = 0;
  let stepWaiters: { count: number; resolve: () => void }[] = [];
  const waiting = new Map<RequestNumber, Waiting>();
  const outcomeListeners = new Set<(outcomes: readonly StoredOutcome[]) => void>();
  const logListeners = new Set<(chunks: readonly LogChunk[]) => void>();
  const tickListeners = new Set<() => void>();

  const readClock = (): number => {
    nowMs = Math.max(nowMs, deps.clock.nowMs());
    return nowMs;
  };
  const schedule = (): void => {
    if (phase !== 'idle' || dead) return;
    phase = 'scheduled';
    setImmediate(() => {
      runTick().catch((caught: unknown) => die(toError(caught)));
    });
  };
  const die = (error: Error): void => {
    if (dead) return;
    dead = true;
    clock.stop();
    for (const caller of waiting.values()) caller.reject(error);
    waiting.clear();
    deps.onFatal(error);
  };
  const dispatch = (event: CoordinatorEvent): void => {
    if (dead) return;
    queue.push({ event, atMs: readClock() });
    queuedCount += 1;
    backlogBytes += eventBytes(event);
    schedule();
  };

  const tickClock = (): void => {
    // While the disk is full time stands still, or every lease would run out unheard.
    if (clockTickQueued || stalled) return;
    clockTickQueued = true;
    dispatch({ kind: 'clockTicked' });
  };
  const clock = createClockRhythm({
    tick: tickClock,
    isIdle: (withinMs) => deps.isClockIdle(deps.state, readClock() + withinMs),
    onRested: () => deps.onRested?.(),
    tickMs: settings.clockTickMs,
  });
  const runTick = async (): Promise<void> => {
    phase = 'ticking';
    const tick = collect();
    await commit(tick);
    if (dead) return;
    perform(tick);
    phase = 'idle';
    clock.look(tick.ticked);
    // A long sweep (a group of a million tasks ends) goes on at once, a part per turn of the loop.
    const wakeMs = accepting ? deps.nextWakeMs(deps.state) : null;
    if (wakeMs !== null && wakeMs <= readClock()) tickClock();
    if (queue.length > 0 || logs.length > 0) schedule();
    else releaseIdle();
  };
  const collect = (): Tick => {
    const changed = logs.length > 0;
    const tick: Tick = { saves: [], sends: [], answers: [], logs, ticked: false, changed };
    for (const chunk of logs) backlogBytes -= chunk.bytes.length;
    logs = [];
    let outcomes = 0;
    let bytes = 0;
    let taken = 0;
    for (const { event, atMs } of queue) {
      if (outcomes >= settings.tickOutcomesMax || bytes >= settings.tickBytesMax) break;
      taken += 1;
      if (event.kind === 'clockTicked') {
        clockTickQueued = false;
        tick.ticked = true;
      } else if (event.kind !== 'heartbeatHeard') tick.changed = true;
      const size = eventBytes(event);
      backlogBytes -= size;
      bytes += size;
      if (event.kind === 'reportReceived') outcomes += event.outcomes.length;
      sort(deps.step(deps.state, event, atMs), tick);
    }
    queue = taken === queue.length ? [] : queue.slice(taken);
    steppedCount += taken;
    const isStepped = ({ count }: { count: number }): boolean => count <= steppedCount;
    for (const { resolve } of stepWaiters.filter(isStepped)) resolve();
    stepWaiters = stepWaiters.filter((waiter) => !isStepped(waiter));
    return tick;
  };
  const sort = (effects: readonly CoordinatorEffect[], tick: Tick): void => {
    for (const effect of effects) {
      tick.changed = true;
      switch (effect.kind) {
        case 'saveGroup':
        case 'saveGroupLimits':
        case 'saveGroupState':
        case 'saveBatch':
        case 'saveGrant':
        case 'saveAttemptEnd':
        case 'saveCancelAsked':
        case 'saveOutcome':
          tick.saves.push(effect);
          break;
        case 'respond':
          tick.answers.push(effect);
          break;
        default:
          tick.sends.push(effect);
      }
    }
  };
  /**
   * The core has already moved on, so a tick is stored or the process ends: there is no going back.
   * A full disk is waited out with the tick in hand; nothing that was acknowledged is in doubt.
   */
  const commit = async (tick: Tick): Promise<void> => {
    if (tick.saves.length === 0 && tick.logs.length === 0) return;
    for (;;) {
      try {
        await deps.store.commit({ saves: tick.saves, logs: tick.logs });
        stalled = false;
        return;
      } catch (caught) {
        const error = toError(caught);
        if (!(error instanceof PerigeeError) || error.code !== 'disk_full' || dead) throw error;
        if (!stalled)
          deps.log.warn({ err: error }, 'the disk is full: waiting with what was decided');
        stalled = true;
        await pause(settings.commitRetryMs);
      }
    }
  };
  const perform = (tick: Tick): void => {
    const outcomes: StoredOutcome[] = [];
    for (const save of tick.saves) {
      if (save.kind === 'saveOutcome') outcomes.push(save);
      else if (save.kind === 'saveBatch') deps.transport.keepBlock(save);
    }
    const { sends } = tick;
    if (sends.some(({ kind }) => kind !== 'sendAck')) deps.transport.send(sends);
    // Somebody waits for the results that an acknowledgement is of, and nobody for it: they leave first.
    else if (sends.length > 0) setImmediate(() => deps.transport.send(sends));
    for (const { request, answer } of tick.answers) respond(request, answer);
    if (outcomes.length > 0) for (const listener of outcomeListeners) listener(outcomes);
    if (tick.logs.length > 0) for (const listener of logListeners) listener(tick.logs);
    if (tick.changed) for (const listener of tickListeners) listener();
  };
  const respond = (request: RequestNumber, answer: Answer): void => {
    const caller = waiting.get(request);
    assert(caller !== undefined, `request ${request} was answered twice`);
    waiting.delete(request);
    if (answer.kind !== 'refused') caller.resolve(answer);
    else {
      const { code, message, fix } = answer;
      caller.reject(new PerigeeError(code, message, fix === undefined ? {} : { fix }));
    }
  };
  const releaseIdle = (): void => {
    const released = idleWaiters;
    idleWaiters = [];
    for (const resolve of released) resolve();
  };
  /** Refuses new work while the disk is full: what waits then would wait with its caller. */
  const assertTaking = (kind: CoordinatorEvent['kind']): void => {
    if (!accepting) throw new PerigeeError('draining');
    if (kind !== 'batchSubmitted' && kind !== 'groupCreated') return;
    if (stalled || deps.disk.isFull()) throw new PerigeeError('disk_full');
  };

  return {
    start() {
      accepting = true;
      clock.start();
    },
    dispatch,
    async request(event) {
      assertTaking(event.kind);
      const request = nextRequest;
      nextRequest += 1;
      const { promise, resolve, reject } =
        Promise.withResolvers<Exclude<Answer, { kind: 'refused' }>>();
      waiting.set(request, { resolve, reject });
      dispatch({ ...event, request } as CoordinatorEvent);
      return promise;
    },
    appendLogs(chunks) {
      if (dead) return;
      for (const chunk of chunks) {
        logs.push(chunk);
        backlogBytes += chunk.bytes.length;
      }
      schedule();
    },
    state: () => deps.state,
    onOutcomes: (listener) => subscribe(outcomeListeners, listener),
    onLogs: (listener) => subscribe(logListeners, listener),
    onTick: (listener) => subscribe(tickListeners, listener),
    async caughtUp() {
      if (steppedCount >= queuedCount || dead) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      stepWaiters.push({ count: queuedCount, resolve });
      await promise;
    },
    isBehind: () => stalled || backlogBytes > settings.backlogBytesMax,
    async stop() {
      accepting = false;
      clock.stop();
      if (phase !== 'idle' && !dead && !stalled) {
        await new Promise<void>((resolve) => idleWaiters.push(resolve));
      }
      dead = true;
      for (const caller of waiting.values()) caller.reject(new PerigeeError('draining'));
      waiting.clear();
    },
  };
}

function subscribe<Listener>(listeners: Set<Listener>, listener: Listener): () => void {
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
  };
}

/** Payload bytes that an event carries: what its wait costs in memory. */
function eventBytes(event: CoordinatorEvent): number {
  if (event.kind === 'batchSubmitted') return event.block.length;
  if (event.kind !== 'reportReceived') return 0;
  let bytes = 0;
  for (const outcome of event.outcomes) bytes += outcome.result.length;
  return bytes;
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}
