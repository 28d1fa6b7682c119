/**
 * Which of a group's next tasks a node gets, when tasks say what they read: the one with the least to
 * fetch there, among a window of the oldest. Two bounds keep this from starving anyone. A task is
 * overtaken a bounded number of times; then it goes next, whoever pulls. And a task that another node
 * could run with less to fetch waits for that node a bounded while, from the moment when it was first
 * held back: one deadline a task, which nothing that happens to other tasks moves (a shared one that
 * every launch moves on can wait for ever when tasks are shorter than the wait).
 */
import type { AssetId, NodeId } from '../../protocol/wire/ids.ts';
import type { TaskAssets } from '../../protocol/wire/task.ts';
import { creditFor } from './credit.ts';
import { findUnfit, isReceiving } from './eligibility.ts';
import type { Batch, Candidate, CoordinatorState, CoreNode, Group } from './entities.ts';
import { missingBytes } from './holdings.ts';
import { findFreshHead, isFresh, takeFreshAhead } from './queue.ts';
import { addPlacementTimer } from './timers.ts';
import type { Turn } from './turn.ts';

/** The task that a node gets next of a group, taken from the queue; undefined when all wait for other nodes. */
export function takeNearest(
  turn: Turn,
  node: CoreNode,
  group: Group,
): { batch: Batch; index: number } | undefined {
  const { state } = turn;
  fillWindow(state, group);
  const best = pick(turn, node, group);
  if (best === undefined) return undefined;
  const { batch, index } = best;
  for (const other of group.window) {
    if (other === best) break;
    other.overtaken += 1;
  }
  group.window.splice(group.window.indexOf(best), 1);
  takeFreshAhead(batch, index);
  return { batch, index };
}

/** The assets of one task of a batch, as ids. */
export function assetsOf(assets: TaskAssets | null, index: number): AssetId[] {
  if (assets === null) return [];
  const from = assets.starts[index] ?? 0;
  const to = assets.starts[index + 1] ?? from;
  const ids: AssetId[] = [];
  for (let at = from; at < to; at += 8) ids.push(readId(assets.bytes, at));
  return ids;
}

/** Until when a queued task is kept for a node that has what it reads; null when it is not. */
export function findHeldBack(
  state: CoordinatorState,
  group: Group,
  task: { batch: number; index: number },
): { untilMs: number; node: NodeId } | null {
  const candidate = group.window.find(
    (one) => one.batch.number === task.batch && one.index === task.index,
  );
  if (candidate?.waiting == null || candidate.waiting.untilMs <= state.nowMs) return null;
  return candidate.waiting;
}

function pick(turn: Turn, node: CoreNode, group: Group): Candidate | undefined {
  const { state } = turn;
  const [oldest] = group.window;
  if (oldest !== undefined && oldest.overtaken >= state.settings.overtakenMax) return oldest;
  let best: Candidate | undefined;
  let bestBytes = Number.POSITIVE_INFINITY;
  for (const candidate of group.window) {
    const bytes = missingBytes(state, node, candidate.assets);
    if (bytes >= bestBytes) continue;
    if (bytes > 0 && isHeldBack(turn, candidate, { node, group, bytes })) continue;
    best = candidate;
    bestBytes = bytes;
    if (bytes === 0) break;
  }
  return best;
}

/** Whether a task had better wait a moment for a node that need not fetch as much. */
function isHeldBack(
  turn: Turn,
  candidate: Candidate,
  at: { node: CoreNode; group: Group; bytes: number },
): boolean {
  const { state, now } = turn;
  const { node, group, bytes } = at;
  if (candidate.waiting !== null && candidate.waiting.untilMs <= now) return false;
  const nearer = findNearer(state, candidate, at);
  if (nearer === undefined) return false;
  if (candidate.waiting === null) {
    const saved = bytes - missingBytes(state, nearer, candidate.assets);
    const { fetchBytesPerMs, holdBackMsMax } = state.settings;
    const worthMs = Math.min(saved / fetchBytesPerMs, 0.5 * (group.runtimeMs ?? 0), holdBackMsMax);
    const untilMs = now + worthMs;
    if (untilMs <= now) return false;
    candidate.waiting = { untilMs, node: nearer.id };
    addPlacementTimer(state, group, untilMs);
  }
  // With room of its own the nearer one gets it within this step, or has something still nearer.
  return node !== nearer;
}

function findNearer(
  state: CoordinatorState,
  candidate: Candidate,
  at: { node: CoreNode; group: Group; bytes: number },
): CoreNode | undefined {
  let best: CoreNode | undefined;
  let bestBytes = at.bytes;
  for (const asset of candidate.assets) {
    for (const other of state.holders.get(asset) ?? []) {
      if (other === at.node || other === best || !isReceiving(state, other)) continue;
      if (findUnfit(state, other, at.group) !== undefined || isCrowded(state, other, at.group))
        continue;
      const bytes = missingBytes(state, other, candidate.assets);
      if (bytes >= bestBytes) continue;
      best = other;
      bestBytes = bytes;
    }
  }
  return best;
}

/** A node that has more waiting before it than it runs will not be free within the wait. */
function isCrowded(state: CoordinatorState, node: CoreNode, group: Group): boolean {
  if (creditFor(state, node, { group, mode: 'full' }) > 0) return false;
  return node.held.size > (node.profile?.capacity.slots ?? 0);
}

/** The oldest tasks that nobody has, in order of submission. */
function fillWindow(state: CoordinatorState, group: Group): void {
  group.window = group.window.filter((candidate) => isFresh(candidate.batch, candidate.index));
  if (findFreshHead(group) === undefined) return;
  const { windowTasks } = state.settings;
  const last = group.window.at(-1);
  for (let at = group.freshHead; at < group.fresh.length; at += 1) {
    const batch = group.fresh[at];
    if (group.window.length >= windowTasks || batch === undefined) return;
    if (last !== undefined && batch.number < last.batch.number) continue;
    const from = last?.batch === batch ? last.index + 1 : batch.next;
    for (let index = from; index < batch.count; index += 1) {
      if (group.window.length >= windowTasks) return;
      if (!isFresh(batch, index)) continue;
      const assets = assetsOf(batch.assets, index);
      group.window.push({ batch, index, assets, overtaken: 0, waiting: null });
    }
  }
}

function readId(bytes: Uint8Array, at: number): AssetId {
  let text = '';
  for (let place = at; place < at + 8; place += 1) {
    text += (bytes[place] ?? 0).toString(16).padStart(2, '0');
  }
  return text as AssetId;
}
