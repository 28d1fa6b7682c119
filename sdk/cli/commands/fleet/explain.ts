import type { Command } from 'commander';
import type { FleetExplainView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { type Column, renderTable } from '../../output/table.ts';

type Work = FleetExplainView['work'][number];
type Event = FleetExplainView['events'][number];

/** Shown to people; `--json` has all that the answer holds. */
const eventsShown = 15;

/** `explain fleet`: the inputs and the rule behind the number of machines, and what happened last. */
export function fleetExplain(context: CommandContext): Command {
  const command = describeCommand('fleet', {
    summary: 'Say why there are so many machines: the work, the rule and what happened last.',
    details: 'For operators. In a dry run it says what would be done.',
    examples: ['explain fleet', 'explain fleet --json'],
  });
  return withJson(command).action(async (options: ShowOptions) => {
    const client = await context.client();
    const view = await client.json<FleetExplainView>('GET', '/v1/fleet/explain', {
      signal: context.signal,
    });
    const { columns, outColors: colors } = context.terminal;
    const parts = [`${view.sentences.join('\n')}\n`];
    const decided = view.decisions.map(
      ({ kind, pool, count, offer, instance, reason, dryRun }) =>
        `${dryRun ? 'would ' : ''}${kind} ${instance ?? `${count} of ${pool}/${offer}`}: ${reason}\n`,
    );
    if (decided.length > 0) parts.push(decided.join(''));
    if (view.work.length > 0) {
      parts.push(renderTable(view.work, workColumns, { columns, colors }));
    }
    const events = view.events.slice(0, eventsShown);
    if (events.length > 0) parts.push(renderTable(events, eventColumns, { columns, colors }));
    show(context, options, { value: view, text: parts.join('\n'), next: 'fleet' });
  });
}

const workColumns: Column<Work>[] = [
  { title: 'group', text: ({ group }) => group, whole: true },
  { title: 'work', text: ({ workSeconds }) => `${workSeconds.toFixed(1)} s`, align: 'right' },
  {
    title: 'a task',
    text: ({ taskSeconds, measured }) =>
      `${taskSeconds.toFixed(2)} s${measured ? '' : ' (a guess)'}`,
    align: 'right',
  },
  { title: 'places', text: ({ places }) => places.toFixed(2), align: 'right' },
];

const eventColumns: Column<Event>[] = [
  { title: 'when', text: ({ at }) => at, whole: true },
  { title: 'instance', text: ({ instance, pool }) => instance ?? pool },
  {
    title: 'event',
    text: ({ event }) => event,
    style: ({ isLoud }) => (isLoud ? 'red' : undefined),
  },
  { title: 'text', text: ({ text }) => text },
];
