/** An agent's process in a simulation: its real core, and workers that do what the plan says. */
import type { AgentEffect, FedTask } from '../../node-agent/core/effects.ts';
import type { AgentEvent } from '../../node-agent/core/events.ts';
import { findBrokenInvariants } from '../../node-agent/core/invariants.ts';
import { type AgentState, createAgentState } from '../../node-agent/core/state.ts';
import { step } from '../../node-agent/core/step.ts';
import { listHeld } from '../../node-agent/core/views.ts';
import { coreSettingsOf, readAgentSettings } from '../../node-agent/settings.ts';
import { nextBelow, nextFloat, type RandomState } from '../../protocol/base/random.ts';
import { indexBlock, payloadAt } from '../../protocol/wire/block.ts';
import type { AttemptRef, BlobHash, NodeId } from '../../protocol/wire/ids.ts';
import type { CoordinatorMessage } from '../../protocol/wire/messages.ts';
import type { Capacity, GroupSpec } from '../../protocol/wire/task.ts';
import type { Agenda } from './agenda.ts';
import { promise } from './broken-promise.ts';
import { attemptKey } from './disk.ts';
import type { Faults } from './faults.ts';
import { simHello, simImage } from './hello.ts';
import type { Link } from './link.ts';
import { expectedOutputs, expectedResult, planHoldings, type TaskDeed } from './plan.ts';

export interface AgentHost {
  readonly node: NodeId;
  readonly isUp: boolean;
  /** It has left by itself and will not come back. */
  readonly hasLeft: boolean;
  readonly state: AgentState | null;
  receive(link: Link, message: CoordinatorMessage): void;
  lose(link: Link): void;
  kill(): void;
  start(): void;
  /** SIGTERM. */
  stop(): void;
  /** SIGSTOP until then: nothing is read, sent or decided. */
  freeze(ms: number): void;
}

export interface AgentWorld {
  agenda: Agenda;
  random: RandomState;
  faults: Faults;
  node: NodeId;
  capacity: Capacity;
  /** Whether it gives tasks its network. */
  network: boolean;
  deedOf(spec: GroupSpec, attempt: AttemptRef): TaskDeed;
  /** Dials the coordinator; null when it does not answer. */
  dial(agent: AgentHost): Link | null;
  onRunBegun(node: NodeId, attempt: AttemptRef): void;
  /** The coordinator has its bytes. */
  onOutputStored(hash: BlobHash): void;
  /** `killed`: by the core's order, `lost`: with its agent. */
  onRunEnded(node: NodeId, attempt: AttemptRef, how: TaskDeed['end'] | 'killed' | 'lost'): void;
  /** The worker that has been running this attempt since then is to be ended, by the core's order. */
  onKillOrdered(node: NodeId, attempt: AttemptRef, sinceMs: number): void;
}

interface SimWorker {
  number: number;
  spec: GroupSpec;
  ready: boolean;
  queue: FedTask[];
  running: { task: FedTask; sinceMs: number } | null;
  ended: boolean;
}

const tickMs = 100;
const heartbeatMs = 1_000;
const agentSettings = coreSettingsOf(
  readAgentSettings(
    ['--join', '/ip4/127.0.0.1/tcp/1/p2p/12D3KooWAusNyxHhMvMTr1ANm2huMokjG1gkw4ntDVkQqDsoeKYy'],
    {},
  ),
);
/** An agent that has not been started yet. */
export function createAgentHost(world: AgentWorld): AgentHost {
  const { agenda, random, faults, node } = world;
  let state: AgentState | null = null;
  let life = 0;
  let left = false;
  let link: Link | null = null;
  let events: AgentEvent[] = [];
  let turning = false;
  let frozenUntilMs = 0;
  let nextHeartbeatMs = 0;
  const holdings = { epoch: nextBelow(random, 1_000_000), sequence: 0 };
  const workers = new Map<number, SimWorker>();
  const sentOutcomes = new Set<string>();

  const inLife = (action: () => void) => {
    const own = life;
    return () => {
      if (own === life && state !== null) action();
    };
  };

  const dispatch = (event: AgentEvent): void => {
    if (state === null) return;
    events.push(event);
    if (turning) return;
    turning = true;
    agenda.after(Math.max(nextFloat(random), frozenUntilMs - agenda.nowMs), inLife(turn));
  };

  const turn = (): void => {
    if (agenda.nowMs < frozenUntilMs) {
      agenda.after(frozenUntilMs - agenda.nowMs, inLife(turn));
      return;
    }
    turning = false;
    takeIn();
  };

  const takeIn = (): void => {
    const batch: AgentEvent[] = [...events.splice(0), { kind: 'turnEnded' }];
    for (const event of batch) {
      if (state === null) return;
      const effects = step(state, event, agenda.nowMs);
      const broken = findBrokenInvariants(state);
      promise(broken.length === 0, () => `agent: ${broken.join('; ')}`);
      for (const effect of effects) perform(effect);
    }
  };

  const perform = (effect: AgentEffect): void => {
    switch (effect.kind) {
      case 'sendPull':
        link?.toCoordinator({ kind: 'pull', heldMax: effect.heldMax });
        return;
      case 'sendStarted':
        link?.toCoordinator({ kind: 'started', attempts: [...effect.attempts] });
        return;
      case 'sendReport': {
        const again = effect.outcomes.some((outcome) => sentOutcomes.has(attemptKey(outcome)));
        for (const outcome of effect.outcomes) sentOutcomes.add(attemptKey(outcome));
        if (!faults.passesReport(again)) return;
        link?.toCoordinator({
          kind: 'report',
          report: effect.report,
          outcomes: [...effect.outcomes],
        });
        return;
      }
      case 'sendReturned':
        link?.toCoordinator({ kind: 'returned', attempts: [...effect.attempts] });
        return;
      case 'sendDrainAsked':
        link?.toCoordinator({ kind: 'drainAsked', reason: effect.reason });
        return;
      case 'sendGoodbye':
        link?.toCoordinator({ kind: 'goodbye' });
        return;
      case 'startWorker':
        startWorker(effect);
        return;
      case 'feedWorker':
        feed(effect.worker, effect.tasks);
        return;
      case 'retractTasks':
        retract(effect.worker, effect.tasks);
        return;
      case 'stopWorker':
      case 'killWorker': {
        const running = workers.get(effect.worker)?.running;
        if (running) {
          const meant = findMeant(effect.worker);
          world.onKillOrdered(node, meant ?? running.task, meant?.sinceMs ?? running.sinceMs);
        }
        agenda.after(
          nextFloat(random) * 20,
          inLife(() => endWorker(effect.worker, { kind: 'asked' })),
        );
        return;
      }
      case 'fetchBlob':
        agenda.after(
          nextFloat(random) * 10,
          inLife(() => dispatch({ kind: 'blobReady', hash: effect.hash })),
        );
        return;
      case 'resetSession':
        link?.cut();
        return;
      case 'exit':
        left = true;
        host.kill();
        return;
      case 'fetchImage':
        throw new Error('every simulated node has the image');
      case 'uploadResult':
        throw new Error('no simulated result is large');
      case 'uploadOutput':
        uploadOutput(effect);
        return;
      case 'releaseBlob':
      case 'removeResult':
      case 'forgetLogs':
      case 'warn':
        return;
    }
  };

  const uploadOutput = (effect: Extract<AgentEffect, { kind: 'uploadOutput' }>): void => {
    const { attempt, output } = effect;
    agenda.after(
      nextFloat(random) * 200,
      inLife(() => {
        const { name } = output;
        if (link === null || nextFloat(random) < 0.2) {
          const failure = { message: 'the line broke', retryable: true };
          dispatch({ kind: 'outputUploadFailed', attempt, name, ...failure });
          return;
        }
        world.onOutputStored(output.hash);
        dispatch({ kind: 'outputUploaded', attempt, name });
      }),
    );
  };

  /**
   * The attempt for whose sake the core ends a worker. The worker may have gone on to the next one
   * meanwhile: that one is run again, and not charged.
   */
  const findMeant = (number: number): (AttemptRef & { sinceMs: number }) | undefined => {
    const phase = state?.workers.get(number)?.phase;
    if (phase?.kind !== 'ending' || !('attempt' in phase.cause)) return undefined;
    const { batch, index, attempt, phase: place } = phase.cause.attempt;
    const sinceMs = place.kind === 'running' ? place.startedAtMs : agenda.nowMs;
    return { batch, index, attempt, sinceMs };
  };

  const startWorker = (start: { worker: number; spec: GroupSpec }): void => {
    const worker: SimWorker = {
      number: start.worker,
      spec: start.spec,
      ready: false,
      queue: [],
      running: null,
      ended: false,
    };
    workers.set(worker.number, worker);
    agenda.after(
      20 + nextFloat(random) * 200,
      inLife(() => {
        if (worker.ended) return;
        if (nextFloat(random) < 0.01) {
          endWorker(worker.number, { kind: 'unstartable', message: 'no room' });
          return;
        }
        worker.ready = true;
        dispatch({ kind: 'workerReady', worker: worker.number });
      }),
    );
  };

  const feed = (number: number, tasks: readonly FedTask[]): void => {
    const worker = workers.get(number);
    if (worker === undefined) return;
    worker.queue.push(...tasks);
    runNext(worker);
  };

  const retract = (number: number, tasks: readonly AttemptRef[]): void => {
    const worker = workers.get(number);
    const wanted = new Set(tasks.map(attemptKey));
    const taken = worker?.queue.filter((task) => wanted.has(attemptKey(task))) ?? [];
    if (worker !== undefined) {
      worker.queue = worker.queue.filter((task) => !wanted.has(attemptKey(task)));
    }
    dispatch({ kind: 'tasksRetracted', worker: number, tasks: taken });
  };

  const runNext = (worker: SimWorker): void => {
    if (worker.running !== null || worker.ended) return;
    const task = worker.queue.shift();
    if (task === undefined) return;
    worker.running = { task, sinceMs: agenda.nowMs };
    world.onRunBegun(node, task);
    dispatch({ kind: 'taskStarted', worker: worker.number, task });
    const deed = world.deedOf(worker.spec, task);
    if (deed.end === 'hang') return;
    agenda.after(
      deed.durationMs,
      inLife(() => {
        if (worker.ended || worker.running?.task !== task) return;
        endRun(worker, deed);
      }),
    );
  };

  const endRun = (worker: SimWorker, deed: TaskDeed): void => {
    const running = worker.running;
    if (running === null) return;
    const { task } = running;
    if (deed.end === 'crash' || deed.end === 'oom') {
      world.onRunEnded(node, task, deed.end);
      endWorker(
        worker.number,
        deed.end === 'oom'
          ? { kind: 'oom', peakMemoryBytes: 1 }
          : { kind: 'died', exitCode: null, signal: 'SIGSEGV', peakMemoryBytes: 1 },
      );
      return;
    }
    world.onRunEnded(node, task, deed.end);
    worker.running = null;
    const failed = deed.end !== 'success';
    const outputs = failed ? [] : expectedOutputs(task);
    dispatch({
      kind: 'taskEnded',
      worker: worker.number,
      task: {
        batch: task.batch,
        index: task.index,
        attempt: task.attempt,
        status: failed ? 'exception' : 'success',
        result: failed ? new Uint8Array(0) : expectedResult(task),
        resultPath: null,
        resultTag: 0,
        failure: failed ? { name: 'ValueError', message: 'planned', traceback: '' } : null,
        runtimeMs: deed.durationMs,
        peakMemoryBytes: 1,
        logBytes: 0,
        ...(outputs.length === 0
          ? {}
          : { outputs: outputs.map((output) => ({ ...output, path: `/spool/${output.hash}` })) }),
      },
    });
    runNext(worker);
  };

  const endWorker = (
    number: number,
    end: Extract<AgentEvent, { kind: 'workerEnded' }>['end'],
  ): void => {
    const worker = workers.get(number);
    if (worker === undefined || worker.ended) return;
    worker.ended = true;
    workers.delete(number);
    const { running } = worker;
    if (running !== null && end.kind === 'asked') world.onRunEnded(node, running.task, 'killed');
    const { batch, index, attempt } = running?.task ?? { batch: 0, index: 0, attempt: 0 };
    dispatch({
      kind: 'workerEnded',
      worker: number,
      end,
      running:
        running === null
          ? null
          : {
              batch: batch as AttemptRef['batch'],
              index,
              attempt,
              runtimeMs: agenda.nowMs - running.sinceMs,
              logBytes: 0,
            },
    });
  };

  const connect = (): void => {
    if (link !== null || state === null) return;
    if (agenda.nowMs < frozenUntilMs) {
      agenda.after(frozenUntilMs - agenda.nowMs, inLife(connect));
      return;
    }
    // As the driver does: a hello must not miss a grant that waits its turn.
    takeIn();
    // What it took in may have been the last that it waited for before it left.
    if (!host.isUp) return;
    link = world.dial(host);
    if (link === null) {
      agenda.after(100 + nextBelow(random, 1_000), inLife(connect));
      return;
    }
    const about = simHello({ node, capacity: world.capacity, network: world.network });
    link.toCoordinator({ ...about, held: listHeld(state), draining: state.stopping });
    tellHoldings({ full: true });
  };

  const tellHoldings = (options: { full: boolean }): void => {
    holdings.sequence += 1;
    const { add, drop } = planHoldings(random);
    link?.toCoordinator({ kind: 'holdings', ...holdings, ...options, add, drop });
  };

  // A frozen process ticks first when it wakes.
  const beat = (): void => {
    if (agenda.nowMs < frozenUntilMs) {
      agenda.after(frozenUntilMs - agenda.nowMs, inLife(beat));
      return;
    }
    dispatch({ kind: 'clockTicked' });
    if (link !== null && agenda.nowMs >= nextHeartbeatMs) {
      nextHeartbeatMs = agenda.nowMs + heartbeatMs;
      if (nextFloat(random) < 0.2) tellHoldings({ full: false });
      link.toCoordinator({ kind: 'heartbeat', load: 0, memoryFreeBytes: 1, diskFreeBytes: 1 });
    }
    agenda.after(tickMs, inLife(beat));
  };

  const host: AgentHost = {
    node,
    get isUp() {
      return state !== null;
    },
    get hasLeft() {
      return left;
    },
    get state() {
      return state;
    },
    receive(from, message) {
      if (from !== link || state === null) return;
      take(message);
    },
    lose(lost) {
      if (lost !== link) return;
      link = null;
      if (state === null) return;
      dispatch({ kind: 'sessionLost' });
      agenda.after(nextBelow(random, 500), inLife(connect));
    },
    kill() {
      life += 1;
      for (const worker of workers.values()) {
        if (worker.running !== null) world.onRunEnded(node, worker.running.task, 'lost');
      }
      workers.clear();
      state = null;
      events = [];
      turning = false;
      link?.cut();
      link = null;
    },
    start() {
      if (state !== null || left) return;
      state = createAgentState({
        settings: { ...agentSettings, allowNetwork: world.network },
        capacity: world.capacity,
        images: [simImage],
        nowMs: agenda.nowMs,
      });
      sentOutcomes.clear();
      agenda.after(nextBelow(random, 300), inLife(connect));
      agenda.after(0, inLife(beat));
    },
    stop() {
      dispatch({ kind: 'stopAsked', reason: 'simulated' });
    },
    freeze(ms) {
      frozenUntilMs = agenda.nowMs + ms;
    },
  };

  const killAll = (): void => {
    for (const worker of [...workers.values()]) {
      if (worker.running !== null) {
        world.onKillOrdered(node, worker.running.task, worker.running.sinceMs);
      }
      endWorker(worker.number, { kind: 'asked' });
    }
  };

  const take = (message: CoordinatorMessage): void => {
    switch (message.kind) {
      case 'welcome':
        dispatch({ kind: 'sessionOpened', drop: message.drop });
        return;
      case 'refused':
        throw new Error('no simulated node is refused');
      case 'grants':
        dispatch({
          kind: 'granted',
          groups: message.groups,
          runs: message.grants.map(({ block, lo, count, ...grant }) => {
            const offsets = indexBlock(block, count);
            return {
              ...grant,
              tasks: Array.from({ length: count }, (_, at) => ({
                index: lo + at,
                payload: payloadAt(block, offsets, at),
                blob: null,
              })),
            };
          }),
        });
        return;
      case 'ack':
        dispatch({ kind: 'reportAcknowledged', report: message.report });
        return;
      case 'cancel':
        dispatch({ kind: 'attemptsCancelled', attempts: message.attempts });
        return;
      case 'holdingsAsked':
        tellHoldings({ full: true });
        return;
      case 'drain':
        dispatch({ kind: 'drainOrdered' });
        if (faults.drainKills) killAll();
        return;
      case 'undrain':
        dispatch({ kind: 'undrainOrdered' });
        return;
      case 'originShares':
      case 'located':
        return;
    }
  };
  return host;
}
