/** `GET /v1/boot/{sha256}`: what a machine fetches while it boots, resumable, with its join token. */
import { createReadStream } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { GatewayDeps } from '../ports.ts';
import { findRangeStart } from './range.ts';

export function addBootRoutes(
  server: FastifyInstance,
  boot: NonNullable<GatewayDeps['boot']>,
): void {
  server.get<{ Params: { digest: string } }>('/v1/boot/:digest', async (request, reply) => {
    const token = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    const { path, sizeBytes, digest } = await boot.open(request.params.digest, token);
    const start = findRangeStart(request.headers.range);
    reply.headers({
      'content-type': 'application/octet-stream',
      'accept-ranges': 'bytes',
      etag: `"${digest}"`,
    });
    if (start !== null && start >= sizeBytes) {
      reply.header('content-range', `bytes */${sizeBytes}`);
      throw new PerigeeError('invalid_request', 'That is beyond the end of the file.');
    }
    const from = start ?? 0;
    if (start !== null) {
      reply.status(206).header('content-range', `bytes ${from}-${sizeBytes - 1}/${sizeBytes}`);
    }
    reply.header('content-length', sizeBytes - from);
    return reply.send(createReadStream(path, { start: from }));
  });
}
