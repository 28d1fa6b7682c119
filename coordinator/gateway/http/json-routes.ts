/** The routes that answer JSON: one line each, from method and path to operation. */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { ClientOperationName } from '../../../protocol/wire/client.ts';
import { jsonBytesMax } from '../../../protocol/wire/limits.ts';
import { getMesh } from '../operations/status.ts';
import { operations } from '../operations/table.ts';
import type { Services } from '../services.ts';
import type { QueryTypes } from './call.ts';
import { contextOf, inputOf } from './call.ts';
import { readBody } from './read-body.ts';

interface JsonRoute {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: string;
  operation: Exclude<ClientOperationName, 'mesh.get' | 'batches.submit' | 'blobs.find'>;
  /** 200 unless it says otherwise; `created` is the operation's own word for 201. */
  created?: 'always' | 'asAnswered';
  /** The answer stands below this name. */
  envelope?: string;
  query?: QueryTypes;
}

const page: QueryTypes = { numbers: ['limit'] };

const routes: readonly JsonRoute[] = [
  { method: 'GET', url: '/v1/whoami', operation: 'whoami' },
  { method: 'GET', url: '/v1/status', operation: 'status.get' },
  {
    method: 'PUT',
    url: '/v1/namespaces/:name',
    operation: 'namespaces.create',
    created: 'asAnswered',
  },
  { method: 'GET', url: '/v1/namespaces', operation: 'namespaces.list' },
  { method: 'DELETE', url: '/v1/namespaces/:name', operation: 'namespaces.remove' },
  { method: 'POST', url: '/v1/tokens', operation: 'tokens.create', created: 'always' },
  { method: 'GET', url: '/v1/tokens', operation: 'tokens.list' },
  { method: 'DELETE', url: '/v1/tokens/:id', operation: 'tokens.revoke' },
  { method: 'POST', url: '/v1/join-tokens', operation: 'joinTokens.create', created: 'always' },
  { method: 'GET', url: '/v1/join-tokens', operation: 'joinTokens.list' },
  { method: 'DELETE', url: '/v1/join-tokens/:id', operation: 'joinTokens.revoke' },
  {
    method: 'POST',
    url: '/v1/groups',
    operation: 'groups.create',
    created: 'always',
    envelope: 'group',
  },
  { method: 'GET', url: '/v1/groups', operation: 'groups.list', query: page },
  { method: 'GET', url: '/v1/groups/:id', operation: 'groups.get' },
  { method: 'PATCH', url: '/v1/groups/:id', operation: 'groups.update' },
  {
    method: 'DELETE',
    url: '/v1/groups/:id',
    operation: 'groups.terminate',
    query: { booleans: ['drain'] },
  },
  { method: 'POST', url: '/v1/groups/:id/remove', operation: 'groups.remove' },
  { method: 'GET', url: '/v1/tasks', operation: 'tasks.list', query: page },
  { method: 'GET', url: '/v1/tasks/:id', operation: 'tasks.get' },
  { method: 'POST', url: '/v1/tasks/:id/cancel', operation: 'tasks.cancel' },
  { method: 'GET', url: '/v1/tasks/:id/explain', operation: 'tasks.explain' },
  { method: 'GET', url: '/v1/tasks/:id/outputs', operation: 'tasks.outputs' },
  { method: 'GET', url: '/v1/groups/:id/outputs', operation: 'groups.outputs', query: page },
  { method: 'GET', url: '/v1/nodes', operation: 'nodes.list' },
  { method: 'POST', url: '/v1/nodes/:id/drain', operation: 'nodes.drain' },
  { method: 'POST', url: '/v1/nodes/:id/undrain', operation: 'nodes.undrain' },
  { method: 'GET', url: '/v1/fleet', operation: 'fleet.get' },
  { method: 'GET', url: '/v1/fleet/explain', operation: 'fleet.explain' },
  { method: 'GET', url: '/v1/images', operation: 'images.list' },
  { method: 'POST', url: '/v1/images', operation: 'images.build', created: 'asAnswered' },
  { method: 'POST', url: '/v1/images/import', operation: 'images.import' },
  { method: 'GET', url: '/v1/images/:id', operation: 'images.show' },
  { method: 'DELETE', url: '/v1/images/:id', operation: 'images.remove' },
];

/** The two routes that need no token. */
export function addOpenRoutes(server: FastifyInstance, services: Services): void {
  server.get('/v1/health', () => ({ status: 'ok' }));
  server.get('/v1/mesh', () => getMesh(services));
}

/** All JSON routes; a body of any content type is read as JSON. */
export function addJsonRoutes(server: FastifyInstance, services: Services): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', async (_request: FastifyRequest, payload: IncomingMessage) => {
    const body = await readBody(payload, {
      bytesMax: jsonBytesMax,
      timeoutMs: services.settings.bodyTimeoutMs,
    });
    return parseJson(body);
  });
  for (const route of routes) {
    server.route({
      method: route.method,
      url: route.url,
      handler: async (request, reply) => {
        const input = inputOf(request, route.query);
        const output = await operations[route.operation](contextOf(services, request), input);
        reply.status(isCreated(route, output) ? 201 : 200);
        return route.envelope === undefined ? output : { [route.envelope]: output };
      },
    });
  }
}

function isCreated(route: JsonRoute, output: object): boolean {
  if (route.created === undefined) return false;
  return route.created === 'always' || ('created' in output && output.created === true);
}

function parseJson(body: Buffer): unknown {
  // `POST …/cancel` has nothing to say; some clients say it as an empty JSON body.
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new PerigeeError('invalid_request', 'The body is not JSON.', {
      cause,
      fix: 'Send one JSON object, UTF-8.',
    });
  }
}
