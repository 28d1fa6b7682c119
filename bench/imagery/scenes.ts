/** Scenes to measure with, made of the demo's by GDAL's programs, and an origin with latency. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { checkout } from '../product/mesh.ts';

const source = join(checkout, 'scripts/demo/scenes/L7_ETMs.tif');

/** What the origin takes before it answers, as one some way off does. */
export const latencyMs = 20;

export interface BenchScenes {
  /** Compressed and tiled; above the size that is kept whole. */
  filled: string;
  /** Compressed and tiled; kept whole. */
  whole: string;
  /** Uncompressed; kept whole. */
  raw: string;
}

/** Makes them in a folder; `side` is the width and height of the large one in pixels. */
export function makeScenes(folder: string, side: number): BenchScenes {
  const make = (name: string, pixels: number, options: readonly string[]): string => {
    const size = ['-outsize', String(pixels), String(pixels), '-r', 'bilinear'];
    const bands = [
      '-b',
      '2',
      '-b',
      '3',
      '-b',
      '4',
      '-ot',
      'UInt16',
      '-scale',
      '0',
      '255',
      '0',
      '10000',
    ];
    const path = join(folder, name);
    const created = options.flatMap((option) => ['-co', option]);
    execFileSync('gdal_translate', ['-q', ...bands, ...size, ...created, source, path]);
    return path;
  };
  const tiled = [
    'TILED=YES',
    'BLOCKXSIZE=512',
    'BLOCKYSIZE=512',
    'COMPRESS=DEFLATE',
    'PREDICTOR=2',
  ];
  return {
    filled: make('filled.tif', side, tiled),
    whole: make('whole.tif', Math.floor(side / 2), tiled),
    raw: make('raw.tif', 2_300, ['INTERLEAVE=BAND']),
  };
}

/** Serves the same scene under every path that ends in `/scene.tif`, each with its own ETag. */
export async function startOrigin(
  files: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { url: string; host: string }> {
  const contents = Object.entries(files).map(([name, path]) => [name, readFileSync(path)] as const);
  const answer = (
    response: ServerResponse,
    url: string,
    asked: { method: string; range: string },
  ) => {
    const file = contents.find(([name]) => url.endsWith(`/${name}`))?.[1];
    if (file === undefined) return response.writeHead(404).end('no such scene');
    const headers = { etag: JSON.stringify(url), 'accept-ranges': 'bytes' };
    const match = /^bytes=(\d+)-(\d*)$/.exec(asked.range);
    if (asked.method === 'HEAD' || match === null) {
      response.writeHead(200, { ...headers, 'content-length': String(file.length) });
      return response.end(asked.method === 'HEAD' ? undefined : file);
    }
    const from = Number(match[1]);
    const to = Math.min(file.length - 1, match[2] === '' ? file.length - 1 : Number(match[2]));
    const body = file.subarray(from, to + 1);
    response.writeHead(206, {
      ...headers,
      'content-range': `bytes ${from}-${to}/${file.length}`,
      'content-length': String(body.length),
    });
    return response.end(body);
  };
  const server = createServer((request, response) => {
    const asked = { method: request.method ?? 'GET', range: request.headers.range ?? '' };
    pause(latencyMs).then(
      () => answer(response, request.url ?? '', asked),
      () => response.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    url: `http://${host}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
