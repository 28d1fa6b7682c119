/** The log of a task: what is stored, and then live until the task is done. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { LogItem } from '../../../protocol/wire/client.ts';
import type { AttemptRef, TaskRef } from '../../../protocol/wire/ids.ts';
import { formatTaskId } from '../../../protocol/wire/ids.ts';
import { readOwnNamespace } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readBooleanOr, readIntegerOr, readText } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import type { WatchedTask } from '../task-watch.ts';
import { getTask } from './find-group.ts';
import { findState } from './tasks.ts';

/** What is read of the store at a time. */
const pageBytes = 256 * 1024;
/** A follower looks again after so long even when nothing woke it: it costs nothing and hides no slip. */
const recheckMs = 15_000;

/** A log that is about to be read. */
export interface LogReading {
  /** Of the first byte. */
  offset: number;
  items(signal: AbortSignal): AsyncGenerator<LogItem, unknown, undefined>;
}

/**
 * Opens a task's log: of one attempt, or of the latest and, with `follow`, of those after it.
 * @throws PerigeeError not_found, forbidden, invalid_request, result_expired
 */
export async function openLog(context: Context, input: Input): Promise<LogReading> {
  const namespace = readOwnNamespace(context.caller, input);
  const { task } = await getTask(context, namespace, readText(input, 'id', 200));
  const wanted = readIntegerOr(input, 'attempt', { min: 1, max: 65_535, fallback: null });
  const range = { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 };
  const offset = readIntegerOr(input, 'offset', range);
  const follow = readBooleanOr(input, 'follow', false);
  const latest = await latestAttempt(context, task);
  if (wanted !== null && wanted > latest && !follow) {
    throw new PerigeeError('not_found', `The task has had ${latest} attempts, not ${wanted}.`);
  }
  const start = { task, attempt: wanted ?? latest, offset };
  await refuseExpired(context, { ...task, attempt: start.attempt });
  return {
    offset,
    items: (signal) =>
      follow
        ? followLog(context, start, { signal, isPinned: wanted !== null })
        : readStored(context, { ...start.task, attempt: start.attempt }, offset),
  };
}

/** Output that there was, and of which nothing is there. */
async function refuseExpired(services: Services, attempt: AttemptRef): Promise<void> {
  const { outcome } = await findState(services, attempt);
  if (outcome === undefined || outcome.attempt !== attempt.attempt) return;
  if (outcome.outcome.logBytes === 0) return;
  if ((await services.deps.store.logOffset(attempt)) > 0) return;
  throw new PerigeeError(
    'result_expired',
    `The log of task ${formatTaskId(attempt)} is not kept any more.`,
  );
}

/** Everything stored of an attempt from an offset on; a cut is an item of its own. */
async function* readStored(
  services: Services,
  attempt: AttemptRef,
  from: number,
): AsyncGenerator<LogItem, number, undefined> {
  let position = from;
  if (attempt.attempt === 0) return position;
  for (;;) {
    const { chunks } = await services.deps.store.readLog(attempt, {
      offset: position,
      bytesMax: pageBytes,
    });
    if (chunks.length === 0) return position;
    for (const chunk of chunks) {
      if (chunk.offset > position) {
        yield cutItem(attempt.attempt, position, chunk.offset);
        position = chunk.offset;
      }
      const nextOffset = position + chunk.bytes.length;
      yield { attempt: attempt.attempt, offset: position, nextOffset, bytes: chunk.bytes };
      position = nextOffset;
    }
  }
}

async function* followLog(
  context: Context,
  start: { task: TaskRef; attempt: number; offset: number },
  options: { signal: AbortSignal; isPinned: boolean },
): AsyncGenerator<LogItem, void, undefined> {
  const { task } = start;
  const { signal } = options;
  // Before the first read: what comes in between wakes the follower.
  const watched = context.tasks.watch(task);
  try {
    let { attempt, offset } = start;
    while (!signal.aborted) {
      const isDone = await isOver(context, { ...task, attempt }, options.isPinned);
      const newest = await newestAttempt(context, task, watched);
      offset = yield* readStored(context, { ...task, attempt }, offset);
      if (!options.isPinned && newest > attempt) {
        if (attempt > 0) yield announceAttempt(newest);
        attempt = newest;
        offset = 0;
        continue;
      }
      if (isDone) return;
      await watched.wake.wait({ timeoutMs: recheckMs, signal });
    }
  } finally {
    watched.end();
  }
}

/** Whether nothing more can come: the task is done, or a pinned attempt has ended. */
async function isOver(
  services: Services,
  attempt: AttemptRef,
  isPinned: boolean,
): Promise<boolean> {
  const { open, outcome } = await findState(services, attempt);
  if (outcome !== undefined) return true;
  if (!isPinned || open === undefined) return false;
  const ledger = await services.deps.store.listAttempts(attempt);
  return ledger.some((line) => line.attempt > attempt.attempt);
}

async function newestAttempt(
  services: Services,
  task: TaskRef,
  watched: WatchedTask,
): Promise<number> {
  return Math.max(await latestAttempt(services, task), watched.newestAttempt());
}

async function latestAttempt(services: Services, task: TaskRef): Promise<number> {
  const ledger = await services.deps.store.listAttempts(task);
  return ledger.at(-1)?.attempt ?? 0;
}

function cutItem(attempt: number, offset: number, nextOffset: number): LogItem {
  const text = `\n[perigee: ${nextOffset - offset} bytes cut]\n`;
  return { attempt, offset, nextOffset, bytes: Buffer.from(text) };
}

function announceAttempt(attempt: number): LogItem {
  const bytes = Buffer.from(`\n[perigee: attempt ${attempt}]\n`);
  return { attempt, offset: 0, nextOffset: 0, bytes };
}
