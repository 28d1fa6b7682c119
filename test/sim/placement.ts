/**
 * A backlog of tasks that read scenes, on the coordinator's real core and nodes with caches: how often a
 * task finds its scene where it runs, and how long all of them take, against first come first served.
 */
import type { CoordinatorEffect } from '../../coordinator/core/effects.ts';
import type { CoordinatorEvent } from '../../coordinator/core/events.ts';
import { checkInvariants } from '../../coordinator/core/invariants.ts';
import { defaultCoreSettings } from '../../coordinator/core/settings.ts';
import { createState } from '../../coordinator/core/state.ts';
import { step } from '../../coordinator/core/step.ts';
import { nextBelow, nextFloat, type RandomState, seedRandom } from '../../protocol/base/random.ts';
import type { AssetId, NamespaceName, NodeId, SessionNumber } from '../../protocol/wire/ids.ts';
import type { TaskAssets } from '../../protocol/wire/task.ts';
import { type Agenda, createAgenda } from './agenda.ts';
import { simHello } from './hello.ts';
import { planGroup } from './plan.ts';

export interface PlacementReport {
  /** Share of tasks whose scene was on the disk of their node. */
  localHits: number;
  makespanMs: number;
  /** The task that was granted latest after those submitted with it began, in ms from its submission. */
  longestWaitMs: number;
  tasks: number;
}

export interface PlacementPlan {
  nodes: number;
  /** Tasks that one node runs at once. */
  slots: number;
  tasks: number;
  scenes: number;
  sceneBytes: number;
  /** Scenes that a node's cache holds. */
  cachedScenes: number;
  originBytesPerMs: number;
  /** From a node that has the scene. */
  peerBytesPerMs: number;
  computeMs: { min: number; max: number };
  zipfExponent: number;
}

/** As in the comparison of policies that the design rests on: uniform scenes, asked for by a Zipf law. */
export const usualPlan: PlacementPlan = {
  nodes: 16,
  slots: 8,
  tasks: 16_000,
  scenes: 3_000,
  sceneBytes: 50 * 1024 * 1024,
  cachedScenes: 120,
  originBytesPerMs: 100_000,
  peerBytesPerMs: 350_000,
  computeMs: { min: 100, max: 400 },
  zipfExponent: 0.8,
};

const startMs = 1_700_000_000_000;
/** How long a node's word on its cache takes to reach the coordinator, and a grant to reach the node. */
const holdingsDelayMs = 1_000;
const linkMs = 2;

/** Runs the plan; `isPlaced` false submits the same tasks without saying what they read. */
export function runPlacement(
  seed: number,
  options: { isPlaced: boolean; plan?: PlacementPlan },
): PlacementReport {
  const plan = options.plan ?? usualPlan;
  const random = seedRandom(seed);
  const agenda = createAgenda(startMs);
  const load = drawLoad(random, plan);
  const state = createState({
    seed,
    settings: defaultCoreSettings,
    restored: { groups: [], batches: [], nextBatch: 1, outcomeNumbers: [], nextSession: 1 },
    now: startMs,
  });
  const nodes = new Map<NodeId, SimNode>();
  const grantedAtMs: number[] = [];
  let hits = 0;
  let done = 0;
  let steps = 0;

  const tell = (event: CoordinatorEvent): void => {
    const effects = step(state, event, Math.floor(agenda.nowMs));
    steps += 1;
    if (steps % 500 === 0) checkInvariants(state);
    for (const effect of effects) perform(effect);
  };
  const perform = (effect: CoordinatorEffect): void => {
    if (effect.kind !== 'sendGrant') return;
    const node = nodes.get(effect.node);
    for (let index = effect.lo; index < effect.lo + effect.count; index += 1) {
      const at = (effect.batch - 1) * batchTasks + index;
      grantedAtMs[at] = agenda.nowMs;
      agenda.after(linkMs, () => node?.take({ batch: effect.batch, index, scene: load[at] ?? 0 }));
    }
  };
  const addNode = (number: number): void => {
    const node = `node${String(number).padStart(2, '0')}` as NodeId;
    const session = (number + 1) as SessionNumber;
    nodes.set(
      node,
      createNode({
        agenda,
        random,
        plan,
        isHeldElsewhere: (scene) => [...nodes.values()].some((other) => other.cache.has(scene)),
        onHit: () => {
          hits += 1;
        },
        onChange: (change) => {
          agenda.after(holdingsDelayMs, () =>
            tell({ kind: 'holdingsTold', node, session, epoch: 1, ...change }),
          );
        },
        onDone: (task, runtimeMs) => {
          done += 1;
          const outcome = {
            ...{ batch: task.batch, index: task.index, attempt: 1, runtimeMs },
            ...{ status: 'success' as const, result: new Uint8Array(0), failure: null },
            ...{ peakMemoryBytes: 0, logBytes: 0 },
          };
          agenda.after(linkMs, () =>
            tell({ kind: 'reportReceived', node, session, report: done, outcomes: [outcome] }),
          );
        },
      }),
    );
    const capacity = {
      slots: plan.slots,
      cpus: plan.slots,
      memoryBytes: 2 ** 36,
      diskBytes: 2 ** 40,
    };
    tell({
      kind: 'nodeJoined',
      node,
      session,
      hello: simHello({ node, capacity }),
      namespaces: null,
    });
    tell({ kind: 'nodePulled', node, session, heldMax: plan.slots + 1 });
  };
  const beat = (): void => {
    for (const [node] of nodes) {
      const session = (Number(node.slice(4)) + 1) as SessionNumber;
      const health = { load: 0, memoryFreeBytes: 1, diskFreeBytes: 1 };
      tell({ kind: 'heartbeatHeard', node, session, ...health });
    }
    tell({ kind: 'clockTicked' });
    agenda.after(20, beat);
  };

  for (let number = 0; number < plan.nodes; number += 1) addNode(number);
  const spec = { ...planGroup(seedRandom(1), 'default' as NamespaceName), ...unlimited };
  tell({ kind: 'groupCreated', request: 1, spec });
  for (let from = 0; from < plan.tasks; from += batchTasks) {
    const scenes = load.slice(from, from + batchTasks);
    tell({
      kind: 'batchSubmitted',
      request: 2 + from,
      group: spec.group,
      clientBatch: `b${from}`,
      blockHash: `b${from}`,
      count: scenes.length,
      block: new Uint8Array(0),
      assets: options.isPlaced ? assetsOf(scenes) : null,
    });
  }
  agenda.after(20, beat);
  while (done < plan.tasks && agenda.next(startMs + 3_600_000));
  const makespanMs = agenda.nowMs - startMs;
  const longestWaitMs = Math.max(...grantedAtMs) - startMs;
  return { localHits: hits / plan.tasks, makespanMs, longestWaitMs, tasks: done };
}

const batchTasks = 2_000;
const unlimited = { maximumConcurrency: null, queueTimeoutMs: null, retryCount: 0 };

interface SimTask {
  batch: number;
  index: number;
  scene: number;
}

interface SimNode {
  readonly cache: Map<number, true>;
  take(task: SimTask): void;
}

/** Each slot fetches what the node lacks, then computes; the least recently used scene makes room. */
function createNode(world: {
  agenda: Agenda;
  random: RandomState;
  plan: PlacementPlan;
  isHeldElsewhere(scene: number): boolean;
  onHit(): void;
  onChange(change: {
    sequence: number;
    full: boolean;
    add: { asset: AssetId; bytes: number }[];
    drop: AssetId[];
  }): void;
  onDone(task: { batch: never; index: number }, runtimeMs: number): void;
}): SimNode {
  const { agenda, random, plan } = world;
  const cache = new Map<number, true>();
  const queue: SimTask[] = [];
  let sequence = 0;
  let busy = 0;

  const keep = (scene: number): void => {
    const add = cache.delete(scene) ? [] : [{ asset: assetOf(scene), bytes: plan.sceneBytes }];
    cache.set(scene, true);
    const drop: AssetId[] = [];
    const [oldest] = cache.keys();
    if (cache.size > plan.cachedScenes && oldest !== undefined) {
      cache.delete(oldest);
      drop.push(assetOf(oldest));
    }
    if (add.length === 0) return;
    sequence += 1;
    world.onChange({ sequence, full: sequence === 1, add, drop });
  };
  const runNext = (): void => {
    const task = busy < plan.slots ? queue.shift() : undefined;
    if (task === undefined) return;
    busy += 1;
    const isHit = cache.has(task.scene);
    if (isHit) world.onHit();
    const rate = world.isHeldElsewhere(task.scene) ? plan.peerBytesPerMs : plan.originBytesPerMs;
    const fetchMs = isHit ? 0 : plan.sceneBytes / rate;
    const { min, max } = plan.computeMs;
    const runtimeMs = fetchMs + min + nextFloat(random) * (max - min);
    agenda.after(fetchMs, () => keep(task.scene));
    agenda.after(runtimeMs, () => {
      busy -= 1;
      world.onDone({ batch: task.batch as never, index: task.index }, runtimeMs);
      runNext();
    });
  };
  return {
    cache,
    take(task) {
      queue.push(task);
      runNext();
    },
  };
}

/** Which scene each task reads. */
function drawLoad(random: RandomState, plan: PlacementPlan): number[] {
  const sums: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= plan.scenes; rank += 1) {
    sum += 1 / rank ** plan.zipfExponent;
    sums.push(sum);
  }
  // Which scene is popular has nothing to do with its name.
  const names = Array.from({ length: plan.scenes }, (_, scene) => scene);
  for (let at = names.length - 1; at > 0; at -= 1) {
    const other = nextBelow(random, at + 1);
    [names[at], names[other]] = [names[other] ?? 0, names[at] ?? 0];
  }
  return Array.from({ length: plan.tasks }, () => {
    const drawn = nextFloat(random) * sum;
    const rank = sums.findIndex((upTo) => upTo >= drawn);
    return names[rank] ?? 0;
  });
}

function assetOf(scene: number): AssetId {
  return scene.toString(16).padStart(16, '0') as AssetId;
}

function assetsOf(scenes: readonly number[]): TaskAssets {
  const bytes = new Uint8Array(scenes.length * 8);
  const starts = Uint32Array.from({ length: scenes.length + 1 }, (_, at) => at * 8);
  for (const [at, scene] of scenes.entries())
    new DataView(bytes.buffer).setUint32(at * 8 + 4, scene);
  return { bytes, starts };
}
