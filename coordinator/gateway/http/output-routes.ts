/** `/v1/tasks/{id}/outputs/{name}`: the bytes of a file that a task gave out, whole or in parts. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { OutputBytes } from '../operations/outputs.ts';
import { openOutput } from '../operations/outputs.ts';
import type { Services } from '../services.ts';
import { answerPart } from './byte-range.ts';
import { contextOf, inputOf, ownerOf } from './call.ts';
import { sendStream } from './send-stream.ts';

export function addOutputRoutes(server: FastifyInstance, services: Services): void {
  server.head('/v1/tasks/:id/outputs/:name', async (request, reply) => {
    const { output } = await openOutput(contextOf(services, request), inputOf(request));
    reply.headers({ ...headersOf({ output }), 'content-length': output.sizeBytes });
    return reply.send();
  });
  server.get('/v1/tasks/:id/outputs/:name', async (request, reply) => {
    const opened = await openOutput(contextOf(services, request), inputOf(request));
    return answerOutput(services, { request, reply }, opened);
  });
}

async function answerOutput(
  services: Services,
  exchange: { request: FastifyRequest; reply: FastifyReply },
  opened: OutputBytes,
): Promise<unknown> {
  const { request, reply } = exchange;
  const { sizeBytes } = opened.output;
  const headers = headersOf(opened);
  const answer = answerPart(
    {
      range: request.headers.range,
      ifRange: request.headers['if-range']?.toString(),
      ifNoneMatch: request.headers['if-none-match'],
    },
    { sizeBytes, etag: headers.etag },
  );
  if (answer.kind === 'unchanged') return reply.status(304).headers(headers).send();
  if (answer.kind === 'beyond') {
    reply.header('content-range', `bytes */${sizeBytes}`);
    throw new PerigeeError('range_invalid', `The output has ${sizeBytes} bytes.`);
  }
  const isPart = answer.kind === 'part';
  const { start, length } = isPart ? answer.range : { start: 0, length: sizeBytes };
  const { idleTimeoutMs } = services.settings;
  return sendStream(
    reply,
    {
      status: isPart ? 206 : 200,
      headers: {
        ...headers,
        'content-length': length,
        ...(isPart ? { 'content-range': `bytes ${start}-${start + length - 1}/${sizeBytes}` } : {}),
      },
      chunks: () => opened.read(start, length),
    },
    {
      stream: services.streams.enter(ownerOf(request)),
      idleMs: idleTimeoutMs,
      log: services.deps.log,
    },
  );
}

/** A task chose name and type: a browser is to keep the file, never to show or run it. */
function headersOf({ output }: Pick<OutputBytes, 'output'>) {
  return {
    'content-type': output.mediaType,
    'content-disposition': `attachment; filename="${output.name}"`,
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    'accept-ranges': 'bytes',
    etag: `"${output.hash}"`,
  };
}
