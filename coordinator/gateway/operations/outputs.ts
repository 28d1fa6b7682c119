/** Files that tasks gave out: listed by task and by group, and read. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { OutputView, Page } from '../../../protocol/wire/api.ts';
import { formatTaskId } from '../../../protocol/wire/ids.ts';
import type { StoredOutput } from '../../store/port.ts';
import { readOwnNamespace } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readIntegerOr, readText } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { formatTime } from '../views/times.ts';
import { getGroupId, getTask } from './find-group.ts';
import { readPage } from './pages.ts';

/** Each may have 32 KiB of metadata. */
const pageOutputsMax = 250;

/** The outputs of one task; none while it is not done, or when it failed. */
export async function listTaskOutputs(context: Context, input: Input): Promise<Page<OutputView>> {
  const namespace = readOwnNamespace(context.caller, input);
  const { task } = await getTask(context, namespace, readText(input, 'id', 200));
  const outputs = await context.deps.store.listTaskOutputs(task);
  return { items: outputs.map(viewOutput), next: null };
}

/** The outputs of all tasks of a group. */
export async function listGroupOutputs(context: Context, input: Input): Promise<Page<OutputView>> {
  const namespace = readOwnNamespace(context.caller, input);
  const group = await getGroupId(context, namespace, readText(input, 'id', 200));
  const { limit, cursor } = readPage(input);
  const page = await context.deps.store.listGroupOutputs(group, {
    limit: Math.min(limit, pageOutputsMax),
    cursor,
  });
  return { items: page.items.map(viewOutput), next: page.next };
}

/** An output that is about to be read. */
export interface OutputBytes {
  output: StoredOutput;
  read(offset: number, length?: number): AsyncIterable<Uint8Array>;
}

/**
 * One output of a task.
 * @throws PerigeeError not_found, result_expired
 */
export async function openOutput(context: Context, input: Input): Promise<OutputBytes> {
  const namespace = readOwnNamespace(context.caller, input);
  const { task } = await getTask(context, namespace, readText(input, 'id', 200));
  const name = readText(input, 'name', 200);
  const output = await context.deps.store.findTaskOutput(task, name);
  if (output === undefined) {
    const id = formatTaskId(task);
    throw new PerigeeError('not_found', `Task ${id} has no output "${name.slice(0, 100)}".`, {
      fix: `\`scripts/perigee task ${id}\` shows those that it has; a task that is not done, or failed, has none.`,
    });
  }
  if (!(await context.deps.blobs.has(output.hash))) {
    const id = formatTaskId(task);
    throw new PerigeeError('result_expired', `Output ${name} of task ${id} is not kept any more.`);
  }
  return {
    output,
    read: (offset, length) => context.deps.blobs.read(output.hash, offset, length),
  };
}

/** The bytes of an output from the asked offset on. */
export async function readOutput(
  context: Context,
  input: Input,
): Promise<AsyncIterable<Uint8Array>> {
  const { output, read } = await openOutput(context, input);
  const range = { min: 0, max: output.sizeBytes, fallback: 0 };
  return read(readIntegerOr(input, 'offset', range));
}

function viewOutput(stored: StoredOutput): OutputView {
  const task = formatTaskId(stored);
  return {
    task,
    group: stored.group,
    name: stored.name,
    sizeBytes: stored.sizeBytes,
    mediaType: stored.mediaType,
    sha256: stored.hash,
    href: `/v1/tasks/${task}/outputs/${stored.name}`,
    attempt: stored.attempt,
    createdAt: formatTime(stored.atMs),
    // Checked to be a JSON object before it was stored.
    metadata: JSON.parse(stored.metadata) as Record<string, unknown>,
  };
}
