/** What must hold after every step; run by tests and by the simulation. */
import { formatTaskId, taskKey } from '../../protocol/wire/ids.ts';
import { outcomeBytes } from './attempts.ts';
import { countBlobUsers } from './blobs.ts';
import type { AgentState, HeldAttempt } from './state.ts';
import { isBusy } from './state.ts';

/** Every broken invariant, in words; empty when all hold. */
export function findBrokenInvariants(state: AgentState): string[] {
  return [
    ...checkAttempts(state),
    ...checkWorkers(state),
    ...checkGroups(state),
    ...checkBlobs(state),
    ...checkBytes(state),
  ];
}

function checkAttempts(state: AgentState): string[] {
  const broken: string[] = [];
  for (const [key, attempt] of state.attempts) {
    const id = `${formatTaskId(attempt)}#${attempt.attempt}`;
    const { phase } = attempt;
    if (key !== taskKey(attempt)) broken.push(`${id} is kept under another key`);
    if (phase.kind === 'gone') broken.push(`${id} is gone but kept`);
    const waits = attempt.group.waiting.includes(attempt);
    if (waits !== (phase.kind === 'waiting'))
      broken.push(`${id} is ${phase.kind}, waits: ${waits}`);
    const queued = [...state.workers.values()].filter((worker) => worker.queue.includes(attempt));
    const isWithWorker = phase.kind === 'fed' || phase.kind === 'running';
    if (queued.length !== (isWithWorker ? 1 : 0)) {
      broken.push(`${id} is ${phase.kind} in ${queued.length} queues`);
    }
    if (isWithWorker && queued[0] !== phase.worker) broken.push(`${id} is in another queue`);
    if (phase.kind === 'running' && phase.worker.queue[0] !== attempt) {
      broken.push(`${id} runs but is not first`);
    }
    if (phase.kind === 'fetching' && !isFetched(state, attempt)) {
      broken.push(`${id} waits for a blob that nobody fetches`);
    }
  }
  if (state.attempts.size > state.settings.heldAttemptsMax) broken.push('too many attempts');
  return broken;
}

function isFetched(state: AgentState, attempt: HeldAttempt): boolean {
  if (state.fetchLater.includes(attempt)) return true;
  if (attempt.blob === null) return false;
  return state.blobs.get(attempt.blob.hash)?.attempts.includes(attempt) ?? false;
}

function checkWorkers(state: AgentState): string[] {
  const broken: string[] = [];
  const { capacity, settings } = state;
  const workers = [...state.workers.values()];
  const slots = new Set(workers.map((worker) => worker.slot));
  if (slots.size !== workers.length) broken.push('two workers share a slot');
  if (workers.length > capacity.slots + settings.warmWorkersMax) broken.push('too many workers');
  const busy = workers.filter(isBusy);
  if (busy.length > capacity.slots) broken.push('more busy workers than slots');
  const cpus = busy.reduce((sum, worker) => sum + worker.group.spec.cpus, 0);
  if (cpus > capacity.cpus + 1e-6) broken.push('more cpus in use than there are');
  const memory = workers.reduce((sum, worker) => sum + worker.group.spec.memoryBytes, 0);
  if (memory > capacity.memoryBytes) broken.push('more memory promised than there is');
  for (const worker of workers) {
    const of = `worker ${worker.number}`;
    if (worker.queue.length > settings.windowMax) broken.push(`${of} has too long a queue`);
    if (!worker.group.workers.has(worker)) broken.push(`${of} is unknown to its group`);
    if (worker.phase.kind === 'starting' && worker.queue.length > 0)
      broken.push(`${of} was fed early`);
    for (const attempt of worker.queue) {
      if (attempt.group !== worker.group) broken.push(`${of} has a task of another group`);
    }
  }
  return broken;
}

function checkGroups(state: AgentState): string[] {
  const broken: string[] = [];
  for (const [id, group] of state.groups) {
    const held = [...state.attempts.values()].filter((attempt) => attempt.group === group);
    if (held.length !== group.heldCount) broken.push(`group ${id} miscounts what it holds`);
    for (const [at, attempt] of group.waiting.entries()) {
      const before = group.waiting[at - 1];
      if (before !== undefined && before.seq >= attempt.seq)
        broken.push(`group ${id} is out of order`);
      if (attempt.phase.kind !== 'waiting') broken.push(`group ${id} keeps one that does not wait`);
    }
    for (const worker of group.workers) {
      if (state.workers.get(worker.number) !== worker) broken.push(`group ${id} has a lost worker`);
    }
  }
  if (state.groups.size > state.settings.groupsMax + state.attempts.size + state.workers.size) {
    broken.push('too many groups');
  }
  return broken;
}

function checkBlobs(state: AgentState): string[] {
  const broken: string[] = [];
  const users = countBlobUsers(state);
  for (const [hash, blob] of state.blobs) {
    if (blob.users !== (users.get(hash) ?? 0)) broken.push(`blob ${hash} miscounts its users`);
  }
  for (const hash of users.keys()) {
    if (!state.blobs.has(hash)) broken.push(`blob ${hash} is used but not kept`);
  }
  const asked = [...state.attempts.values()].filter(
    (attempt) => attempt.blob !== null && !state.fetchLater.includes(attempt),
  ).length;
  if (asked !== state.blobAttempts) broken.push('attempts with blobs are miscounted');
  return broken;
}

function checkBytes(state: AgentState): string[] {
  let held = 0;
  let inFlight = 0;
  let unacknowledged = 0;
  for (const attempt of state.attempts.values()) held += attempt.payload.length;
  for (const outcome of state.outbox) held += outcomeBytes(outcome);
  for (const report of state.reports.values()) {
    inFlight += report.bytes;
    unacknowledged += report.outcomes.length;
    for (const outcome of report.outcomes) held += outcomeBytes(outcome);
  }
  const broken: string[] = [];
  if (held !== state.heldBytes) broken.push(`held bytes are ${held}, kept as ${state.heldBytes}`);
  if (unacknowledged !== state.unacknowledgedCount) broken.push('unacknowledged is miscounted');
  if (inFlight !== state.reportBytesInFlight) broken.push('bytes in flight are miscounted');
  return broken;
}
