/** Lists of tasks, newest first: made from batches, because a queued task has no record of its own. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { Page, TaskView } from '../../../protocol/wire/api.ts';
import type { NamespaceName, TaskRef } from '../../../protocol/wire/ids.ts';
import { findTaskRef, formatTaskId } from '../../../protocol/wire/ids.ts';
import type { TaskState } from '../../../protocol/wire/task.ts';
import type { StoredBatch, StoredOutcome } from '../../store/port.ts';
import { readNamespace } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readChoiceOr, readTextOr } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { findOpenTask, viewTask } from '../views/tasks.ts';
import { getGroupId } from './find-group.ts';
import { readPage } from './pages.ts';
import { groupName } from './tasks.ts';

/** Tasks that one request looks at: with a filter, a page may be short and still have a next one. */
const examinedMax = 10_000;
/** Batches read from the store at a time. */
const batchPage = 200;
/** Batches that one request looks at. */
const batchesMax = 4_000;

interface Search {
  namespace: NamespaceName;
  state: TaskState | null;
  limit: number;
  withContents: boolean;
}

/** Tasks of a namespace or of one group; without tracebacks, logs and attempts. */
export async function listTasks(context: Context, input: Input): Promise<Page<TaskView>> {
  const namespace = readNamespace(context.caller, input);
  const { limit, cursor } = readPage(input);
  const state = readChoiceOr(input, 'state', {
    choices: ['queued', 'running', 'done'],
    fallback: null,
  });
  const prefix = readTextOr(input, 'group', { charsMax: 200, fallback: null });
  const group = prefix === null ? null : await getGroupId(context, namespace, prefix);
  const withContents = namespace === context.caller.namespace;
  const search: Search = { namespace, state, limit, withContents };
  const items: TaskView[] = [];
  let last = cursor === null ? null : readCursor(cursor);
  let before = last === null ? null : String(last.batch + 1);
  let examined = 0;
  let batches = 0;
  for (;;) {
    const page = await context.deps.store.listBatches(namespace, {
      group,
      limit: batchPage,
      cursor: before,
    });
    for (const batch of page.items) {
      const top = last?.batch === batch.batch ? last.index : batch.count;
      const run = await readRun(context, search, {
        batch,
        below: top,
        limit: limit - items.length,
        examinedMax: examinedMax - examined,
      });
      items.push(...run.items);
      examined += run.examined;
      batches += 1;
      last = { batch: batch.batch, index: run.below };
      const isFull = items.length >= limit || examined >= examinedMax || batches >= batchesMax;
      const isLast = run.below === 0 && page.next === null && batch === page.items.at(-1);
      if (isFull && !isLast) return { items, next: formatTaskId(last) };
    }
    if (page.next === null) return { items, next: null };
    before = page.next;
  }
}

/** Tasks of one batch below an index, downwards; `below` of the answer is where it stopped. */
async function readRun(
  context: Context,
  search: Search,
  range: { batch: StoredBatch; below: number; limit: number; examinedMax: number },
): Promise<{ items: TaskView[]; examined: number; below: number }> {
  const { batch } = range;
  const { state } = search;
  const core = context.deps.driver.state();
  const items: TaskView[] = [];
  // A batch that the core has forgotten is done: it is not looked through for open tasks.
  if (state !== null && state !== 'done' && !core.batches.has(batch.batch)) {
    return { items, examined: 0, below: 0 };
  }
  const wanted = state === null ? range.limit : range.examinedMax;
  const from = Math.max(0, range.below - wanted);
  const outcomes = await readOutcomes(context, batch, { from, below: range.below, state });
  const name = await groupName(context, batch.group);
  let index = range.below;
  while (index > from && items.length < range.limit) {
    index -= 1;
    const task: TaskRef = { batch: batch.batch, index };
    const outcome = outcomes.get(index);
    const open = outcome === undefined ? findOpenTask(core, task) : undefined;
    const found: TaskState = outcome === undefined ? (open?.state ?? 'running') : 'done';
    if (state !== null && state !== found) continue;
    const view = viewTask({
      task,
      batch,
      groupName: name,
      open,
      outcome,
      attempts: [],
      logTail: null,
      withContents: search.withContents,
    });
    items.push({ ...view, traceback: null });
  }
  return { items, examined: range.below - index, below: index };
}

async function readOutcomes(
  context: Context,
  batch: StoredBatch,
  range: { from: number; below: number; state: TaskState | null },
): Promise<ReadonlyMap<number, StoredOutcome>> {
  const count = range.below - range.from;
  if (count === 0) return new Map();
  const outcomes = await context.deps.store.listBatchOutcomes(batch.batch, {
    afterIndex: range.from - 1,
    limit: count,
  });
  return new Map(outcomes.map((outcome) => [outcome.index, outcome]));
}

function readCursor(cursor: string): TaskRef {
  const task = findTaskRef(cursor);
  if (task !== undefined) return task;
  throw new PerigeeError('invalid_request', 'The cursor is not one that a list answered.', {
    fix: 'Start again without a cursor.',
    details: { field: 'cursor' },
  });
}
