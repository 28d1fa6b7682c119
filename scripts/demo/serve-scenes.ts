/** A web server of the demo's scenes, as an archive would be one: ranges, versions, and a count of what it gave. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface SceneServer extends AsyncDisposable {
  host: string;
  /** Bytes of scenes that were sent. */
  bytesSent: number;
}

export async function serveScenes(folder: string): Promise<SceneServer> {
  const scenes = new Map<string, { bytes: Buffer; etag: string }>(
    readdirSync(folder)
      .filter((name) => name.endsWith('.tif'))
      .map((name) => {
        const bytes = readFileSync(join(folder, name));
        const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`;
        return [`/${name}`, { bytes, etag }] as const;
      }),
  );
  const server = createServer((request, response) => {
    const scene = scenes.get(request.url ?? '');
    if (scene === undefined) {
      response.writeHead(404).end();
      return;
    }
    const { bytes, etag } = scene;
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const from = Number(range?.[1] ?? 0);
    const part = bytes.subarray(from, Number(range?.[2] ?? bytes.length - 1) + 1);
    response.writeHead(range === null ? 200 : 206, {
      etag,
      'accept-ranges': 'bytes',
      'content-length': part.length,
      ...(range === null
        ? {}
        : { 'content-range': `bytes ${from}-${from + part.length - 1}/${bytes.length}` }),
    });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    own.bytesSent += part.length;
    response.end(part);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const own: SceneServer = {
    host: `127.0.0.1:${port}`,
    bytesSent: 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return own;
}
