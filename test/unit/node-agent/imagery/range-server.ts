/** An HTTP origin that serves ranges, keeps a log, and misbehaves on demand. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Fault =
  | 'status500'
  | 'status503'
  | 'status403'
  | 'shortBody'
  | 'ignoresRange'
  | 'stalls'
  | 'wrongContentRange'
  | 'redirectsToMetadata'
  | 'resets';

export interface RangeServer extends AsyncDisposable {
  host: string;
  url(path: string): string;
  /** Body bytes sent for GETs. */
  bytesSent: number;
  gets: number;
  heads: number;
  /** The next GETs fail so, one each. */
  faults: Fault[];
  /** Content by path; a change of the array is a change of the object. */
  files: Map<string, Uint8Array>;
  /** By path; an empty one is left out of the answers. */
  etags: Map<string, string>;
  headers: IncomingMessage['headers'][];
  /** Called before a GET is answered, to change what it finds. */
  beforeGet: ((path: string) => void) | null;
}

export async function startRangeServer(): Promise<RangeServer> {
  const server = createServer((request, response) => {
    serve(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const own: RangeServer = {
    host: `127.0.0.1:${port}`,
    url: (path) => `http://127.0.0.1:${port}${path}`,
    bytesSent: 0,
    gets: 0,
    heads: 0,
    faults: [],
    files: new Map(),
    etags: new Map(),
    headers: [],
    beforeGet: null,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return own;

  function serve(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    own.headers.push(request.headers);
    if (request.method === 'GET') {
      own.gets += 1;
      own.beforeGet?.(path);
    }
    const file = own.files.get(path);
    if (file === undefined) {
      response.writeHead(404).end('no such scene');
      return;
    }
    const etag = own.etags.get(path) ?? '"v1"';
    const headers: Record<string, string> = {
      ...(etag === '' ? {} : { etag }),
      'accept-ranges': 'bytes',
    };
    if (request.method === 'HEAD') {
      own.heads += 1;
      response.writeHead(200, { ...headers, 'content-length': String(file.length) }).end();
      return;
    }
    const fault = own.faults.shift();
    const wanted = request.headers['if-match'];
    if (wanted !== undefined && wanted !== etag) {
      response.writeHead(412).end('precondition failed');
      return;
    }
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const from = Number(match?.[1] ?? 0);
    const to = Math.min(file.length - 1, Number(match?.[2] ?? file.length - 1));
    const body = file.subarray(from, to + 1);
    const range = `bytes ${from}-${to}/${file.length}`;
    const send = (bytes: Uint8Array): void => {
      own.bytesSent += bytes.length;
      response.end(bytes);
    };
    switch (fault) {
      case 'status500':
        response.writeHead(500).end('the disk is on fire');
        return;
      case 'status503':
        response.writeHead(503, { 'retry-after': '0' }).end('slow down');
        return;
      case 'status403':
        response.writeHead(403).end('not for you');
        return;
      case 'ignoresRange':
        response.writeHead(200, headers);
        send(file);
        return;
      case 'stalls':
        response.writeHead(206, { ...headers, 'content-range': range });
        response.write(body.subarray(0, 10));
        return;
      case 'redirectsToMetadata':
        response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end();
        return;
      case 'resets':
        request.socket.destroy();
        return;
      case 'wrongContentRange':
        response.writeHead(206, { ...headers, 'content-range': `bytes 1-2/${file.length}` });
        send(body);
        return;
      case 'shortBody':
        response.writeHead(206, { ...headers, 'content-range': range });
        send(body.subarray(0, body.length - 1));
        return;
      default:
        response.writeHead(206, { ...headers, 'content-range': range });
        send(body);
    }
  }
}

/** Bytes that differ at every place, the same each time. */
export function makeBytes(length: number, seed = 1): Uint8Array {
  const bytes = new Uint32Array(Math.ceil(length / 4));
  let state = seed;
  for (let at = 0; at < bytes.length; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state;
  }
  return new Uint8Array(bytes.buffer, 0, length);
}
