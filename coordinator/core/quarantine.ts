/**
 * Blame. A task that kills its worker on several nodes is to blame itself and ends as `crash`. A node
 * under which many different tasks die, with none that ended well between, is a black hole: it is
 * paused until an operator undrains it, and its crashes are not charged to the tasks.
 */
import type { AttemptOutcome } from '../../protocol/wire/task.ts';
import { countReadySlots } from './eligibility.ts';
import type { CoreNode, CrashNote, OpenTask } from './entities.ts';
import { endByAttempt } from './outcomes.ts';
import { retryCharged, retryUncharged, saveEnd } from './retries.ts';
import type { Turn } from './turn.ts';
import { tell } from './turn.ts';

/** A worker died while it ran this task. */
export function takeCrash(
  turn: Turn,
  options: { task: OpenTask; node: CoreNode; outcome: AttemptOutcome },
): void {
  const { task, node, outcome } = options;
  noteCrash(turn, node, task);
  if (node.quarantine !== null) {
    retryUncharged(turn, task, outcome);
    return;
  }
  if (!task.killedOn.includes(node.id)) task.killedOn.push(node.id);
  if (task.killedOn.length >= turn.state.settings.quarantineTaskNodes && task.killedOn.length > 1) {
    endByAttempt(turn, task, blameTask(task, outcome));
    return;
  }
  retryCharged(turn, task, outcome);
}

/** A task ran to its end on this node: its workers work. */
export function noteWorking(node: CoreNode): void {
  if (node.crashes.size > 0) node.crashes.clear();
}

/** An operator vouches for the node. */
export function liftQuarantine(turn: Turn, node: CoreNode): void {
  if (node.quarantine === null) return;
  node.quarantine = null;
  node.crashes.clear();
  countReadySlots(turn.state, node);
  tell(turn, node, 'Unpaused by an operator.');
}

function noteCrash(turn: Turn, node: CoreNode, task: OpenTask): void {
  if (node.quarantine !== null) return;
  const { quarantineNodeTasks, quarantineNodeWindowMs } = turn.state.settings;
  const { crashes } = node;
  for (const [key, note] of crashes) {
    if (note.atMs + quarantineNodeWindowMs < turn.now) crashes.delete(key);
  }
  crashes.delete(task.key);
  crashes.set(task.key, { group: task.batch.group.id, attempt: task.attempt, atMs: turn.now });
  if (crashes.size < quarantineNodeTasks || !isNodesFault(turn, node)) {
    if (crashes.size > quarantineNodeTasks) forgetOldest(crashes);
    return;
  }
  const text = `Paused: workers died under ${crashes.size} different tasks in a row.`;
  node.quarantine = { atMs: turn.now, text };
  countReadySlots(turn.state, node);
  tell(turn, node, text);
  for (const [key, note] of crashes) uncharge(turn, node, { key, note });
}

/** One group alone may be broken itself, unless it has worked elsewhere. */
function isNodesFault(turn: Turn, node: CoreNode): boolean {
  const groups = new Set([...node.crashes.values()].map((note) => note.group));
  if (groups.size > 1) return true;
  const [only] = groups;
  const group = only === undefined ? undefined : turn.state.groups.get(only);
  const workedOn = group?.lastSuccessOn ?? null;
  return workedOn !== null && workedOn !== node.id;
}

/** Takes back the charge of a crash, when the task has not gone on since. */
function uncharge(turn: Turn, node: CoreNode, crash: { key: number; note: CrashNote }): void {
  const task = turn.state.tasks.get(crash.key);
  if (task === undefined || task.place.kind === 'held') return;
  if (task.attempt !== crash.note.attempt || task.node !== node.id || task.charges === 0) return;
  task.charges -= 1;
  task.killedOn = task.killedOn.filter((id) => id !== node.id);
  saveEnd(turn, task, { end: 'crash', charged: false, message: 'Its node was to blame.' });
}

function blameTask(task: OpenTask, outcome: AttemptOutcome): AttemptOutcome {
  const said = outcome.failure?.message ?? '';
  const message = `Quarantined: its worker died on ${task.killedOn.length} different nodes. ${said}`;
  const traceback = outcome.failure?.traceback ?? '';
  const name = outcome.failure?.name ?? 'WorkerDied';
  return { ...outcome, failure: { name, message: message.trimEnd(), traceback } };
}

function forgetOldest(crashes: Map<number, CrashNote>): void {
  const [oldest] = crashes.keys();
  if (oldest !== undefined) crashes.delete(oldest);
}
