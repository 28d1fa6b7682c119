import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import {
  describeFailed,
  type ItemSummary,
  itemId,
  makeCollection,
  makeItem,
  outputFileName,
  type StacItem,
  summarize,
} from '../../../../protocol/stac/stac-export.ts';
import type { GroupView, OutputView, TaskView } from '../../../../protocol/wire/api.ts';
import { findSize } from '../../../ts/fetched-file.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { resolveGroupId } from '../../ids.ts';
import { listPages } from '../../list-pages.ts';
import { countOf } from '../../output/units.ts';
import { downloadOutput, inTurns } from '../../outputs/download.ts';
import { listGroupOutputs } from '../../outputs/list-outputs.ts';

interface ExportOptions extends ShowOptions {
  stac: string;
  link?: boolean;
}

/** Beside the collection, when tasks failed. */
const failedFile = 'failed-tasks.json';
const collectionFile = 'collection.json';
/** Tasks looked through for failed ones. */
const tasksMax = 10_000_000;

/** `group export ID --stac DIR`: a STAC collection of what the tasks of a group gave out. */
export function groupExport(context: CommandContext): Command {
  const command = describeCommand('export', {
    summary: 'Make a STAC collection of the files that the tasks of a group gave out.',
    details:
      'An item for each task, named GUID-TASK, with the task’s arguments among its properties, and its files beside it. ' +
      'All links are relative. Run again it adds what is new and leaves the rest as it is. ' +
      `Tasks that failed are listed in ${failedFile}. With --link the files stay on the coordinator: assets have its URLs, which want a token.`,
    examples: ['group export @last --stac catalogue', 'group export 3f2a --stac catalogue --link'],
  })
    .argument('<id>', 'id, its beginning, or @last')
    .requiredOption('--stac <folder>', 'where the collection is made; it may be there already')
    .addOption(new Option('--copy', 'fetch the files, the default').conflicts('link'))
    .option('--link', 'leave the files on the coordinator');
  return withJson(command).action((text: string, options: ExportOptions) =>
    exportGroup(context, text, options),
  );
}

async function exportGroup(
  context: CommandContext,
  text: string,
  options: ExportOptions,
): Promise<void> {
  const client = await context.client();
  const id = await resolveGroupId(context, text);
  const group = await client.json<GroupView>('GET', `/v1/groups/${id}`, {
    signal: context.signal,
  });
  const folder = options.stac;
  await mkdir(folder, { recursive: true });
  const items: ItemSummary[] = [];
  let files = 0;
  let fresh = 0;
  for await (const outputs of byTask(listGroupOutputs(context, group.id))) {
    const written = await writeItem(context, outputs, {
      folder,
      linkUrl: options.link === true ? client.url : null,
    });
    items.push(written.summary);
    files += outputs.length;
    fresh += written.fresh;
  }
  const failed = await listFailed(context, group);
  await keepFailed(folder, group, failed);
  const hasFailed = failed.length > 0 ? failedFile : null;
  const collection = makeCollection(group, { items, failedFile: hasFailed });
  await writeJson(join(folder, collectionFile), collection);
  const counts = { items: items.length, files, newFiles: fresh, failedTasks: failed.length };
  show(context, options, {
    value: { collection: join(folder, collectionFile), ...counts },
    text:
      `${join(folder, collectionFile)}: ${countOf(items.length, 'item')}, ${countOf(files, 'file')}, ${fresh} of them new.\n` +
      (failed.length === 0
        ? ''
        : `${countOf(failed.length, 'task')} failed: ${join(folder, failedFile)}\n`),
    next: null,
  });
}

type TaskOutputs = [OutputView, ...OutputView[]];

/** Runs of outputs of one task: the list is in order of tasks. */
async function* byTask(
  outputs: AsyncIterable<OutputView>,
): AsyncGenerator<TaskOutputs, void, undefined> {
  let run: TaskOutputs | null = null;
  for await (const output of outputs) {
    if (run?.[0].task === output.task) {
      run.push(output);
      continue;
    }
    if (run !== null) yield run;
    run = [output];
  }
  if (run !== null) yield run;
}

/** The files first, then the item that names them. */
async function writeItem(
  context: CommandContext,
  outputs: TaskOutputs,
  place: { folder: string; linkUrl: string | null },
): Promise<{ summary: ItemSummary; fresh: number }> {
  const id = itemId(outputs[0]);
  const own = join(place.folder, id);
  const file = join(own, `${id}.json`);
  await mkdir(own, { recursive: true });
  const { linkUrl } = place;
  const item = makeItem(outputs, (output) =>
    linkUrl === null ? `./${outputFileName(output)}` : `${linkUrl}${output.href}`,
  );
  let fresh = 0;
  if (linkUrl === null) {
    const known = await readItem(file);
    const fetched = await inTurns(outputs, async (output) => {
      const path = join(own, outputFileName(output));
      // An item that names these very bytes was written behind them.
      const isThere = known?.assets[output.name]?.['file:checksum'] === `1220${output.sha256}`;
      if (isThere && (await findSize(path)) === output.sizeBytes) return false;
      return (await downloadOutput(context, output, path)).isNew;
    });
    fresh = fetched.filter(Boolean).length;
  }
  await writeJson(file, item);
  return { summary: summarize(item, `./${id}/${id}.json`), fresh };
}

async function listFailed(context: CommandContext, group: GroupView): Promise<TaskView[]> {
  if (group.tasks.failed === 0) return [];
  const { items } = await listPages<TaskView>(context, '/v1/tasks', {
    limit: tasksMax,
    query: { group: group.id, state: 'done' },
  });
  return items.filter(({ status }) => status === 'FAILURE').reverse();
}

async function keepFailed(
  folder: string,
  group: GroupView,
  failed: readonly TaskView[],
): Promise<void> {
  const path = join(folder, failedFile);
  if (failed.length === 0) await rm(path, { force: true });
  else {
    await writeJson(path, { 'perigee:guid': group.id, tasks: failed.map(describeFailed) });
  }
}

async function readItem(path: string): Promise<Pick<StacItem, 'assets'> | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof value !== 'object' || value === null || !('assets' in value)) return undefined;
    const { assets } = value;
    if (typeof assets !== 'object' || assets === null) return undefined;
    return { assets: assets as StacItem['assets'] };
  } catch {
    // None yet, or one that was damaged: it is made anew.
    return undefined;
  }
}

/** A file that is the same already is left alone; another appears whole. */
async function writeJson(path: string, value: object): Promise<void> {
  const text = `${JSON.stringify(value, null, 2)}\n`;
  const before = await readFile(path, 'utf8').catch(() => undefined);
  if (before === text) return;
  await writeFile(`${path}.part`, text);
  await rename(`${path}.part`, path);
}
