/** Answers of unknown length or duration, with back-pressure. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { toError } from '../../../protocol/base/errors.ts';
import type { GatewayLog } from '../ports.ts';
import type { AdmittedStream } from '../stream-gate.ts';

export interface StreamAnswer {
  status: number;
  headers: Record<string, string | number>;
  /** Is given a signal that is aborted when the client is gone or the stream must end. */
  chunks(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/**
 * Writes an answer piece by piece. Ends it in order when the stream's signal is aborted; breaks the
 * connection when the source fails, because the status has been sent already.
 */
export async function sendStream(
  reply: FastifyReply,
  answer: StreamAnswer,
  options: { stream: AdmittedStream; idleMs: number; log: GatewayLog },
): Promise<void> {
  const { stream } = options;
  reply.hijack();
  const response = reply.raw;
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const signal = AbortSignal.any([stream.signal, gone.signal]);
  try {
    response.writeHead(answer.status, { 'cache-control': 'no-store', ...answer.headers });
    // The client may wait for the head long before there is anything to send. What has a length is at hand,
    // and its head leaves with it.
    if (!('content-length' in answer.headers)) response.flushHeaders();
    for await (const chunk of answer.chunks(signal)) {
      if (gone.signal.aborted) break;
      if (chunk.length > 0 && !response.write(chunk)) await drain(response, gone.signal, options);
    }
    response.end();
  } catch (caught) {
    if (!gone.signal.aborted) options.log.warn({ err: toError(caught) }, 'an answer broke off');
    response.destroy();
  } finally {
    stream.leave();
  }
}

async function drain(
  response: ServerResponse,
  gone: AbortSignal,
  options: { idleMs: number },
): Promise<void> {
  // A client that reads nothing for so long holds buffers here for nothing.
  const timer = setTimeout(() => response.destroy(), options.idleMs);
  try {
    await once(response, 'drain', { signal: gone });
  } catch (caught) {
    if (!gone.aborted) throw caught;
  } finally {
    clearTimeout(timer);
  }
}
