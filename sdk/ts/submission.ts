/**
 * Puts calls on disk in batches: a small one first so that nodes begin, then large ones, two on
 * their way at a time. A batch carries its own UUID, so sending it again is harmless.
 */
import { createHash, randomUUID } from 'node:crypto';
import { toError } from '../../protocol/base/errors.ts';
import { encodeBlock } from '../../protocol/wire/block.ts';
import type { BlobHash, GroupId } from '../../protocol/wire/ids.ts';
import { batchTasksMax, inlineBytesMax } from '../../protocol/wire/limits.ts';
import { encodeBlobReference, payloadTags } from '../../protocol/wire/payload.ts';
import { findAssets, packAssets } from './assets.ts';
import { createDeadline, type WaitOptions } from './deadline.ts';
import { MapError } from './map-error.ts';
import { Task } from './task.ts';
import type { TaskBatch } from './task-batch.ts';
import { createTaskHandle, type MeshContext } from './task-handle.ts';
import { encodeArguments, type Value } from './value.ts';

/** The arguments of one call. */
export interface Call {
  args: readonly Value[];
  kwargs: Readonly<Record<string, Value | undefined>>;
  /** URIs of the imagery that it reads; found among the arguments where they are left out. */
  assets?: Iterable<unknown>;
}

/** A call as it is sent. */
interface PreparedCall {
  payload: Uint8Array;
  assets: Uint8Array;
}

/** Where calls go. */
export interface SubmissionTarget {
  context: MeshContext;
  group: GroupId;
}

/** The first batch of a map: the nodes begin while the rest is still being read. */
const firstBatchTasks = 100;
/** A batch is sent once it is this long. */
const batchBytes = 1024 * 1024;
/** A batch of a slow iterable is sent after this, though it is small. */
const batchMs = 500;
/** Sent and not answered yet. */
const inFlightMax = 2;

/** Puts one call on disk. */
export async function submitCall<Result>(
  target: SubmissionTarget,
  call: Call,
  options: WaitOptions,
): Promise<Task<Result>> {
  using deadline = createDeadline(options, 'The call');
  const prepared = await prepareCall(target.context, call, deadline.signal);
  const [task] = await sendBatch<Result>(target, [prepared], deadline.signal);
  if (task === undefined) throw new Error('A batch of one call has one task.');
  return task;
}

/**
 * Puts calls on disk, reading them as batches are filled.
 * @throws MapError when some are on disk and others cannot be; before that, what went wrong.
 */
export async function submitCalls<Result>(
  target: SubmissionTarget,
  calls: AsyncIterable<Call>,
  options: WaitOptions,
): Promise<Task<Result>[]> {
  using deadline = createDeadline(options, 'The map');
  const { signal } = deadline;
  const tasks: Task<Result>[] = [];
  const inFlight: Promise<Task<Result>[]>[] = [];
  const finishFirst = async (): Promise<void> => {
    for (const task of (await inFlight.shift()) ?? []) tasks.push(task);
  };
  try {
    for await (const batch of readBatches(target.context, calls, signal)) {
      while (inFlight.length >= inFlightMax) await finishFirst();
      const sent = sendBatch<Result>(target, batch, signal);
      // Awaited in its turn; a failure before that must not count as unhandled.
      sent.catch(() => undefined);
      inFlight.push(sent);
    }
    while (inFlight.length > 0) await finishFirst();
    return tasks;
  } catch (caught) {
    // What was on its way when another failed is most likely on disk.
    for (const settled of await Promise.allSettled(inFlight)) {
      if (settled.status === 'fulfilled') tasks.push(...settled.value);
    }
    if (tasks.length === 0) throw caught;
    throw new MapError(toError(caught), tasks);
  }
}

async function* readBatches(
  context: MeshContext,
  calls: AsyncIterable<Call>,
  signal: AbortSignal,
): AsyncGenerator<PreparedCall[], void, undefined> {
  let tasksMax = firstBatchTasks;
  let batch: PreparedCall[] = [];
  let heldBytes = 0;
  let beganAtMs = performance.now();
  for await (const call of calls) {
    signal.throwIfAborted();
    const prepared = await prepareCall(context, call, signal);
    batch.push(prepared);
    heldBytes += prepared.payload.length;
    const isDue =
      batch.length >= tasksMax ||
      heldBytes >= batchBytes ||
      performance.now() - beganAtMs > batchMs;
    if (!isDue) continue;
    yield batch;
    tasksMax = batchTasksMax;
    batch = [];
    heldBytes = 0;
    beganAtMs = performance.now();
  }
  if (batch.length > 0) yield batch;
}

async function sendBatch<Result>(
  { context, group }: SubmissionTarget,
  calls: readonly PreparedCall[],
  signal: AbortSignal,
): Promise<Task<Result>[]> {
  const clientBatch = randomUUID();
  const count = calls.length;
  const block = encodeBlock(calls.map(({ payload }) => payload));
  const list = Buffer.concat(calls.map(({ assets }) => assets));
  // A list of zeros says nothing.
  const assets = list.length > count ? { assets: list } : {};
  const batch = await context.follower.submit(async () => {
    const input = { group, clientBatch, count, block, ...assets };
    const view = await context.link.call('batches.submit', input, { signal });
    return { batch: view.batch, group, submittedAfter: view.submittedAfter, count };
  });
  return calls.map((_, index) => createTask<Result>(context, batch, index));
}

function createTask<Result>(context: MeshContext, batch: TaskBatch, index: number): Task<Result> {
  const tuid = `${batch.number}-${index}`;
  const handle = createTaskHandle(context, { guid: batch.group, tuid });
  handle.batch = batch;
  return new Task<Result>(handle);
}

async function prepareCall(
  context: MeshContext,
  call: Call,
  signal: AbortSignal,
): Promise<PreparedCall> {
  const assets = packAssets(call.assets ?? findAssets(call.args, call.kwargs));
  return { payload: await preparePayload(context, call, signal), assets };
}

/** The payload of a call; a long one is stored first, and referred to. */
async function preparePayload(
  context: MeshContext,
  call: Call,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const payload = encodeArguments(call.args, call.kwargs);
  if (payload.length <= inlineBytesMax) return payload;
  const bytes = payload.subarray(1);
  const hash = hashOf(bytes);
  await context.link.upload({ hash, bytes }, { signal });
  return encodeBlobReference({ tag: payloadTags.msgpack, hash, sizeBytes: bytes.length });
}

/** The hash that names a blob. */
export function hashOf(bytes: Uint8Array): BlobHash {
  return createHash('sha256').update(bytes).digest('hex') as BlobHash;
}
