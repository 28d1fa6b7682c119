/** Ids as people type them: a unique prefix, a name, or `@last`. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { GroupView, NodeView, Page, TaskView } from '../../protocol/wire/api.ts';
import { findTaskRef } from '../../protocol/wire/ids.ts';
import type { CommandContext } from './context.ts';
import { programName } from './terminal.ts';

/** Stands for the newest task or group. */
export const lastId = '@last';

/** All libp2p ids of this key type begin alike, so that whole ids are no good as prefixes. */
const peerIdPrefix = '12D3KooW';
const shortIdChars = 8;

/** Whether a text is a task's id rather than a group's. */
export function isTaskId(text: string): boolean {
  return findTaskRef(text) !== undefined;
}

/**
 * The id of the task that is meant.
 * @throws PerigeeError invalid_request when the text is neither a task id nor `@last`; not_found.
 */
export async function resolveTaskId(context: CommandContext, text: string): Promise<string> {
  if (text !== lastId) {
    if (isTaskId(text)) return text;
    throw new PerigeeError('invalid_request', `"${text}" is not a task's id, such as 17-3.`, {
      fix: `${programName} tasks`,
    });
  }
  const client = await context.client();
  const page = await client.json<Page<TaskView>>('GET', '/v1/tasks', {
    query: { limit: 1 },
    signal: context.signal,
  });
  const task = page.items[0];
  if (task === undefined) throw nothingYet('task');
  return task.id;
}

/**
 * The id, or unique prefix, of the group that is meant; the coordinator looks prefixes up.
 * @throws PerigeeError invalid_request, not_found.
 */
export async function resolveGroupId(context: CommandContext, text: string): Promise<string> {
  if (text !== lastId) {
    if (/^[0-9a-f]{1,64}$/.test(text)) return text;
    throw new PerigeeError('invalid_request', `"${text}" is not a group's id or a part of one.`, {
      fix: `${programName} groups`,
    });
  }
  const client = await context.client();
  const page = await client.json<Page<GroupView>>('GET', '/v1/groups', {
    query: { limit: 1 },
    signal: context.signal,
  });
  const group = page.items[0];
  if (group === undefined) throw nothingYet('group');
  return group.id;
}

/**
 * The node that is meant: by name, by id, by the beginning of either, or by the short id of tables.
 * @throws PerigeeError not_found, ambiguous_id.
 */
export async function resolveNodeId(context: CommandContext, text: string): Promise<string> {
  const client = await context.client();
  const { items } = await client.json<Page<NodeView>>('GET', '/v1/nodes', {
    signal: context.signal,
  });
  return findNode(items, text).id;
}

/**
 * The node that a text means, among those at hand.
 * @throws PerigeeError not_found, ambiguous_id.
 */
export function findNode<Node extends { id: string; name: string }>(
  nodes: readonly Node[],
  text: string,
): Node {
  // Sentences show the short id behind an ellipsis, and people copy it.
  return findOne(nodes, text.replace(/^…/, ''), {
    noun: 'node',
    list: 'nodes',
    namesOf: ({ id, name }) => [id, name, shortNodeId(id), id.replace(peerIdPrefix, '')],
  });
}

/**
 * The one item that a text means: a whole name first, else a unique prefix.
 * @throws PerigeeError not_found, ambiguous_id.
 */
export function findOne<Item>(
  items: readonly Item[],
  text: string,
  options: { noun: string; list: string; namesOf: (item: Item) => readonly string[] },
): Item {
  const whole = items.filter((item) => options.namesOf(item).includes(text));
  const fitting =
    whole.length > 0
      ? whole
      : items.filter((item) => options.namesOf(item).some((name) => name.startsWith(text)));
  const [first, second] = fitting;
  if (first === undefined) {
    throw new PerigeeError('not_found', `No ${options.noun} has the id or name "${text}".`, {
      fix: `${programName} ${options.list}`,
    });
  }
  if (second !== undefined) {
    throw new PerigeeError('ambiguous_id', `"${text}" fits ${fitting.length} ${options.noun}s.`);
  }
  return first;
}

/** A node's id as tables show it: its end, as in the coordinator's sentences. `findNode` takes it. */
export function shortNodeId(id: string): string {
  return id.slice(-shortIdChars);
}

function nothingYet(noun: string): PerigeeError {
  return new PerigeeError('not_found', `There is no ${noun} yet.`, {
    fix: `${programName} python mine.py`,
  });
}
