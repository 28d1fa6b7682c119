/** Tasks: looked at, cancelled, and their payloads read. */
import { assert } from '../../../protocol/base/assert.ts';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { TaskView } from '../../../protocol/wire/api.ts';
import { indexBlock, payloadAt } from '../../../protocol/wire/block.ts';
import type { GroupId, TaskId, TaskRef } from '../../../protocol/wire/ids.ts';
import { formatTaskId } from '../../../protocol/wire/ids.ts';
import { findBlobReference } from '../../../protocol/wire/payload.ts';
import type { TaskState } from '../../../protocol/wire/task.ts';
import type { StoredOutcome } from '../../store/port.ts';
import { readNamespace, readOwnNamespace, requireWriter } from '../caller.ts';
import { readLogTail } from '../completions/encode-outcome.ts';
import type { Input } from '../input/fields.ts';
import { readIntegerOr, readText } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import { findOpenTask, viewTask } from '../views/tasks.ts';
import { getTask } from './find-group.ts';

/** A payload of known size, blob references resolved. */
export interface PayloadBytes {
  /** Of all of it. */
  sizeBytes: number;
  /** Where `bytes` begin. */
  offset: number;
  bytes: AsyncIterable<Uint8Array>;
}

/** One task with its ledger of attempts. */
export async function getTaskView(context: Context, input: Input): Promise<TaskView> {
  const namespace = readNamespace(context.caller, input);
  const { task, batch } = await getTask(context, namespace, readText(input, 'id', 200));
  const { store } = context.deps;
  const { open, outcome } = await findState(context, task);
  // Behind the outcome, so that the ledger of a task that is done is whole.
  const attempts = await store.listAttempts(task);
  const withContents = namespace === context.caller.namespace;
  const failed = outcome !== undefined && outcome.outcome.failure !== null;
  return viewTask({
    task,
    batch,
    groupName: await groupName(context, batch.group),
    open,
    outcome,
    attempts,
    logTail: failed && withContents ? await readLogTail(store, outcome) : null,
    withContents,
  });
}

/**
 * Cancels a task; answers the state before.
 * @throws PerigeeError not_found, forbidden
 */
export async function cancelTask(
  context: Context,
  input: Input,
): Promise<{ id: TaskId; state: TaskState }> {
  requireWriter(context.caller);
  const namespace = readNamespace(context.caller, input);
  const { task } = await getTask(context, namespace, readText(input, 'id', 200));
  const answer = await context.deps.driver.request({ kind: 'taskCancelled', task });
  assert(answer.kind === 'cancelTaken', 'a cancel is taken or refused');
  return { id: formatTaskId(task), state: answer.state };
}

/**
 * The result of a task that succeeded.
 * @throws PerigeeError conflict while it is not done, or when it failed; not_found, result_expired
 */
export async function getResult(context: Context, input: Input): Promise<PayloadBytes> {
  const namespace = readOwnNamespace(context.caller, input);
  const { task } = await getTask(context, namespace, readText(input, 'id', 200));
  const { outcome } = await findState(context, task);
  const id = formatTaskId(task);
  if (outcome === undefined) {
    throw new PerigeeError('conflict', `Task ${id} is not done.`, {
      fix: 'Follow /v1/outcomes, or ask again when its state is "done".',
      details: { state: 'open' },
    });
  }
  const { status, result, failure } = outcome.outcome;
  if (status !== 'success') {
    throw new PerigeeError(
      'conflict',
      `Task ${id} has no result: it failed (${status}${failure === null ? '' : `, ${failure.name}`}).`,
      { fix: `GET /v1/tasks/${id} says how.`, details: { state: 'done', code: status } },
    );
  }
  // A payload has a byte at least: its tag.
  if (result.length === 0) throw expired(`The result of task ${id}`);
  return openPayload(context, input, { payload: result, what: `The result of task ${id}` });
}

/** The arguments of a task. */
export async function getArguments(context: Context, input: Input): Promise<PayloadBytes> {
  const namespace = readOwnNamespace(context.caller, input);
  const { task, batch } = await getTask(context, namespace, readText(input, 'id', 200));
  const block = await context.deps.store.getBlock(task.batch);
  const payload = payloadAt(block, indexBlock(block, batch.count), task.index);
  const what = `The payload of task ${formatTaskId(task)}`;
  return openPayload(context, input, { payload, what });
}

/** The outcome of a task, or else where it is; neither for the moment in which its outcome is stored. */
export async function findState(
  services: Services,
  task: TaskRef,
): Promise<{
  open: ReturnType<typeof findOpenTask>;
  outcome: StoredOutcome | undefined;
}> {
  const open = findOpenTask(services.deps.driver.state(), task);
  if (open !== undefined) return { open, outcome: undefined };
  return { open, outcome: await services.deps.store.findOutcome(task) };
}

/** The name of a batch's group. */
export async function groupName(services: Services, group: GroupId): Promise<string> {
  const live = services.deps.driver.state().groups.get(group);
  return live?.spec.name ?? (await services.deps.store.findGroup(group))?.spec.name ?? '';
}

/** Payloads never change, so that one that broke off may be gone on with from where it was. */
async function openPayload(
  services: Services,
  input: Input,
  found: { payload: Uint8Array; what: string },
): Promise<PayloadBytes> {
  const { payload } = found;
  const reference = findBlobReference(payload);
  const sizeBytes = reference === undefined ? payload.length : reference.sizeBytes + 1;
  const offset = readIntegerOr(input, 'offset', { min: 0, max: sizeBytes, fallback: 0 });
  if (reference === undefined) return { sizeBytes, offset, bytes: once(payload.subarray(offset)) };
  if (!(await services.deps.blobs.has(reference.hash))) throw expired(found.what);
  const blob = services.deps.blobs.read(reference.hash, Math.max(0, offset - 1));
  const bytes = offset === 0 ? prefixed(Uint8Array.of(reference.tag), blob) : blob;
  return { sizeBytes, offset, bytes };
}

function expired(what: string): PerigeeError {
  return new PerigeeError('result_expired', `${what} is not kept any more.`);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

async function* prefixed(
  first: Uint8Array,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield first;
  yield* rest;
}
