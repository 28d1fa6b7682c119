/**
 * `npm run bench -- growth`: what one decision of the coordinator's core costs as the mesh grows tenfold,
 * and tenfold again. The core is the real one, under the simulator's kind of clock, with nodes that hold
 * what they are granted, report it and beat once a second; what would be on disk is counted by a twin of
 * the store, so that only the hot set is in memory. A decision is a grant or a recorded outcome.
 */
import type { CoordinatorEffect } from '../coordinator/core/effects.ts';
import type { CoordinatorEvent } from '../coordinator/core/events.ts';
import { defaultCoreSettings } from '../coordinator/core/settings.ts';
import { createState } from '../coordinator/core/state.ts';
import { step } from '../coordinator/core/step.ts';
import type {
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
  NamespaceName,
  NodeId,
  SessionNumber,
} from '../protocol/wire/ids.ts';
import { batchTasksMax } from '../protocol/wire/limits.ts';
import type { Hello } from '../protocol/wire/messages.ts';
import type { AttemptOutcome, GroupSpec } from '../protocol/wire/task.ts';
import type { GrowthPoint } from './figures.ts';

/** Sizes of a mesh; the first is the measure of the others. */
export const growthSizes: readonly { nodes: number; tasks: number }[] = [
  { nodes: 100, tasks: 10_000 },
  { nodes: 100, tasks: 100_000 },
  { nodes: 100, tasks: 1_000_000 },
  { nodes: 100, tasks: 10_000_000 },
  { nodes: 1_000, tasks: 1_000_000 },
  { nodes: 10_000, tasks: 1_000_000 },
  { nodes: 10_000, tasks: 10_000_000 },
];

/** Decisions measured at each size; a queue of 10M is not drained, only held. */
const decisionsMeasured = 400_000;
const namespacesCount = 10;
const groupsPerNamespace = 5;
const slots = 2;
/** How long a task takes by the simulated clock, and so how often a node speaks. */
const taskMs = 50;
const heartbeatMs = 1_000;

/** Measures every size, or those whose nodes and tasks stay within bounds. */
export function measureGrowth(
  bounds: { nodesMax?: number; tasksMax?: number; decisions?: number } = {},
): GrowthPoint[] {
  const { nodesMax = Infinity, tasksMax = Infinity, decisions = decisionsMeasured } = bounds;
  // What is measured first would pay for the compiler.
  measureSize({ nodes: 100, tasks: 100_000 }, Math.min(decisions, 100_000));
  return growthSizes
    .filter(({ nodes, tasks }) => nodes <= nodesMax && tasks <= tasksMax)
    .map((size) => {
      const point = measureSize(size, decisions);
      process.stderr.write(
        `  growth: ${point.nodes} nodes, ${point.tasks} tasks: ${point.microsecondsPerDecision.toFixed(2)} µs a decision\n`,
      );
      return point;
    });
}

export function measureSize(
  size: { nodes: number; tasks: number },
  decisions: number,
): GrowthPoint {
  const mesh = createGrowthMesh();
  for (let index = 0; index < size.nodes; index += 1) mesh.join(index);
  mesh.submit(size.tasks);
  // In the middle of its life: every node holds what it may, and every runtime is known.
  mesh.run(Math.min(size.tasks / 4, Math.max(20_000, size.nodes * slots * 4)));
  const wanted = Math.min(decisions, size.tasks);
  const before = mesh.decisions();
  const began = process.cpuUsage();
  mesh.run(wanted);
  const { user, system } = process.cpuUsage(began);
  const made = mesh.decisions() - before;
  const microsecondsPerCall = measureEach(200, (at) => mesh.call(at));
  const microsecondsPerReconnect = measureEach(200, (at) => mesh.reconnect(at % size.nodes));
  mesh.check();
  return {
    ...size,
    decisionsPerSecond: made / ((user + system) / 1e6),
    microsecondsPerDecision: (user + system) / made,
    microsecondsPerCall,
    microsecondsPerReconnect,
    heapBytes: process.memoryUsage().heapUsed,
  };
}

function measureEach(times: number, act: (at: number) => void): number {
  const began = process.cpuUsage();
  for (let at = 0; at < times; at += 1) act(at);
  const { user, system } = process.cpuUsage(began);
  return (user + system) / times;
}

interface Held {
  batch: BatchNumber;
  index: number;
  attempt: number;
}

/** One agent: what it holds, in order, and when it speaks next. */
interface Agent {
  id: NodeId;
  session: SessionNumber;
  held: Held[];
  report: number;
}

function createGrowthMesh() {
  let nowMs = 1_000_000;
  let decisions = 0;
  let granted = 0;
  let recorded = 0;
  let request = 1;
  const state = createState({
    seed: 1,
    settings: { ...defaultCoreSettings, openBatchesMax: 1_000_000 },
    restored: { groups: [], batches: [], nextBatch: 1, outcomeNumbers: [], nextSession: 1 },
    now: nowMs,
  });
  const agents = new Map<NodeId, Agent>();
  // The simulated clock: agents by the millisecond in which they speak.
  const agenda = new Map<number, Agent[]>();
  const beats = new Map<number, Agent[]>();
  const plan = (calendar: Map<number, Agent[]>, agent: Agent, atMs: number): void => {
    const there = calendar.get(atMs);
    if (there === undefined) calendar.set(atMs, [agent]);
    else there.push(agent);
  };
  const take = (event: CoordinatorEvent): void => {
    for (const effect of step(state, event, nowMs)) perform(effect);
  };
  const perform = (effect: CoordinatorEffect): void => {
    if (effect.kind === 'saveOutcome') {
      recorded += 1;
      decisions += 1;
    } else if (effect.kind === 'sendGrant') {
      const agent = agents.get(effect.node);
      if (agent === undefined) throw new Error('A grant of a node that is not there.');
      if (agent.held.length === 0) plan(agenda, agent, nowMs + taskMs);
      granted += effect.count;
      decisions += effect.count;
      for (let at = 0; at < effect.count; at += 1) {
        agent.held.push({ batch: effect.batch, index: effect.lo + at, attempt: effect.attempt });
      }
    }
  };
  /** The agent's slots have finished one task each. */
  const speak = (agent: Agent): void => {
    const ended = agent.held.splice(0, slots);
    agent.report += 1;
    take({
      kind: 'reportReceived',
      node: agent.id,
      session: agent.session,
      report: agent.report,
      outcomes: ended.map((held) => ({ ...held, ...done })),
    });
    // A grant that came with the report found it busy still.
    if (agent.held.length > 0 && ended.length > 0) plan(agenda, agent, nowMs + taskMs);
  };
  return {
    join(index: number): void {
      const agent: Agent = {
        id: `node${index}` as NodeId,
        session: (index + 1) as SessionNumber,
        held: [],
        report: 0,
      };
      agents.set(agent.id, agent);
      const from = { node: agent.id, session: agent.session };
      take({ kind: 'nodeJoined', ...from, hello: helloOf(index), namespaces: null });
      take({ kind: 'nodePulled', ...from, heldMax: 8 });
      plan(beats, agent, nowMs + 1 + (index % heartbeatMs));
    },
    submit(tasks: number): void {
      const groups = namespacesCount * groupsPerNamespace;
      for (let index = 0; index < groups; index += 1) {
        take({ kind: 'groupCreated', request: request++, spec: specOf(index) });
      }
      for (let left = tasks, at = 0; left > 0; left -= batchTasksMax, at += 1) {
        take({
          kind: 'batchSubmitted',
          request: request++,
          group: groupOf(at % groups),
          clientBatch: String(at),
          blockHash: '',
          count: Math.min(left, batchTasksMax),
          block: nothing,
          assets: null,
        });
      }
    },
    /** Lets the clock run until so many decisions were made, or all is done. */
    run(wanted: number): void {
      const until = decisions + wanted;
      while (decisions < until && state.batches.size > 0) {
        nowMs += 1;
        const speaking = agenda.get(nowMs) ?? [];
        agenda.delete(nowMs);
        for (const agent of speaking) speak(agent);
        for (const agent of beats.get(nowMs) ?? []) {
          const { id: node, session } = agent;
          const load = { load: 0, memoryFreeBytes: 1e9, diskFreeBytes: 1e11 };
          take({ kind: 'heartbeatHeard', node, session, ...load });
          plan(beats, agent, nowMs + heartbeatMs);
        }
        beats.delete(nowMs);
        if (nowMs % 100 === 0) take({ kind: 'clockTicked' });
      }
    },
    /** One task comes while every place is taken. */
    call(at: number): void {
      const event = { request: request++, clientBatch: `call${at}`, blockHash: '', count: 1 };
      take({ kind: 'batchSubmitted', group: groupOf(0), block: nothing, assets: null, ...event });
    },
    /** A node comes back in a new session with what it holds. */
    reconnect(index: number): void {
      const agent = agents.get(`node${index}` as NodeId);
      if (agent === undefined) throw new Error('There is no such node.');
      agent.session = (agents.size + request++) as SessionNumber;
      const from = { node: agent.id, session: agent.session };
      const hello = { ...helloOf(index), held: agent.held };
      take({ kind: 'nodeJoined', ...from, hello, namespaces: null });
      take({ kind: 'nodePulled', ...from, heldMax: 8 });
    },
    decisions: () => decisions,
    /** Every grant is held or recorded; nothing was lost on the way. */
    check(): void {
      let held = 0;
      for (const agent of agents.values()) held += agent.held.length;
      if (granted !== recorded + held) {
        throw new Error(`${granted} grants, but ${recorded} outcomes and ${held} held`);
      }
    },
  };
}

const nothing = new Uint8Array(0);
const image = `sha256:${'a'.repeat(64)}` as ImageDigest;
const python = { implementation: 'CPython', version: '2.7.18' };
const done: AttemptOutcome = {
  status: 'success',
  result: Uint8Array.of(0x50),
  failure: null,
  runtimeMs: taskMs,
  peakMemoryBytes: 0,
  logBytes: 0,
};

function groupOf(index: number): GroupId {
  return `group${index}` as GroupId;
}

function specOf(index: number): GroupSpec {
  return {
    group: groupOf(index),
    namespace: `namespace${index % namespacesCount}` as NamespaceName,
    name: 'nothing',
    imageName: 'perigee/geospatial:py2.7',
    imageDigest: image,
    functionKind: 'pickle',
    functionBlob: 'f'.repeat(64) as BlobHash,
    functionEntry: '',
    cloudpickleBlob: null,
    cloudpickleVersion: null,
    python,
    cpus: 1,
    memoryBytes: 1e9,
    taskTimeoutMs: 1_800_000,
    retryCount: 0,
    maximumConcurrency: null,
    queueTimeoutMs: null,
    priority: 0,
    taskIsolation: 'worker',
    isolationMin: 'standard',
    network: false,
    environment: {},
    resultFormat: 'pickle',
  };
}

function helloOf(index: number): Hello {
  return {
    kind: 'hello',
    protocol: 1,
    software: 'perigee bench',
    joinToken: null,
    nodeName: `host-${index}`,
    instance: null,
    capacity: { slots, cpus: slots, memoryBytes: 8e9, diskBytes: 1e11 },
    images: [
      { digest: image, names: ['perigee/geospatial:py2.7'], python, arch: 'x64', sizeBytes: 1 },
    ],
    isolation: 'standard',
    mounts: [],
    peerAddresses: [],
    imagery: 'none',
    pid: 1,
    held: [],
    draining: false,
  };
}
