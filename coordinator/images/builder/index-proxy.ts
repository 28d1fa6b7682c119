/**
 * The only way out of a build's sandbox: an HTTP proxy on a unix socket that is bound into it. It
 * lets through connections to the hosts of the machine's package indexes, and nothing else.
 */

import type { IncomingMessage } from 'node:http';
import { createServer, request } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';

export interface IndexProxy extends AsyncDisposable {
  /** What was asked for and refused, as `host:port`. */
  refused: ReadonlySet<string>;
}

/** Opens the socket. @throws of the file system */
export async function openIndexProxy(
  path: string,
  options: { hosts: ReadonlySet<string>; proxy: URL | null },
): Promise<IndexProxy> {
  const refused = new Set<string>();
  const open = new Set<Duplex>();
  const allows = (place: string): boolean => {
    if (options.hosts.has(place)) return true;
    refused.add(place);
    return false;
  };
  const server = createServer((incoming, answer) => {
    const url = URL.canParse(incoming.url ?? '') ? new URL(incoming.url ?? '') : null;
    const place = url === null ? '' : `${url.hostname}:${url.port || '80'}`;
    if (url?.protocol !== 'http:' || !allows(place)) {
      answer.writeHead(403).end(refusal(place));
      return;
    }
    const { proxy } = options;
    const onward = request({
      host: proxy?.hostname ?? url.hostname,
      port: proxy === null ? url.port || 80 : proxy.port || 80,
      path: proxy === null ? `${url.pathname}${url.search}` : url.href,
      method: incoming.method,
      headers: { ...incoming.headers, host: url.host, ...authorization(proxy) },
    });
    onward.on('response', (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(answer);
    });
    onward.on('error', (error) => {
      if (answer.headersSent) answer.destroy();
      else answer.writeHead(502).end(error.message);
    });
    incoming.pipe(onward);
  });
  server.on('connect', (incoming: IncomingMessage, client: Duplex, head: Buffer) => {
    const place = incoming.url ?? '';
    open.add(client);
    client.on('close', () => open.delete(client));
    client.on('error', () => client.destroy());
    if (!allows(place)) {
      client.end(`HTTP/1.1 403 Forbidden\r\n\r\n${refusal(place)}`);
      return;
    }
    const onward = dial(place, options.proxy);
    onward.on('error', () => client.destroy());
    client.on('close', () => onward.destroy());
    onward.once('connect', () => {
      // A proxy of the machine answers the CONNECT itself; its answer passes through.
      if (options.proxy === null) client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      if (head.length > 0) onward.write(head);
      onward.pipe(client);
      client.pipe(onward);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, writableAll: true }, resolve);
  });
  return {
    refused,
    async [Symbol.asyncDispose]() {
      for (const stream of open) stream.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function dial(place: string, proxy: URL | null): Socket {
  const colon = place.lastIndexOf(':');
  if (proxy === null) return connect(Number(place.slice(colon + 1)), place.slice(0, colon));
  const socket = connect(Number(proxy.port || 80), proxy.hostname);
  const headers = Object.entries(authorization(proxy)).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n${headers.join('')}\r\n`);
  return socket;
}

function authorization(proxy: URL | null): Record<string, string> {
  if (proxy === null || proxy.username === '') return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

function refusal(place: string): string {
  return `Builds reach the package index only, not ${place}.\n`;
}
