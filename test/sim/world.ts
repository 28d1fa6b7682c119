/**
 * A whole mesh of the real cores in virtual time: clients that lose answers, links that break, nodes
 * that die, freeze, drain and come back, a coordinator that is killed between any two of its acts.
 * Then the weather clears, and everything that was accepted must come to its end.
 */

import type { CoordinatorEvent } from '../../coordinator/core/events.ts';
import { describeNodes } from '../../coordinator/core/views.ts';
import {
  nextBelow,
  nextFloat,
  nextHex,
  type RandomState,
  seedRandom,
} from '../../protocol/base/random.ts';
import type { GroupId, NamespaceName, NodeId, SessionNumber } from '../../protocol/wire/ids.ts';
import { formatTaskId } from '../../protocol/wire/ids.ts';
import type { GroupSpec, TaskAssets } from '../../protocol/wire/task.ts';
import { type Agenda, createAgenda } from './agenda.ts';
import { type AgentHost, createAgentHost } from './agent-host.ts';
import { BrokenPromise, promise } from './broken-promise.ts';
import { type CoordinatorHost, createCoordinatorHost } from './coordinator-host.ts';
import { createDisk, type Disk } from './disk.ts';
import type { Faults } from './faults.ts';
import { createLink, type LinkWeather } from './link.ts';
import { planAssets, planDeed, planGroup } from './plan.ts';
import { createWitness, type Witness } from './witness.ts';

export interface SimReport {
  /** Things that happened. */
  events: number;
  tasks: number;
  /** Tasks by how they ended. */
  endings: Record<string, number>;
  attempts: number;
  coordinatorKills: number;
  agentKills: number;
}

/** How long the world is stormy unless it is said, and how long it may take to come to rest after, in virtual time. */
const stormMsUsual = 90_000;
const restMs = 5_400_000;
const startMs = 1_700_000_000_000;

/**
 * Runs one world.
 * @throws BrokenPromise when the mesh broke a promise; AssertionError when a core contradicted itself.
 */
export function runWorld(
  seed: number,
  faults: Faults,
  { stormMs = stormMsUsual }: { stormMs?: number } = {},
): SimReport {
  const world = createWorld(seed, faults, stormMs);
  world.begin();
  const { agenda } = world;
  while (agenda.nowMs < startMs + stormMs && agenda.next(startMs + stormMs)) world.check();
  world.clearUp();
  const deadlineMs = agenda.nowMs + restMs;
  while (!world.isAtRest() && agenda.next(deadlineMs)) world.check();
  return world.finish();
}

interface World {
  agenda: Agenda;
  begin(): void;
  check(): void;
  /** The storm is over: everybody is up, nothing breaks any more. */
  clearUp(): void;
  isAtRest(): boolean;
  finish(): SimReport;
}

const fair: LinkWeather = { lateChance: 0, lateMs: 0, twiceChance: 0 };

function createWorld(seed: number, faults: Faults, stormMs: number): World {
  const random = seedRandom(seed);
  const agenda = createAgenda(startMs);
  const storm: LinkWeather = {
    lateChance: 0.02 * nextFloat(random),
    lateMs: 5_000,
    twiceChance: 0.05,
  };
  let weather = storm;
  const disk: Disk = createDisk({
    onOutcome: (save) => witness.onOutcome(save),
    onAttemptEnd: (save) => witness.onAttemptEnd(save),
  });
  const witness: Witness = createWitness({
    agenda,
    disk,
    findAgent: (node) => agents.get(node),
    givesNetwork: (node) => !deniers.has(node),
  });
  const agents = new Map<NodeId, AgentHost>();
  const counts = { coordinatorKills: 0, agentKills: 0 };
  const users = createUsers({
    seed,
    random,
    agenda,
    disk,
    witness,
    isUp: () => coordinator.isUp,
    submit: (event) => coordinator.dispatch(event),
  });

  const coordinator: CoordinatorHost = createCoordinatorHost({
    agenda,
    random,
    disk,
    faults,
    onAnswer: (effect) => users.answer(effect.request, effect.answer, weather === storm),
    onSend: (effect) => witness.onSend(effect),
    onHeard: (node) => witness.onHeard(node),
    onTick: () => undefined,
  });

  const deniers = new Set<NodeId>();
  const addAgent = (options?: { network: boolean }): void => {
    const node = `node${agents.size}-${nextHex(random, 4)}` as NodeId;
    const slots = 1 + nextBelow(random, 4);
    const network = options?.network ?? nextFloat(random) < 0.5;
    if (!network) deniers.add(node);
    const agent = createAgentHost({
      agenda,
      random,
      faults,
      node,
      network,
      capacity: { slots, cpus: slots, memoryBytes: slots * 2 ** 30, diskBytes: 2 ** 40 },
      deedOf: (spec, attempt) => planDeed(seed, spec, attempt),
      dial: (host) => {
        const session = coordinator.accept(node);
        if (session === null) return null;
        const link = createLink({
          session: session as SessionNumber,
          agenda,
          random,
          weather: () => weather,
          ends: { coordinator, agent: host },
        });
        coordinator.bind(node, link);
        links.add(link);
        return link;
      },
      onOutputStored: (hash) => witness.onOutputStored(hash),
      onRunBegun: (at, attempt) => witness.onRunBegun(at, attempt),
      onRunEnded: (at, attempt, how) => witness.onRunEnded(at, attempt, how),
      onKillOrdered: (at, attempt, sinceMs) => witness.onKillOrdered(at, attempt, sinceMs),
    });
    agents.set(node, agent);
    agent.start();
  };
  const links = new Set<ReturnType<typeof createLink>>();

  const strike = (): void => {
    if (weather !== storm) return;
    const living = [...agents.values()].filter((agent) => agent.isUp);
    const agent = living[nextBelow(random, Math.max(1, living.length))];
    const chance = nextFloat(random);
    if (chance < 0.15) killCoordinator();
    else if (chance < 0.35 && agent !== undefined) killAgent(agent);
    else if (chance < 0.6) cutLink();
    else if (chance < 0.7 && agent !== undefined) agent.freeze(nextBelow(random, 25_000));
    else if (chance < 0.75 && agent !== undefined) agent.stop();
    else if (chance < 0.85 && agent !== undefined) drain(agent.node);
    else users.act();
    if (living.length < 2) addAgent();
    agenda.after(nextFloat(random) * 6_000, strike);
  };

  const killCoordinator = (): void => {
    if (!coordinator.isUp) return;
    coordinator.kill();
    users.forgetRequests();
    counts.coordinatorKills += 1;
    agenda.after(nextFloat(random) * (nextFloat(random) < 0.2 ? 30_000 : 2_000), () =>
      coordinator.start(),
    );
  };

  const killAgent = (agent: AgentHost): void => {
    agent.kill();
    counts.agentKills += 1;
    const comesBack = nextFloat(random) < 0.6;
    agenda.after(nextFloat(random) * 20_000, () => {
      if (comesBack) agent.start();
      else addAgent();
    });
  };

  const cutLink = (): void => {
    for (const link of links) if (link.isBroken) links.delete(link);
    const all = [...links];
    all[nextBelow(random, Math.max(1, all.length))]?.cut();
  };

  const drain = (node: NodeId): void => {
    coordinator.dispatch({
      kind: 'nodeDrainAsked',
      request: null,
      node,
      by: 'operator',
      reason: '',
    });
    if (nextFloat(random) < 0.5) return;
    agenda.after(nextFloat(random) * 3_000, () =>
      coordinator.dispatch({ kind: 'nodeUndrainAsked', request: null, node }),
    );
  };

  return {
    agenda,
    begin() {
      coordinator.start();
      for (let count = 2 + nextBelow(random, 4); count > 0; count -= 1) addAgent();
      users.begin();
      agenda.after(3_000 + nextFloat(random) * 3_000, strike);
    },
    check() {
      witness.check();
    },
    clearUp() {
      weather = fair;
      if (!coordinator.isUp) coordinator.start();
      users.rest();
      agenda.after(10_000, () => {
        for (const node of coordinator.state?.nodes.keys() ?? []) {
          coordinator.dispatch({ kind: 'nodeUndrainAsked', request: null, node });
        }
        for (let count = 0; count < 2; count += 1) addAgent({ network: true });
      });
    },
    isAtRest() {
      return agenda.nowMs > startMs + stormMs + 15_000 && users.isAtRest();
    },
    finish() {
      if (!users.isAtRest()) {
        throw new BrokenPromise(`not all tasks ended: ${describeMesh(coordinator, agents)}`);
      }
      witness.finish(users.acknowledged());
      return { events: agenda.count, ...users.summary(), ...counts };
    },
  };
}

interface Users {
  begin(): void;
  /** One of them changes their mind. */
  act(): void;
  answer(request: number, answer: { kind: string }, mayBeLost: boolean): void;
  /** The coordinator died: nobody will answer what was asked. */
  forgetRequests(): void;
  rest(): void;
  isAtRest(): boolean;
  acknowledged(): ReadonlySet<string>;
  summary(): { tasks: number; endings: Record<string, number>; attempts: number };
}

interface Wish {
  clientBatch: string;
  group: GroupId;
  count: number;
  /** What its tasks read; half of all say so. */
  assets: TaskAssets | null;
  acknowledged: boolean;
  /** The group takes no more: the mesh said so, and this is an end too. */
  refused: boolean;
}

function createUsers(options: {
  seed: number;
  random: RandomState;
  agenda: Agenda;
  disk: Disk;
  witness: Witness;
  isUp: () => boolean;
  submit: (event: CoordinatorEvent) => void;
}): Users {
  const { random, agenda, disk, witness } = options;
  const namespaces = ['alpha', 'beta'] as NamespaceName[];
  const specs: GroupSpec[] = [];
  const wishes = new Map<string, Wish>();
  const requests = new Map<number, Wish>();
  let nextRequest = 1;
  let resting = false;

  const wish = (): void => {
    if (resting || wishes.size >= 25) return;
    const spec = specs[nextBelow(random, specs.length)];
    if (spec === undefined) return;
    const isLarge = spec.name === 'pace0';
    const count = 1 + nextBelow(random, isLarge ? 60 : 8);
    const made: Wish = {
      clientBatch: nextHex(random, 16),
      group: spec.group,
      count,
      assets: nextFloat(random) < 0.5 ? planAssets(random, count) : null,
      acknowledged: false,
      refused: false,
    };
    wishes.set(made.clientBatch, made);
    post(made);
    agenda.after(nextFloat(random) * 6_000, wish);
  };

  // As the SDKs do: the same batch id until there is an answer.
  const post = (made: Wish): void => {
    if (made.acknowledged || made.refused) return;
    agenda.after(2_000 + nextFloat(random) * 2_000, () => post(made));
    const isWaiting = [...requests.values()].includes(made);
    if (isWaiting || !options.isUp()) return;
    // As the gateway does: a repeat is answered from the disk and never reaches the core.
    if (disk.findByClient(made.clientBatch) !== undefined) {
      made.acknowledged = true;
      return;
    }
    const group = disk.groups.get(made.group);
    if (group === undefined) {
      createGroup(made.group);
      return;
    }
    const request = nextRequest;
    nextRequest += 1;
    requests.set(request, made);
    options.submit({
      kind: 'batchSubmitted',
      request,
      group: made.group,
      clientBatch: made.clientBatch,
      blockHash: made.clientBatch,
      count: made.count,
      block: new Uint8Array(0),
      assets: made.assets,
    });
  };

  const createGroup = (id: GroupId): void => {
    const spec = specs.find((candidate) => candidate.group === id);
    if (spec === undefined) return;
    nextRequest += 1;
    options.submit({ kind: 'groupCreated', request: nextRequest, spec });
  };

  const cancelOne = (): void => {
    const batches = [...disk.batches.values()];
    const batch = batches[nextBelow(random, Math.max(1, batches.length))];
    if (batch === undefined) return;
    const task = { batch: batch.batch, index: nextBelow(random, batch.count) };
    nextRequest += 1;
    witness.onCancelAsked(task);
    options.submit({ kind: 'taskCancelled', request: nextRequest, task });
  };

  const terminateOne = (): void => {
    const spec = specs[nextBelow(random, specs.length)];
    if (spec === undefined || !disk.groups.has(spec.group)) return;
    nextRequest += 1;
    const drain = nextFloat(random) < 0.5;
    witness.onTerminateAsked(spec.group);
    options.submit({ kind: 'groupTerminated', request: nextRequest, group: spec.group, drain });
  };

  return {
    begin() {
      for (let count = 2 + nextBelow(random, 4); count > 0; count -= 1) {
        const namespace = namespaces[nextBelow(random, 2)] ?? ('alpha' as NamespaceName);
        const spec = planGroup(random, namespace);
        specs.push(spec);
        createGroup(spec.group);
      }
      wish();
      wish();
    },
    act() {
      if (nextFloat(random) < 0.85) cancelOne();
      else terminateOne();
    },
    answer(request, answer, mayBeLost) {
      const made = requests.get(request);
      requests.delete(request);
      if (made === undefined) return;
      if (answer.kind === 'batchTaken') witness.onAcknowledged(made);
      // The answer is lost on its way: the client asks again.
      if (mayBeLost && nextFloat(random) < 0.1) return;
      if (answer.kind === 'batchTaken') made.acknowledged = true;
      if (answer.kind === 'refused') made.refused = true;
    },
    forgetRequests() {
      requests.clear();
    },
    rest() {
      resting = true;
    },
    isAtRest() {
      if (![...wishes.values()].every((made) => made.acknowledged || made.refused)) return false;
      return [...disk.batches.values()].every((batch) => {
        if (batch.tasks.size < batch.count) return false;
        return [...batch.tasks.values()].every((task) => task.outcome !== null);
      });
    },
    acknowledged: () =>
      new Set(
        [...wishes.values()].filter((made) => made.acknowledged).map((made) => made.clientBatch),
      ),
    summary() {
      const endings: Record<string, number> = {};
      let tasks = 0;
      let attempts = 0;
      for (const batch of disk.batches.values()) {
        tasks += batch.count;
        for (const [index, task] of batch.tasks) {
          const { outcome } = task;
          promise(
            outcome !== null,
            () => `${formatTaskId({ batch: batch.batch, index })} never ended`,
          );
          endings[outcome.status] = (endings[outcome.status] ?? 0) + 1;
          attempts += task.attempts.length;
        }
      }
      return { tasks, endings, attempts };
    },
  };
}

/** Where the mesh stands when it should have come to rest. */
function describeMesh(
  coordinator: CoordinatorHost,
  agents: ReadonlyMap<NodeId, AgentHost>,
): string {
  const { state } = coordinator;
  const nodes = state === null ? [] : describeNodes(state);
  const tasks = [...(state?.tasks.values() ?? [])].map(
    (task) =>
      `${task.batch.number}-${task.index}#${task.attempt} ${JSON.stringify(task.place)} ${task.node}`,
  );
  const held = [...agents.values()].map((agent) =>
    agent.state === null
      ? `${agent.node} down`
      : `${agent.node} ${agent.state.session.kind} draining ${agent.state.draining} attempts ${[
          ...agent.state.attempts.values(),
        ]
          .map(
            (attempt) =>
              `${attempt.batch}-${attempt.index}#${attempt.attempt} ${attempt.phase.kind}`,
          )
          .join(' ')} workers ${[...agent.state.workers.values()]
          .map((worker) => `${worker.number} ${worker.phase.kind} ${worker.queue.length}`)
          .join(', ')}`,
  );
  const groups = [...(state?.groups.values() ?? [])].map(
    (group) =>
      `${group.id} ${group.state} max ${group.spec.maximumConcurrency} fresh ${group.freshCount}`,
  );
  return JSON.stringify({ nodes, tasks, held, groups }, null, 1);
}
