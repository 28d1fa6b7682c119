import type { Command } from 'commander';
import type { NodeView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { shortNodeId } from '../../ids.ts';
import { listPages } from '../../list-pages.ts';
import { type Column, renderTable } from '../../output/table.ts';
import type { Style } from '../../output/text.ts';
import { formatBytes, formatSeconds } from '../../output/units.ts';

const nodesMax = 10_000;

interface ListOptions extends ShowOptions {
  all?: boolean;
}

/**
 * `nodes` and `node ls`: the nodes of the mesh. Those that left in order are history, which would
 * bury the rest on a mesh that scales to zero; lost ones stay, somebody may want to look after them.
 */
export function nodeList(context: CommandContext, name: string): Command {
  const shown = name === 'ls' ? 'node ls' : name;
  const command = describeCommand(name, {
    summary:
      'List the nodes: state, slots, isolation, what was last heard of each, and how its cache is hit.',
    details: 'With and without --json, nodes that left are shown only with --all.',
    examples: [shown, `${shown} --all`, `${shown} --json`],
  }).option('--all', 'also the nodes that left (state gone)');
  return withJson(command).action(async (options: ListOptions) => {
    const page = await listPages<NodeView>(context, '/v1/nodes', { limit: nodesMax });
    const items = page.items.filter((node) => options.all === true || node.state !== 'gone');
    const { columns, outColors } = context.terminal;
    show(context, options, {
      value: items,
      text:
        items.length === 0
          ? 'No nodes now. They appear when work is queued.\n'
          : renderTable(items, columnsFor(items), { columns, colors: outColors }),
      next: items.length === 0 ? 'status' : 'tasks --state running',
    });
  });
}

const nodeColumns: Column<NodeView>[] = [
  { title: 'id', text: (node) => shortNodeId(node.id), whole: true },
  { title: 'name', text: (node) => node.name },
  { title: 'state', text: stateOf, style: styleOf },
  { title: 'slots', text: (node) => `${node.busy}/${node.slots}`, align: 'right' },
  { title: 'isolation', text: (node) => (node.slots === 0 ? '-' : node.isolation) },
  { title: 'cpus', text: (node) => String(node.cpus), align: 'right' },
  { title: 'memory', text: (node) => formatBytes(node.memoryBytes), align: 'right' },
  { title: 'heard', text: (node) => `${formatSeconds(node.lastHeardSeconds)} ago`, align: 'right' },
  { title: 'images', text: (node) => node.images.join(', ') },
];
const readsColumns: Column<NodeView>[] = [
  { title: 'hits', text: hitRateOf, align: 'right' },
  { title: 'cache/nodes/origins', text: sourcesOf },
];
const drainColumn: Column<NodeView> = {
  title: 'draining',
  text: (node) => node.draining ?? '',
};

/** Columns that would be empty are left out: a terminal has no room to spare. */
function columnsFor(nodes: readonly NodeView[]): Column<NodeView>[] {
  return [
    ...nodeColumns,
    ...(nodes.some((node) => node.imageryReads !== null) ? readsColumns : []),
    ...(nodes.some((node) => node.draining !== null) ? [drainColumn] : []),
  ];
}

/** Of the reads of imagery, those that the node's own cache answered. */
function hitRateOf({ imageryReads }: NodeView): string {
  return imageryReads === null ? '-' : `${Math.floor(imageryReads.hitRate * 100)} %`;
}

/** Where what was read of imagery came from. */
function sourcesOf({ imageryReads }: NodeView): string {
  if (imageryReads === null) return '-';
  const { cacheBytes, peerBytes, originBytes } = imageryReads;
  return [cacheBytes, peerBytes, originBytes].map(formatBytes).join('/');
}

function stateOf(node: NodeView): string {
  const notes = [
    node.suspect && node.state !== 'lost' ? 'silent' : '',
    node.quarantined ? 'quarantined' : '',
  ];
  return [node.state, ...notes.filter((note) => note !== '')].join(', ');
}

function styleOf(node: NodeView): Style | undefined {
  if (node.quarantined || node.state === 'lost') return 'red';
  if (node.suspect || node.state !== 'ready') return 'yellow';
  return 'green';
}
