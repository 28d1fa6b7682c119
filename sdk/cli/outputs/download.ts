/** Fetches outputs to files: begun again where it broke off, kept only when the hash is right. */
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { OutputView } from '../../../protocol/wire/api.ts';
import { findResumeOffset, isFetched, placeFetched } from '../../ts/fetched-file.ts';
import { type CommandContext, say } from '../context.ts';

/** Between attempts to go on after the line broke; then it is an error. */
const retryPausesMs: readonly number[] = [200, 400, 800, 1600, 3200, 5000, 5000, 5000];
/** Outputs fetched side by side. */
const fetchedAtOnce = 4;

/** What became of an output. */
export interface Downloaded {
  path: string;
  /** False when the file was there already. */
  isNew: boolean;
}

/**
 * Puts an output's bytes into a file, which appears whole.
 * @throws PerigeeError invalid_request when the bytes are not those that the task gave out.
 */
export async function downloadOutput(
  context: CommandContext,
  output: OutputView,
  path: string,
): Promise<Downloaded> {
  if (await isFetched(path, output)) return { path, isNew: false };
  const aside = `${path}.part`;
  for (let failures = 0; ; failures += 1) {
    try {
      await fetchRest(context, output, aside);
      break;
    } catch (caught) {
      const pauseMs = retryPausesMs[failures];
      const mayReturn = caught instanceof PerigeeError && caught.retryable;
      if (!mayReturn || pauseMs === undefined) throw caught;
      if (failures === 0) say(context, 'The coordinator is away; waiting for it.');
      await delay(pauseMs, undefined, { signal: context.signal });
    }
  }
  await placeFetched(aside, path, { output, fix: 'Run the command again.' });
  return { path, isNew: true };
}

/** Runs `fetch` for each, a few side by side; answers in order. */
export async function inTurns<Item, Result>(
  items: readonly Item[],
  fetch: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let start = 0; start < items.length; start += fetchedAtOnce) {
    results.push(...(await Promise.all(items.slice(start, start + fetchedAtOnce).map(fetch))));
  }
  return results;
}

async function fetchRest(
  context: CommandContext,
  output: OutputView,
  aside: string,
): Promise<void> {
  const client = await context.client();
  const file = await open(aside, 'a');
  try {
    const at = await findResumeOffset(file, output);
    if (at === output.sizeBytes) return;
    const answer = await client.stream('GET', output.href, {
      headers: { range: `bytes=${at}-`, 'if-range': `"${output.sha256}"` },
      signal: context.signal,
    });
    if (answer.status !== 206) await file.truncate(0);
    for await (const piece of answer.chunks) await file.writeFile(piece);
  } finally {
    await file.close();
  }
}
