/** Outputs as the API lists them, with names that may become files' names. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { OutputView, Page } from '../../../protocol/wire/api.ts';
import { isOutputName } from '../../../protocol/wire/output-names.ts';
import type { CommandContext } from '../context.ts';
import type { Column } from '../output/table.ts';
import { formatBytes } from '../output/units.ts';

/** The outputs of a task, by name. */
export async function listTaskOutputs(context: CommandContext, id: string): Promise<OutputView[]> {
  const client = await context.client();
  const page = await client.json<Page<OutputView>>('GET', `/v1/tasks/${id}/outputs`, {
    signal: context.signal,
  });
  return page.items.map(checkName);
}

/** The outputs of a group, in order of tasks, a page at a time. */
export async function* listGroupOutputs(
  context: CommandContext,
  id: string,
): AsyncGenerator<OutputView, void, undefined> {
  const client = await context.client();
  let cursor: string | null = null;
  do {
    const page: Page<OutputView> = await client.json('GET', `/v1/groups/${id}/outputs`, {
      query: { limit: 250, cursor },
      signal: context.signal,
    });
    for (const output of page.items) yield checkName(output);
    cursor = page.next;
  } while (cursor !== null);
}

export const outputColumns: Column<OutputView>[] = [
  { title: 'output', text: (output) => output.name, whole: true },
  { title: 'size', text: (output) => formatBytes(output.sizeBytes), align: 'right' },
  { title: 'type', text: (output) => output.mediaType },
];

/** It comes from the mesh and is about to become a path: never a way out of the folder. */
function checkName(output: OutputView): OutputView {
  if (isOutputName(output.name) && /^\d+-\d+$/.test(output.task)) return output;
  throw new PerigeeError(
    'invalid_request',
    'The coordinator named an output that is no file name.',
    {
      fix: 'Update the coordinator, or look who answers at PERIGEE_URL.',
    },
  );
}
