import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { outputFileName } from '../../../../protocol/stac/stac-export.ts';
import type { OutputView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveGroupId } from '../../ids.ts';
import { type Column, renderTable } from '../../output/table.ts';
import { countOf, formatBytes } from '../../output/units.ts';
import { downloadOutput, inTurns } from '../../outputs/download.ts';
import { listGroupOutputs, outputColumns } from '../../outputs/list-outputs.ts';

interface OutputsOptions extends ShowOptions {
  to?: string;
}

/** `group outputs ID`: lists or fetches what all tasks of a group gave out. */
export function groupOutputs(context: CommandContext): Command {
  const command = describeCommand('outputs', {
    summary: 'List the files that the tasks of a group gave out; with --to, fetch them.',
    details:
      'Each task gets a folder of its own below the one that is named. Run again it fetches what is new, ' +
      'and goes on with what was cut off.',
    examples: ['group outputs @last', 'group outputs 3f2a --to results'],
  })
    .argument('<id>', 'id, its beginning, or @last')
    .option('--to <folder>', 'fetch them into this folder');
  return withJson(command).action(async (text: string, options: OutputsOptions) => {
    const id = await resolveGroupId(context, text);
    const outputs: OutputView[] = [];
    for await (const output of listGroupOutputs(context, id)) outputs.push(output);
    const { to } = options;
    if (to === undefined) list(context, options, { id, outputs });
    else await fetchAll(context, options, { outputs, folder: to });
  });
}

function list(
  context: CommandContext,
  options: ShowOptions,
  found: { id: string; outputs: readonly OutputView[] },
): void {
  const { id, outputs } = found;
  const { columns, outColors } = context.terminal;
  const withTask: Column<OutputView>[] = [
    { title: 'task', text: (output) => output.task, whole: true },
    ...outputColumns,
  ];
  show(context, options, {
    value: outputs,
    text:
      outputs.length === 0
        ? 'No task of it has given out a file yet.\n'
        : renderTable(outputs, withTask, { columns, colors: outColors }),
    next: outputs.length === 0 ? `group ${id}` : `group export ${id} --stac catalogue`,
  });
}

async function fetchAll(
  context: CommandContext,
  options: ShowOptions,
  wanted: { outputs: readonly OutputView[]; folder: string },
): Promise<void> {
  const { outputs, folder } = wanted;
  const files = await inTurns(outputs, async (output) => {
    const own = join(folder, output.task);
    await mkdir(own, { recursive: true });
    return downloadOutput(context, output, join(own, outputFileName(output)));
  });
  const bytes = outputs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const fresh = files.filter(({ isNew }) => isNew).length;
  show(context, options, {
    value: files.map(({ path, isNew }, at) => ({
      task: outputs[at]?.task,
      name: outputs[at]?.name,
      path,
      isNew,
    })),
    text: `${countOf(outputs.length, 'output')} in ${folder}, ${formatBytes(bytes)}; ${fresh} of them new.\n`,
    next: null,
  });
}
