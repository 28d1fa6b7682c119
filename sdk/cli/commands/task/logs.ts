import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { type CommandContext, hint, type ShowOptions, say } from '../../context.ts';
import { describeCommand } from '../../describe-command.ts';
import { resolveTaskId } from '../../ids.ts';
import { wholeNumber } from '../../options.ts';

interface LogsOptions extends ShowOptions {
  follow?: boolean;
  attempt?: number;
}

/** Pauses between attempts to follow again after the coordinator was lost; then it is an error. */
const retryPausesMs: readonly number[] = [200, 400, 800, 1600, 3200, 5000, 5000, 5000];

/** `logs [-f] ID`: what a task printed, as it was printed. */
export function taskLogs(context: CommandContext, name = 'logs'): Command {
  return describeCommand(name, {
    summary: 'Print what a task wrote to its standard output and error.',
    details: 'With -f it goes on until the task is done, through restarts of the coordinator.',
    examples: ['logs 17-3', 'logs -f @last'],
  })
    .argument('<id>', 'the task, or @last')
    .option('-f, --follow', 'go on while the task runs')
    .option('--attempt <n>', 'of this attempt instead of the latest', wholeNumber(1, 65_535))
    .action(async (text: string, options: LogsOptions) => {
      const id = await resolveTaskId(context, text);
      await printLog(context, id, options);
      hint(context, `task ${id}`);
    });
}

async function printLog(context: CommandContext, id: string, options: LogsOptions): Promise<void> {
  const follow = options.follow === true;
  let offset = 0;
  for (let failures = 0; ; ) {
    try {
      for await (const end of readLog(context, id, { ...options, follow, offset })) {
        offset = end;
        failures = 0;
      }
      return;
    } catch (caught) {
      const pauseMs = retryPausesMs[failures];
      const mayReturn = caught instanceof PerigeeError && caught.retryable;
      if (!follow || !mayReturn || pauseMs === undefined) throw caught;
      if (failures === 0) say(context, 'The coordinator is away; waiting for it.');
      failures += 1;
      await delay(pauseMs, undefined, { signal: context.signal });
    }
  }
}

/** Writes the log from an offset on, and yields the offset behind each piece written. */
async function* readLog(
  context: CommandContext,
  id: string,
  options: { follow: boolean; offset: number; attempt?: number },
): AsyncIterable<number> {
  const client = await context.client();
  const answer = await client.stream('GET', `/v1/tasks/${id}/log`, {
    query: { follow: options.follow, offset: options.offset, attempt: options.attempt },
    signal: context.signal,
  });
  let offset = Number(answer.header('x-perigee-offset') ?? options.offset);
  const { stdout } = context.terminal;
  for await (const chunk of answer.chunks) {
    // Waiting for the reader bounds what is held of a flood.
    if (!stdout.write(chunk)) await once(stdout, 'drain', { signal: context.signal });
    offset += chunk.length;
    yield offset;
  }
}
