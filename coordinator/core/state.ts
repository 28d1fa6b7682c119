/** The coordinator's memory: what is hot of the store's truth. Created once a run; `step` changes it. */
import { assert } from '../../protocol/base/assert.ts';
import { seedRandom } from '../../protocol/base/random.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { Batch, CoordinatorState, OpenTask } from './entities.ts';
import type { RestoredBatch, RestoredGroup, RestoredState } from './events.ts';
import { createGroup, getNamespace } from './groups.ts';
import { createNode } from './nodes.ts';
import { hold, placeRunnable } from './places.ts';
import { addFresh } from './queue.ts';
import type { CoreSettings } from './settings.ts';
import { checkCoreSettings } from './settings.ts';
import { armQueueTimer, timersCompactMin } from './timers.ts';

export type { CoordinatorState } from './entities.ts';
export type { CoreSettings } from './settings.ts';

/**
 * The state at the start of a run. Attempts that were running stand: their nodes count as out of
 * contact, and their leases run from now on.
 */
export function createState(options: {
  /** For the jitter of retries. */
  seed: number;
  settings: CoreSettings;
  restored: RestoredState;
  now: number;
}): CoordinatorState {
  const { settings, restored, now } = options;
  checkCoreSettings(settings);
  const state: CoordinatorState = {
    settings: Object.freeze({ ...settings }),
    random: seedRandom(options.seed),
    startedAtMs: now,
    nowMs: now,
    nextBatch: restored.nextBatch,
    namespaces: new Map(),
    groups: new Map(),
    ended: new Set(),
    batches: new Map(),
    tasks: new Map(),
    nodes: new Map(),
    holders: new Map(),
    images: new Map(),
    departed: new Map(),
    ready: new Set(),
    timers: [],
    nextTimer: 0,
    timersCompactAt: timersCompactMin,
    sweeps: [],
    readySlots: 0,
    roomy: new Set(),
    leaseCheckMs: now + settings.leaseMs,
    servedCpuMs: 0,
  };
  for (const [name, outcomeNumber] of restored.outcomeNumbers) {
    getNamespace(state, name).outcomeNumber = outcomeNumber;
  }
  const batches = [...restored.batches].sort((one, other) => one.batch - other.batch);
  const open = new Set(batches.map((batch) => batch.group));
  for (const group of restored.groups) {
    // What is over and done with is the store's alone.
    if (group.state !== 'terminated' || open.has(group.spec.group)) restoreGroup(state, group);
  }
  for (const batch of batches) restoreBatch(state, batch);
  for (const group of state.groups.values()) {
    if (group.state !== 'running') state.sweeps.push({ kind: 'group', group });
  }
  return state;
}

function restoreGroup(state: CoordinatorState, restored: RestoredGroup): void {
  const { spec, createdAtMs } = restored;
  const group = createGroup(state, spec, { state: restored.state, createdAtMs });
  group.succeeded = restored.counts.succeeded;
  group.failed = restored.counts.failed;
  group.runtimeMs = restored.runtimeMs;
  group.typicalMs = restored.runtimeMs;
  group.story.push({ atMs: state.nowMs, text: 'Found again after a restart of the coordinator.' });
}

function restoreBatch(state: CoordinatorState, restored: RestoredBatch): void {
  const group = state.groups.get(restored.group);
  assert(group !== undefined, `batch ${restored.batch} belongs to a known group`);
  assert(restored.batch < state.nextBatch, `batch ${restored.batch} was numbered before`);
  const batch: Batch = {
    number: restored.batch,
    group,
    count: restored.count,
    submittedAtMs: restored.submittedAtMs,
    next: restored.next,
    doneCount: restored.doneCount,
    takenAhead: new Set(
      [...restored.doneAhead, ...restored.open.map((open) => open.index)].filter(
        (index) => index >= restored.next,
      ),
    ),
    assets: restored.assets,
  };
  while (batch.takenAhead.delete(batch.next)) batch.next += 1;
  state.batches.set(batch.number, batch);
  for (const open of restored.open) restoreTask(state, batch, open);
  addFresh(state, batch);
  armQueueTimer(state, group);
}

function restoreTask(
  state: CoordinatorState,
  batch: Batch,
  open: RestoredBatch['open'][number],
): void {
  const task: OpenTask = {
    key: taskKey({ batch: batch.number, index: open.index }),
    batch,
    index: open.index,
    attempt: open.attempt,
    node: open.node,
    grantedAtMs: open.grantedAtMs,
    startedAtMs: null,
    charges: open.charges,
    losses: open.losses,
    killedOn: [...open.killedOn],
    place: { kind: 'settled' },
  };
  state.tasks.set(task.key, task);
  if (open.ended) {
    // Pauses of an earlier run count as over.
    const sinceMs = state.nowMs;
    const { adoptable } = open;
    placeRunnable(state, task, { sinceMs, avoidMs: 0, avoidStrictly: false, adoptable });
    return;
  }
  let node = state.nodes.get(open.node);
  if (node === undefined) {
    node = createNode(open.node, state.nowMs);
    state.nodes.set(open.node, node);
  }
  hold(task, node);
  if (open.cancelAsked && task.place.kind === 'held') task.place.cancelAsked = true;
}
