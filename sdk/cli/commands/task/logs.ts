import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { type CommandContext, hint, type ShowOptions, say } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
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
  const command = describeCommand(name, {
    summary: 'Print what a task wrote to its standard output and error.',
    details:
      'With -f it goes on until the task is done, through restarts of the coordinator. ' +
      'With --json it is {id, offset, text}; with -f too, one {offset, text} a line as it comes.',
    examples: ['logs 17-3', 'logs -f @last'],
  })
    .argument('<id>', 'the task, or @last')
    .option('-f, --follow', 'go on while the task runs')
    .option('--attempt <n>', 'of this attempt instead of the latest', wholeNumber(1, 65_535));
  return withJson(command).action(async (text: string, options: LogsOptions) => {
    const id = await resolveTaskId(context, text);
    const writer = createLogWriter(id, options);
    for await (const piece of readLog(context, id, options)) {
      await write(context, writer.take(piece));
    }
    await write(context, writer.end());
    if (options.json !== true) hint(context, `task ${id}`);
  });
}

/** A part of a log, and where it begins in the whole. */
interface LogPiece {
  offset: number;
  bytes: Uint8Array;
}

interface LogWriter {
  /** What to print now. */
  take(piece: LogPiece): string | Uint8Array;
  /** What to print behind the last piece. */
  end(): string;
}

/** The log as it is, or as JSON: one document, or a line for each piece when it is followed. */
function createLogWriter(id: string, options: LogsOptions): LogWriter {
  if (options.json !== true) return { take: (piece) => piece.bytes, end: () => '' };
  // A character may be cut in two by the pieces.
  const decoder = new TextDecoder();
  if (options.follow === true) {
    return {
      take({ offset, bytes }) {
        const text = decoder.decode(bytes, { stream: true });
        return text === '' ? '' : `${JSON.stringify({ offset, text })}\n`;
      },
      end: () => '',
    };
  }
  let first: number | undefined;
  let whole = '';
  return {
    take({ offset, bytes }) {
      first ??= offset;
      whole += decoder.decode(bytes, { stream: true });
      return '';
    },
    end: () => `${JSON.stringify({ id, offset: first ?? 0, text: whole + decoder.decode() })}\n`,
  };
}

async function write(context: CommandContext, part: string | Uint8Array): Promise<void> {
  const { stdout } = context.terminal;
  // Waiting for the reader bounds what is held of a flood.
  if (part.length > 0 && !stdout.write(part)) {
    await once(stdout, 'drain', { signal: context.signal });
  }
}

/** The log's pieces; when it is followed, through losses of the coordinator. */
async function* readLog(
  context: CommandContext,
  id: string,
  options: LogsOptions,
): AsyncIterable<LogPiece> {
  let offset = 0;
  for (let failures = 0; ; ) {
    try {
      for await (const piece of readOnce(context, id, { ...options, offset })) {
        offset = piece.offset + piece.bytes.length;
        failures = 0;
        yield piece;
      }
      return;
    } catch (caught) {
      const pauseMs = retryPausesMs[failures];
      const mayReturn = caught instanceof PerigeeError && caught.retryable;
      if (options.follow !== true || !mayReturn || pauseMs === undefined) throw caught;
      if (failures === 0) say(context, 'The coordinator is away; waiting for it.');
      failures += 1;
      await delay(pauseMs, undefined, { signal: context.signal });
    }
  }
}

async function* readOnce(
  context: CommandContext,
  id: string,
  options: LogsOptions & { offset: number },
): AsyncIterable<LogPiece> {
  const client = await context.client();
  const answer = await client.stream('GET', `/v1/tasks/${id}/log`, {
    query: {
      follow: options.follow === true,
      offset: options.offset,
      attempt: options.attempt,
    },
    signal: context.signal,
  });
  let offset = Number(answer.header('x-perigee-offset') ?? options.offset);
  for await (const bytes of answer.chunks) {
    yield { offset, bytes };
    offset += bytes.length;
  }
}
