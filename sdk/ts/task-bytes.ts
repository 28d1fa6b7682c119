/** What is fetched of a task in pieces: its result, its arguments and its log. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { LogItem } from '../../protocol/wire/client.ts';
import { createDeadline, type WaitOptions } from './deadline.ts';
import { isPassing } from './mesh-link.ts';
import type { TaskHandle } from './task-handle.ts';

/** A transfer that moves nothing for so long is begun again. */
const silenceMsMax = 30_000;

/** The payload of a done task's result, or of its arguments; goes on where it was when the line breaks. */
export async function fetchPayload(
  handle: TaskHandle,
  name: 'tasks.result' | 'tasks.arguments',
  options: WaitOptions,
): Promise<Uint8Array> {
  using deadline = createDeadline(options, `Fetching the payload of task ${handle.tuid}`);
  const { signal } = deadline;
  const { link } = handle.context;
  const parts: Uint8Array[] = [];
  let heldBytes = 0;
  const readOn = async (): Promise<boolean> => {
    const offset = heldBytes;
    try {
      const items = link.subscribe(name, { id: handle.tuid, offset }, { signal, silenceMsMax });
      for await (const part of items) {
        parts.push(part);
        heldBytes += part.length;
      }
      return true;
    } catch (caught) {
      // As long as it moves, the line is not given up.
      if (heldBytes > offset && isPassing(caught)) return false;
      throw caught;
    }
  };
  while (!(await link.persist(readOn, signal)));
  return Buffer.concat(parts, heldBytes);
}

/**
 * The log from its beginning, in pieces; with `follow` as it is written, until the task is done.
 * Goes on where it was when the line breaks.
 */
export async function* readLog(
  handle: TaskHandle,
  options: WaitOptions & { follow: boolean },
): AsyncGenerator<Uint8Array, void, undefined> {
  using deadline = createDeadline(options, `The log of task ${handle.tuid}`);
  const { signal } = deadline;
  const { link } = handle.context;
  const { follow } = options;
  let at: { attempt: number; offset: number } | undefined;
  let isEnded = false;
  while (!isEnded) {
    const items = await link.persist(async () => {
      const opened = link.subscribe(
        'tasks.log',
        { id: handle.tuid, follow, ...at },
        follow ? { signal } : { signal, silenceMsMax },
      );
      return { opened, first: await opened.next() };
    }, signal);
    try {
      for (let next = items.first; ; next = await items.opened.next()) {
        if (next.done === true) {
          isEnded = true;
          break;
        }
        const { attempt, nextOffset, bytes } = checkLogItem(next.value);
        at = { attempt, offset: nextOffset };
        yield bytes;
      }
    } catch (caught) {
      if (signal.aborted || !isPassing(caught)) throw caught;
    } finally {
      await items.opened.return();
    }
  }
}

function checkLogItem(item: LogItem): LogItem {
  const { attempt, nextOffset, bytes }: Record<keyof LogItem, unknown> = item;
  if (
    typeof attempt === 'number' &&
    typeof nextOffset === 'number' &&
    bytes instanceof Uint8Array
  ) {
    return item;
  }
  throw new PerigeeError('frame_invalid', 'The coordinator sent a malformed piece of a log.');
}
