import { once } from 'node:events';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { outputFileName } from '../../../../protocol/stac/stac-export.ts';
import type { OutputView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveTaskId } from '../../ids.ts';
import { downloadOutput, inTurns } from '../../outputs/download.ts';
import { listTaskOutputs } from '../../outputs/list-outputs.ts';
import { programName } from '../../terminal.ts';

interface OutputOptions extends ShowOptions {
  to: string;
}

/** `task output ID [NAME]`: fetches the files that a task gave out. */
export function taskOutput(context: CommandContext): Command {
  const command = describeCommand('output', {
    summary: 'Fetch the files that a task gave out: one by name, or all of them.',
    details:
      'A download that was cut off goes on where it was; a file appears once it is whole and its hash is right. ' +
      'Cloud Optimized GeoTIFFs get the ending .tif. With --to - one output goes to standard output.',
    examples: [
      'task output 17-3',
      'task output 17-3 ndvi --to ndvi.tif',
      'task output @last --to results',
    ],
  })
    .argument('<id>', 'the task, or @last')
    .argument('[name]', 'the output; all of them by default')
    .option(
      '--to <path>',
      'a folder, a file when one output is named, or - for standard output',
      '.',
    );
  return withJson(command).action(
    async (text: string, name: string | undefined, options: OutputOptions) => {
      const id = await resolveTaskId(context, text);
      const outputs = chooseOutputs(id, await listTaskOutputs(context, id), name);
      if (options.to === '-') {
        await writeOut(context, outputs);
        return;
      }
      const isFile = name !== undefined && !(await isFolder(options.to));
      if (!isFile) await mkdir(options.to, { recursive: true });
      const files = await inTurns(outputs, (output) =>
        downloadOutput(
          context,
          output,
          isFile ? options.to : join(options.to, outputFileName(output)),
        ),
      );
      show(context, options, {
        value: files.map(({ path, isNew }, at) => ({ name: outputs[at]?.name, path, isNew })),
        text: files.map(({ path }) => `${path}\n`).join(''),
        next: null,
      });
    },
  );
}

function chooseOutputs(
  id: string,
  outputs: readonly OutputView[],
  name: string | undefined,
): readonly OutputView[] {
  if (name === undefined) return outputs;
  const chosen = outputs.filter((output) => output.name === name);
  if (chosen.length > 0) return chosen;
  throw new PerigeeError('not_found', `Task ${id} has no output "${name}".`, {
    fix: `${programName} task ${id}`,
  });
}

async function writeOut(context: CommandContext, outputs: readonly OutputView[]): Promise<void> {
  const [output, second] = outputs;
  if (output === undefined || second !== undefined) {
    throw new PerigeeError('invalid_request', '--to - takes one output.', {
      fix: 'Name the output.',
    });
  }
  const client = await context.client();
  const { stdout } = context.terminal;
  const answer = await client.stream('GET', output.href, { signal: context.signal });
  for await (const piece of answer.chunks) {
    if (!stdout.write(piece)) await once(stdout, 'drain', { signal: context.signal });
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
