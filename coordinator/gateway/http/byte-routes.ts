/** The routes that carry bytes: batches, blobs, payloads, logs, and the completion stream. */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { LogItem } from '../../../protocol/wire/client.ts';
import { batchBytesMax, blobBytesMax } from '../../../protocol/wire/limits.ts';
import { refused } from '../input/fields.ts';
import { submitBatch } from '../operations/batches.ts';
import { findBlob, getBlob, putBlob } from '../operations/blobs.ts';
import { openBuildLog } from '../operations/images.ts';
import { openLog } from '../operations/logs.ts';
import { readCompletionRequest } from '../operations/outcomes.ts';
import type { PayloadBytes } from '../operations/tasks.ts';
import { getArguments, getResult } from '../operations/tasks.ts';
import type { Context, Services } from '../services.ts';
import { contextOf, inputOf, ownerOf } from './call.ts';
import { findRangeStart } from './range.ts';
import { declaredBytes, discardBody, readBody, streamBody } from './read-body.ts';
import type { StreamAnswer } from './send-stream.ts';
import { sendStream } from './send-stream.ts';

const octets = 'application/octet-stream';

/** `PUT /v1/groups/{id}/batches/{uuid}`. */
export function addBatchRoutes(server: FastifyInstance, services: Services): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request: FastifyRequest, payload: IncomingMessage) =>
    readBody(payload, { bytesMax: batchBytesMax, timeoutMs: services.settings.bodyTimeoutMs }),
  );
  server.put('/v1/groups/:group/batches/:clientBatch', async (request, reply) => {
    const { body } = request;
    request.body = undefined;
    const header = request.headers['x-perigee-count'];
    const bytes = body instanceof Uint8Array ? body : new Uint8Array(0);
    const split = findAssetList(request.headers['x-perigee-asset-bytes'], bytes);
    const { created, ...view } = await submitBatch(contextOf(services, request), {
      ...inputOf(request),
      count: typeof header === 'string' && /^[0-9]+$/.test(header) ? Number(header) : header,
      ...split,
    });
    reply.status(created ? 201 : 200);
    return view;
  });
}

/** The list of assets is the end of the body. */
function findAssetList(
  header: string | string[] | undefined,
  body: Uint8Array,
): { block: Uint8Array; assets?: Uint8Array } {
  if (header === undefined) return { block: body };
  const size = typeof header === 'string' && /^[0-9]+$/.test(header) ? Number(header) : -1;
  if (size < 0 || size > body.length) {
    throw refused('X-Perigee-Asset-Bytes', 'must be the length of the list at the end', header);
  }
  const end = body.length - size;
  return { block: body.subarray(0, end), assets: body.subarray(end) };
}

/** `/v1/blobs/{sha256}`. */
export function addBlobRoutes(server: FastifyInstance, services: Services): void {
  server.removeAllContentTypeParsers();
  // Nothing is read here: the handler streams the body to disk.
  server.addContentTypeParser('*', async () => undefined);
  server.put('/v1/blobs/:hash', async (request, reply) => {
    const context = contextOf(services, request);
    const { idleTimeoutMs: idleMs } = services.settings;
    const bytes = streamBody(request.raw, { idleMs });
    const sizeBytes = declaredBytes(request.raw);
    const { created } = await putBlob(context, inputOf(request), { bytes, sizeBytes });
    // It is here already, and theirs: its bytes come all the same.
    await discardBody(request.raw, { bytesMax: blobBytesMax, idleMs });
    reply.status(created ? 201 : 200);
    return {};
  });
  server.head('/v1/blobs/:hash', async (request, reply) => {
    const { sizeBytes } = await findBlob(contextOf(services, request), inputOf(request));
    if (sizeBytes === null) return reply.status(404).send();
    reply.headers({
      'content-length': sizeBytes,
      'content-type': octets,
      'accept-ranges': 'bytes',
    });
    return reply.send();
  });
  server.get('/v1/blobs/:hash', async (request, reply) => {
    const offset = findRangeStart(request.headers.range);
    const input = { ...inputOf(request), ...(offset === null ? {} : { offset }) };
    const blob = await getBlob(contextOf(services, request), input);
    await answer(services, request, reply, rangedAnswer(blob, offset));
  });
}

/** Payloads, logs and completions. */
export function addStreamRoutes(server: FastifyInstance, services: Services): void {
  const payload =
    (open: (context: Context, input: ReturnType<typeof inputOf>) => Promise<PayloadBytes>) =>
    async (request: FastifyRequest, reply: FastifyReply) => {
      const offset = findRangeStart(request.headers.range);
      const input = { ...inputOf(request), ...(offset === null ? {} : { offset }) };
      const opened = await open(contextOf(services, request), input);
      await answer(services, request, reply, rangedAnswer(opened, offset));
    };
  server.get('/v1/tasks/:id/result', payload(getResult));
  server.get('/v1/tasks/:id/arguments', payload(getArguments));
  server.get('/v1/tasks/:id/log', async (request, reply) => {
    const types = { numbers: ['attempt', 'offset'], booleans: ['follow'] };
    const log = await openLog(contextOf(services, request), inputOf(request, types));
    await answer(services, request, reply, {
      status: 200,
      headers: { 'content-type': octets, 'x-perigee-offset': log.offset },
      chunks: (signal) => bytesOf(log.items(signal)),
    });
  });
  server.get('/v1/images/:id/log', async (request, reply) => {
    const types = { numbers: ['offset'], booleans: ['follow'] };
    const log = await openBuildLog(contextOf(services, request), inputOf(request, types));
    await answer(services, request, reply, {
      status: 200,
      headers: { 'content-type': octets, 'x-perigee-offset': log.offset },
      chunks: (signal) => bytesOf(log.items(signal)),
    });
  });
  server.get('/v1/outcomes', async (request, reply) => {
    const types = { numbers: ['after', 'inline'], booleans: ['follow'], lists: ['groups'] };
    // Over HTTP both have a default, so that a look with curl is short.
    const input = { after: 0, follow: false, ...inputOf(request, types) };
    const wanted = await readCompletionRequest(contextOf(services, request), input);
    await answer(services, request, reply, {
      status: 200,
      headers: { 'content-type': 'application/x-perigee-outcomes' },
      chunks: (signal) => services.completions.stream({ ...wanted, signal }),
    });
  });
}

/** Bytes that a client may go on with after a cut: `asked` is what its Range said. */
function rangedAnswer(found: PayloadBytes, asked: number | null): StreamAnswer {
  const { sizeBytes, offset, bytes } = found;
  const left = sizeBytes - offset;
  const isPart = asked !== null && left > 0;
  const range = `bytes ${offset}-${sizeBytes - 1}/${sizeBytes}`;
  return {
    status: isPart ? 206 : 200,
    headers: {
      'content-type': octets,
      'content-length': left,
      'accept-ranges': 'bytes',
      ...(isPart ? { 'content-range': range } : {}),
    },
    chunks: () => bytes,
  };
}

function answer(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  stream: StreamAnswer,
): Promise<void> {
  const admitted = services.streams.enter(ownerOf(request));
  const { idleTimeoutMs } = services.settings;
  return sendStream(reply, stream, {
    stream: admitted,
    idleMs: idleTimeoutMs,
    log: services.deps.log,
  });
}

async function* bytesOf(
  items: AsyncIterable<Pick<LogItem, 'bytes'>>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const item of items) yield item.bytes;
}
