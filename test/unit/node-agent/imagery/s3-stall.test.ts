/** A server of S3's API that falls silent, before an answer and in the middle of one. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { parseCredentials } from '../../../../node-agent/imagery/origins/credentials.ts';
import { namespace, openCache } from './caches.ts';
import { makeBytes } from './range-server.ts';

const scene = makeBytes(300_000, 3);

it('S3 that falls silent is asked again, before an answer and in its body', async () => {
  let heads = 0;
  let gets = 0;
  const answerHead = (response: ServerResponse): void => {
    heads += 1;
    if (heads === 1) return;
    response.writeHead(200, { etag: '"v1"', 'content-length': scene.length }).end();
  };
  const answerGet = (response: ServerResponse): void => {
    gets += 1;
    response.writeHead(206, {
      etag: '"v1"',
      'content-length': scene.length,
      'content-range': `bytes 0-${scene.length - 1}/${scene.length}`,
    });
    if (gets === 1) response.write(scene.subarray(0, 10));
    else response.end(scene);
  };
  const server = createServer((request, response) => {
    if (request.method === 'HEAD') answerHead(response);
    else answerGet(response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const s3 = { accessKeyId: 'reader', secretAccessKey: 'secret', endpoint };
  const credentials = parseCredentials({
    namespaces: { 'team-a': [{ match: 's3://scenes/', s3 }] },
  });
  try {
    await using test = await openCache({ credentials, stallMsMax: 500 });
    const signal = AbortSignal.timeout(15_000);
    const request = { uri: 's3://scenes/scene.tif', namespace };
    const version = await test.cache.stat(request, signal);
    const range = { offset: 0, length: scene.length };
    const bytes = await test.cache.read(version, range, { namespace, signal });
    expect(Buffer.compare(bytes, scene)).toBe(0);
    expect(heads).toBeGreaterThan(1);
    expect(gets).toBeGreaterThan(1);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}, 30_000);
