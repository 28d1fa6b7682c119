/** The HTTP edge: fastify with the routes, bounds against slow clients, and problems for every error. */
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyServerFactoryHandler } from 'fastify';
import { fastify } from 'fastify';
import { errorTable, PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { Services } from '../services.ts';
import { addBootRoutes } from './boot-routes.ts';
import { addBatchRoutes, addBlobRoutes, addStreamRoutes } from './byte-routes.ts';
import { admit } from './call.ts';
import { addJsonRoutes, addOpenRoutes } from './json-routes.ts';
import { checkListen } from './listen-rule.ts';
import { addOutputRoutes } from './output-routes.ts';
import { coerceError, problemHeaders, problemOf } from './problems.ts';
import { declaredBytes, discardBody, discardBytesMax } from './read-body.ts';
import { addStacRoutes } from './stac-routes.ts';

/** A request line and headers longer than this are refused. */
const headBytesMax = 16 * 1024;
const headersCountMax = 100;
/** How long a stop waits for answers that are under way. */
const stopGraceMs = 2_000;

/** The listening edge. */
export interface HttpEdge {
  /** @throws PerigeeError insecure_listen, port_taken */
  start(): Promise<{ url: string }>;
  stop(): Promise<void>;
}

/** An edge that does not listen yet. */
export function createHttpEdge(services: Services): HttpEdge {
  const { settings } = services;
  const server = createFastify(services);
  return {
    async start() {
      checkListen(settings);
      try {
        await server.listen({ host: settings.host, port: settings.port });
      } catch (caught) {
        throw listenError(toError(caught), settings);
      }
      return { url: urlOf(server, settings) };
    },
    async stop() {
      const raw = server.server;
      const timer = setTimeout(() => raw.closeAllConnections(), stopGraceMs);
      // Idle keep-alive connections would else hold the close until their timeout.
      raw.closeIdleConnections();
      try {
        await server.close();
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function createFastify(services: Services): FastifyInstance {
  const { settings, deps } = services;
  const server = fastify({
    logger: false,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    trustProxy: settings.behindProxy,
    routerOptions: { maxParamLength: 512 },
    serverFactory: (handler) => listenFor(services, handler),
    frameworkErrors: (error, _request, reply) => {
      const problem = coerceError(error, deps.log);
      reply.hijack();
      reply.raw.writeHead(problem.httpStatus, problemHeaders(problem));
      reply.raw.end(JSON.stringify(problemOf(problem)));
    },
  });
  server.addHook('onRequest', async (_request, reply) => {
    if (services.streams.isClosed) throw new PerigeeError('draining');
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  });
  server.setErrorHandler((error, request, reply) => {
    const problem = coerceError(error, deps.log);
    const declared = declaredBytes(request.raw);
    const { idleTimeoutMs: idleMs } = settings;
    const isTooLong = declared !== null && declared > discardBytesMax;
    // A body that was read to its end leaves the connection as good as before, though fastify closes
    // it for every body that is refused; the rest of an endless one is not worth waiting for.
    if (request.raw.complete) reply.removeHeader('connection');
    else if (isTooLong || problem.code === 'timed_out') reply.header('connection', 'close');
    // Node reads on by itself only where nobody had begun to.
    else void discardBody(request.raw, { bytesMax: discardBytesMax, idleMs });
    // As bytes: fastify would add a charset to a text, which the type does not have.
    return reply
      .status(problem.httpStatus)
      .headers(problemHeaders(problem))
      .send(Buffer.from(JSON.stringify(problemOf(problem))));
  });
  server.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0] ?? '';
    throw new PerigeeError('not_found', `There is no ${request.method} ${path.slice(0, 200)}.`, {
      fix: 'docs/api.md lists the calls.',
    });
  });
  addOpenRoutes(server, services);
  if (deps.boot !== undefined) addBootRoutes(server, deps.boot);
  server.register(async (scope) => guarded(scope, services, addJsonRoutes));
  server.register(async (scope) => guarded(scope, services, addBatchRoutes));
  server.register(async (scope) => guarded(scope, services, addBlobRoutes));
  server.register(async (scope) => guarded(scope, services, addStreamRoutes));
  server.register(async (scope) => guarded(scope, services, addOutputRoutes));
  server.register(async (scope) => guarded(scope, services, addStacRoutes));
  return server;
}

function guarded(
  scope: FastifyInstance,
  services: Services,
  add: (scope: FastifyInstance, services: Services) => void,
): void {
  // Before the body: nobody uploads anything without a token.
  scope.addHook('onRequest', (request) => admit(services, request));
  add(scope, services);
}

function listenFor(services: Services, handler: FastifyServerFactoryHandler): Server {
  const { tls, headersTimeoutMs, keepAliveTimeoutMs, connectionsMax } = services.settings;
  const options = {
    maxHeaderSize: headBytesMax,
    // How often Node looks for heads that are late; its default of 30 s would double the bound.
    connectionsCheckingInterval: Math.max(100, Math.floor(headersTimeoutMs / 4)),
  };
  const server =
    tls === null
      ? createHttpServer(options)
      : createHttpsServer({ ...options, cert: tls.cert, key: tls.key, minVersion: 'TLSv1.2' });
  server.on('request', handler);
  server.headersTimeout = headersTimeoutMs;
  // Uploads may take as long as they move: each body has a bound of its own (`read-body.ts`).
  server.requestTimeout = 0;
  server.keepAliveTimeout = keepAliveTimeoutMs;
  server.maxConnections = connectionsMax;
  server.maxHeadersCount = headersCountMax;
  server.on('clientError', (error, socket) => refuseGarbage(toError(error), socket));
  return server;
}

/** What is not HTTP gets a problem all the same, by hand: there is no request to answer. */
function refuseGarbage(error: Error, socket: Duplex): void {
  if (!socket.writable || ('code' in error && error.code === 'ECONNRESET')) {
    socket.destroy();
    return;
  }
  const problem = new PerigeeError('invalid_request', `That is not a request: ${error.message}.`);
  const body = JSON.stringify(problemOf(problem));
  const head = [
    `HTTP/1.1 ${errorTable.invalid_request.httpStatus} Bad Request`,
    ...Object.entries(problemHeaders(problem)).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function listenError(error: Error, settings: { host: string; port: number }): Error {
  const code = 'code' in error ? error.code : undefined;
  if (code !== 'EADDRINUSE' && code !== 'EACCES') return error;
  const why = code === 'EACCES' ? 'may not be used by this user' : 'is in use';
  return new PerigeeError('port_taken', `Port ${settings.port} on ${settings.host} ${why}.`, {
    cause: error,
    fix: 'Choose another with --port, or 0 for any free one.',
  });
}

function urlOf(server: FastifyInstance, settings: { host: string; tls: object | null }): string {
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  // A wildcard is no place to connect to: from this machine, loopback is.
  const host = { '0.0.0.0': '127.0.0.1', '::': '[::1]', '::1': '[::1]' }[settings.host];
  return `${settings.tls === null ? 'http' : 'https'}://${host ?? settings.host}:${port}`;
}
