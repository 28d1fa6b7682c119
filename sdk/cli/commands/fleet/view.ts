import type { Command } from 'commander';
import type { FleetView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { shortNodeId } from '../../ids.ts';
import { type Column, renderTable } from '../../output/table.ts';
import { formatSeconds } from '../../output/units.ts';

type Pool = FleetView['pools'][number];
type Instance = FleetView['instances'][number];

/** `fleet`: pools, their machines, and what they cost. */
export function fleetView(context: CommandContext): Command {
  const command = describeCommand('fleet', {
    summary: 'Show the pools of machines: instances, states, ages and cost so far.',
    details: 'For operators. `explain fleet` says why there are so many.',
    examples: ['fleet', 'fleet --json'],
  });
  return withJson(command).action(async (options: ShowOptions) => {
    const client = await context.client();
    const fleet = await client.json<FleetView>('GET', '/v1/fleet', { signal: context.signal });
    const { columns, outColors: colors } = context.terminal;
    const notes = fleet.pools.flatMap(({ pool, faults, heldBack }) =>
      [...faults, ...(heldBack === null || faults.length > 0 ? [] : [heldBack])].map(
        (text) => `${pool}: ${text}\n`,
      ),
    );
    const tables = [renderTable(fleet.pools, poolColumns, { columns, colors })];
    if (fleet.instances.length > 0) {
      tables.push(renderTable(fleet.instances, instanceColumns, { columns, colors }));
    }
    show(context, options, {
      value: fleet,
      text: [tables.join('\n'), ...notes].join(notes.length > 0 ? '\n' : ''),
      next: 'explain fleet',
    });
  });
}

const poolColumns: Column<Pool>[] = [
  { title: 'pool', text: ({ pool }) => pool, whole: true },
  {
    title: 'provider',
    text: ({ provider, dryRun }) => (dryRun ? `${provider}, dry run` : provider),
  },
  { title: 'there', text: ({ live }) => String(live), align: 'right' },
  { title: 'wanted', text: ({ wanted }) => String(wanted), align: 'right' },
  { title: 'min', text: ({ min }) => String(min), align: 'right' },
  { title: 'max', text: ({ max }) => String(max), align: 'right' },
  {
    title: 'an hour',
    text: ({ pricePerHour, spendPerHourMax: cap }) => dollars(pricePerHour, cap),
    align: 'right',
  },
  { title: 'spent', text: ({ spent, spendTotalMax: cap }) => dollars(spent, cap), align: 'right' },
];

const instanceColumns: Column<Instance>[] = [
  { title: 'instance', text: ({ instance }) => instance, whole: true },
  { title: 'offer', text: ({ offer }) => offer },
  {
    title: 'state',
    text: (one) => [one.state, ...(one.interrupted ? ['taken back'] : [])].join(', '),
    style: ({ state }) => (state === 'working' ? 'green' : 'yellow'),
  },
  { title: 'age', text: ({ ageSeconds }) => formatSeconds(ageSeconds), align: 'right' },
  { title: 'cost', text: ({ cost }) => dollars(cost, null), align: 'right' },
  { title: 'node', text: ({ node }) => (node === null ? '-' : shortNodeId(node)) },
  { title: 'why', text: ({ reason }) => reason },
];

function dollars(value: number, cap: number | null): string {
  return cap === null ? `$${value.toFixed(2)}` : `$${value.toFixed(2)} of $${cap}`;
}
