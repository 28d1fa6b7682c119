/**
 * Groups.
 *
 * (created) → running. running → draining: terminated with drain, what runs may finish. running,
 * draining → terminated: terminated without drain, what runs is killed. draining → terminated: its
 * last task is done. Nothing leads out of terminated. Queued tasks end as `cancelled` from the
 * moment a group leaves running; the state is saved first, so that a restart goes on with it.
 */
import type { AttemptRef, GroupId, NamespaceName } from '../../protocol/wire/ids.ts';
import type { GroupSpec } from '../../protocol/wire/task.ts';
import type { CoordinatorState, Group, GroupState, Namespace } from './entities.ts';
import type { CoordinatorEvent } from './events.ts';
import { refOf } from './nodes.ts';
import { endGroupWhenDone } from './outcomes.ts';
import { releaseReservation } from './reservations.ts';
import { createHistogram } from './runtimes.ts';
import type { Turn } from './turn.ts';
import { refuse, respondDone, tell } from './turn.ts';

type Event<Kind extends CoordinatorEvent['kind']> = Extract<CoordinatorEvent, { kind: Kind }>;

/** A new group. */
export function takeGroup(turn: Turn, event: Event<'groupCreated'>): void {
  const { spec } = event;
  if (turn.state.groups.has(spec.group)) {
    refuse(turn, event.request, {
      code: 'conflict',
      message: `Group ${spec.group} exists already.`,
    });
    return;
  }
  const group = createGroup(turn.state, spec, { state: 'running', createdAtMs: turn.now });
  tell(turn, group, 'Created.');
  turn.effects.push({ kind: 'saveGroup', spec, atMs: turn.now });
  respondDone(turn, event.request);
}

/** Other limits, for attempts not yet started. */
export function takeLimits(turn: Turn, event: Event<'groupUpdated'>): void {
  const group = findOrRefuse(turn, event);
  if (group === undefined) return;
  if (group.state !== 'running') {
    const message = `Group ${group.spec.name} was terminated.`;
    refuse(turn, event.request, { code: 'group_terminated', message });
    return;
  }
  group.spec = { ...group.spec, ...event.limits };
  group.namespace.readyStale = true;
  tell(turn, group, 'Its limits were changed.');
  turn.wakeAll = true;
  turn.effects.push({ kind: 'saveGroupLimits', group: group.id, limits: event.limits });
  respondDone(turn, event.request);
}

/** No new tasks; asking again without drain kills what a drain let run. */
export function takeTermination(turn: Turn, event: Event<'groupTerminated'>): void {
  const group = findOrRefuse(turn, event);
  if (group === undefined) return;
  const next: GroupState = event.drain ? 'draining' : 'terminated';
  const changes = group.state === 'running' || (group.state === 'draining' && !event.drain);
  if (changes) {
    if (group.state === 'running') turn.state.sweeps.push({ kind: 'group', group });
    group.state = next;
    group.namespace.readyStale = true;
    releaseReservation(group);
    tell(turn, group, event.drain ? 'Terminated; what runs may finish.' : 'Terminated.');
    turn.effects.push({ kind: 'saveGroupState', group: group.id, state: next, atMs: turn.now });
    if (next === 'terminated') cancelRunning(turn, group);
    endGroupWhenDone(turn, group);
  }
  respondDone(turn, event.request);
}

/** A group that is over is forgotten. */
export function takeRemoval(turn: Turn, event: Event<'groupRemoved'>): void {
  const { groups, ended } = turn.state;
  const group = groups.get(event.group);
  if (group !== undefined && !ended.has(group)) {
    if (event.request === null) return;
    refuse(turn, event.request, {
      code: 'conflict',
      message: `Group ${group.spec.name} is not over yet.`,
      fix: `Terminate it first, and wait for its last task: \`scripts/perigee group terminate ${group.id}\`.`,
    });
    return;
  }
  if (group !== undefined) {
    groups.delete(group.id);
    ended.delete(group);
  }
  if (event.request !== null) respondDone(turn, event.request);
}

/** A group in the state's tables, without tasks. */
export function createGroup(
  state: CoordinatorState,
  spec: GroupSpec,
  known: { state: GroupState; createdAtMs: number },
): Group {
  const group: Group = {
    id: spec.group,
    namespace: getNamespace(state, spec.namespace),
    spec,
    ...known,
    fresh: [],
    freshHead: 0,
    freshCount: 0,
    window: [],
    assetBatches: 0,
    placementAtMs: null,
    waiting: new Map(),
    retries: [],
    running: 0,
    grantedAtSumMs: 0,
    succeeded: 0,
    failed: 0,
    runtimeMs: null,
    typicalMs: null,
    runtimes: createHistogram(),
    lastSuccessOn: null,
    reservedOn: null,
    queueTimer: false,
    inReady: false,
    story: [],
  };
  state.groups.set(group.id, group);
  return group;
}

/** A namespace's record, made when it is first heard of. */
export function getNamespace(state: CoordinatorState, name: NamespaceName): Namespace {
  const known = state.namespaces.get(name);
  if (known !== undefined) return known;
  const namespace: Namespace = {
    name,
    outcomeNumber: 0,
    ready: [],
    readyStale: false,
    busy: new Set(),
    usedCpuMs: 0,
  };
  state.namespaces.set(name, namespace);
  return namespace;
}

function findOrRefuse(turn: Turn, event: { request: number; group: GroupId }): Group | undefined {
  const group = turn.state.groups.get(event.group);
  if (group === undefined) {
    refuse(turn, event.request, {
      code: 'not_found',
      message: `There is no group ${event.group}.`,
    });
  }
  return group;
}

function cancelRunning(turn: Turn, group: Group): void {
  for (const node of turn.state.nodes.values()) {
    if (!node.heldByGroup.has(group)) continue;
    const attempts: AttemptRef[] = [];
    for (const task of node.held.values()) {
      if (task.batch.group !== group || task.place.kind !== 'held') continue;
      task.place.cancelAsked = true;
      attempts.push(refOf(task));
    }
    if (node.session === null) continue;
    turn.effects.push({ kind: 'sendCancel', node: node.id, session: node.session, attempts });
  }
}
