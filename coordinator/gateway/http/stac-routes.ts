/** The STAC API below `/v1/stac`: what pystac-client and its like speak, and the changes. */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import { jsonBytesMax } from '../../../protocol/wire/limits.ts';
import { mediaTypes } from '../../stac/documents.ts';
import type { Owner } from '../../stac/port.ts';
import { readNamespace, requireOperator, requireWriter } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readBooleanOr, readObject, refuseUnknownFields } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import { contextOf } from './call.ts';
import { readBody } from './read-body.ts';
import { conformanceClasses, landingPage, openApi, queryables } from './stac-pages.ts';

/** Of the items of one call. */
const itemsBytesMax = 32 * 1024 * 1024;

/** A request as a route sees it. */
interface Call {
  context: Context;
  request: FastifyRequest;
  /** The address of the API as the client wrote it. */
  root: string;
  parameter(name: string): string;
}

interface Answer {
  body: object | Uint8Array;
  type?: string;
  status?: number;
  location?: string;
}

interface StacRoute {
  method: 'GET' | 'POST' | 'DELETE';
  url: string;
  answer: (call: Call) => Answer | Promise<Answer>;
}

const routes: readonly StacRoute[] = [
  { method: 'GET', url: '/v1/stac', answer: getLanding },
  {
    method: 'GET',
    url: '/v1/stac/conformance',
    answer: () => ({ body: { conformsTo: conformanceClasses } }),
  },
  {
    method: 'GET',
    url: '/v1/stac/api',
    answer: ({ root }) => ({
      body: openApi(root),
      type: 'application/vnd.oai.openapi+json;version=3.0',
    }),
  },
  { method: 'GET', url: '/v1/stac/queryables', answer: getQueryables },
  { method: 'GET', url: '/v1/stac/collections', answer: getCollections },
  { method: 'POST', url: '/v1/stac/collections', answer: putCollection },
  { method: 'GET', url: '/v1/stac/collections/:collection', answer: getCollection },
  { method: 'DELETE', url: '/v1/stac/collections/:collection', answer: removeCollection },
  {
    method: 'GET',
    url: '/v1/stac/collections/:collection/queryables',
    answer: getQueryablesOfCollection,
  },
  { method: 'GET', url: '/v1/stac/collections/:collection/items', answer: getItems },
  { method: 'POST', url: '/v1/stac/collections/:collection/items', answer: putItems },
  { method: 'GET', url: '/v1/stac/collections/:collection/items/:item', answer: getItem },
  { method: 'DELETE', url: '/v1/stac/collections/:collection/items/:item', answer: removeItem },
  { method: 'GET', url: '/v1/stac/search', answer: search },
  { method: 'POST', url: '/v1/stac/search', answer: search },
];

/** All of them; bodies are read as bytes, whatever their content type. */
export function addStacRoutes(server: FastifyInstance, services: Services): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request: FastifyRequest, payload: IncomingMessage) =>
    readBody(payload, { bytesMax: itemsBytesMax, timeoutMs: services.settings.bodyTimeoutMs }),
  );
  for (const route of routes) {
    server.route({
      method: route.method,
      url: route.url,
      handler: async (request, reply) => {
        const parameters = readObject(request.params ?? {}, 'The path');
        const answer = await route.answer({
          context: contextOf(services, request),
          request,
          root: rootOf(request),
          parameter: (name) => String(parameters[name]),
        });
        const { body } = answer;
        if (answer.location !== undefined) reply.header('location', answer.location);
        // As bytes: fastify would add a charset to a text.
        const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
        return reply
          .status(answer.status ?? 200)
          .header('content-type', answer.type ?? mediaTypes.json)
          .send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      },
    });
  }
}

async function getLanding({ context, root }: Call): Promise<Answer> {
  const { namespace } = context.caller;
  const bytes = await context.deps.stac.call('listCollections', { namespace, root: null });
  const { collections } = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
    collections: { id: string; title?: string }[];
  };
  return { body: landingPage(root, { namespace, collections }) };
}

function getQueryables({ root }: Call): Answer {
  return { body: queryables(`${root}/queryables`), type: 'application/schema+json' };
}

async function getQueryablesOfCollection(call: Call): Promise<Answer> {
  const id = call.parameter('collection');
  // Of one that there is.
  await getCollection(call);
  const url = `${call.root}/collections/${encodeURIComponent(id)}/queryables`;
  return { body: queryables(url), type: 'application/schema+json' };
}

async function getCollections({ context, root }: Call): Promise<Answer> {
  const { namespace } = context.caller;
  return { body: await context.deps.stac.call('listCollections', { namespace, root }) };
}

async function getCollection({ context, root, parameter }: Call): Promise<Answer> {
  const { namespace } = context.caller;
  const viewer = { namespace, root, id: parameter('collection') };
  return { body: await context.deps.stac.call('getCollection', viewer) };
}

async function getItem({ context, root, parameter }: Call): Promise<Answer> {
  const { namespace } = context.caller;
  const viewer = { namespace, root, collection: parameter('collection'), id: parameter('item') };
  return { body: await context.deps.stac.call('getItem', viewer), type: mediaTypes.geojson };
}

async function getItems(call: Call): Promise<Answer> {
  const { context, root, request, parameter } = call;
  // An unknown collection has no page of no items.
  await getCollection(call);
  const id = parameter('collection');
  const url = `${root}/collections/${encodeURIComponent(id)}/items`;
  const parameters = readObject(request.query ?? {}, 'The query');
  return {
    body: await context.deps.stac.call('search', {
      namespace: context.caller.namespace,
      root,
      parameters,
      page: { method: 'GET', url, collections: [id] },
    }),
    type: mediaTypes.geojson,
  };
}

async function search({ context, request, root }: Call): Promise<Answer> {
  const isPost = request.method === 'POST';
  return {
    body: await context.deps.stac.call('search', {
      namespace: context.caller.namespace,
      root,
      parameters: isPost ? readJson(request) : readObject(request.query ?? {}, 'The query'),
      page: { method: isPost ? 'POST' : 'GET', url: `${root}/search` },
    }),
    type: mediaTypes.geojson,
  };
}

async function putCollection({ context, request, root }: Call): Promise<Answer> {
  const owner = readOwner(context, request);
  const document = readJson(request);
  await context.deps.disk.assertRoom(jsonBytesMax);
  const put = await context.deps.stac.call('putCollection', { owner, document });
  const location = `${root}/collections/${encodeURIComponent(put.id)}`;
  return { body: put, status: put.created ? 201 : 200, location };
}

async function putItems({ context, request, parameter }: Call): Promise<Answer> {
  const owner = readOwner(context, request);
  const { body } = request;
  const bytes = body instanceof Uint8Array ? body : new Uint8Array(0);
  request.body = undefined;
  // Twice: in the log first.
  await context.deps.disk.assertRoom(2 * bytes.length);
  const collection = parameter('collection');
  const put = await context.deps.stac.call('putItems', { owner, collection, bytes });
  return { body: put, status: put.created > 0 ? 201 : 200 };
}

async function removeCollection({ context, request, parameter }: Call): Promise<Answer> {
  const input = { owner: readOwner(context, request), id: parameter('collection') };
  return { body: await context.deps.stac.call('removeCollection', input) };
}

async function removeItem({ context, request, parameter }: Call): Promise<Answer> {
  const owner = readOwner(context, request);
  const input = { owner, collection: parameter('collection'), id: parameter('item') };
  return { body: await context.deps.stac.call('removeItem', input) };
}

/** Whose collections the call changes: the token's own, or what an operator says. */
function readOwner(context: Context, request: FastifyRequest): Owner {
  requireWriter(context.caller);
  const query = readObject(request.query ?? {}, 'The query');
  refuseUnknownFields(query, ['namespace', 'shared'], 'The query');
  const words: Readonly<Record<string, boolean>> = { true: true, false: false };
  const shared = { shared: words[String(query['shared'])] ?? query['shared'] };
  if (!readBooleanOr(shared, 'shared', false)) return readNamespace(context.caller, query);
  requireOperator(context.caller);
  return null;
}

/** @throws PerigeeError invalid_request, too_large */
function readJson(request: FastifyRequest): Input {
  const bytes = request.body instanceof Uint8Array ? request.body : new Uint8Array(0);
  if (bytes.length > jsonBytesMax) {
    throw new PerigeeError('too_large', `The body is over the limit of ${jsonBytesMax} bytes.`);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new PerigeeError('invalid_request', 'The body is not JSON.', {
      cause,
      fix: 'Send one JSON object, UTF-8.',
    });
  }
  return readObject(value, 'The body');
}

/** From what the client wrote: links must lead where it came from. */
function rootOf(request: FastifyRequest): string {
  const host = /^[\w.:[\]-]+$/.test(request.host) ? request.host : 'localhost';
  return `${request.protocol}://${host}/v1/stac`;
}
