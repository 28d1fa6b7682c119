import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Stream } from '@libp2p/interface';
import { afterEach, expect, it } from 'vitest';
import { openBlobCache } from '../../../../node-agent/mesh/blob-cache.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { serveBlobs } from '../../../../protocol/net/blob-transfer.ts';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import { blobProtocol } from '../../../../protocol/wire/messages.ts';
import { startCuttingProxy } from '../../../net/cutting-proxy.ts';
import { createHostPair } from '../../protocol/net/hosts.ts';

const mib = 1024 ** 2;
let folder = '';
afterEach(() => rm(folder, { recursive: true, force: true }));

async function openCache(options: { cutsMax: number; serve?: Uint8Array; left?: Uint8Array }) {
  folder = await mkdtemp(join(tmpdir(), 'perigee-blob-cache-'));
  const bytes = Buffer.alloc(40 * mib, 'scene');
  const hash = createHash('sha256').update(bytes).digest('hex') as BlobHash;
  if (options.left !== undefined) await writeFile(join(folder, hash), options.left);
  const offsets: number[] = [];
  const streams: Stream[] = [];
  const pair = await createHostPair();
  const served = options.serve ?? bytes;
  await pair.server.handle(
    blobProtocol,
    (stream) => {
      streams.push(stream);
      return serveBlobs(stream, {
        size: async () => served.length,
        async *read(_hash, offset) {
          offsets.push(offset);
          for (let at = offset; at < served.length; at += 65_536) {
            yield served.subarray(at, at + 65_536);
          }
        },
        write: async () => {
          throw new PerigeeError('forbidden');
        },
      });
    },
    { streamsMax: 4 },
  );
  const port = Number(/\/tcp\/(\d+)/.exec(pair.address)?.[1]);
  const proxy = await startCuttingProxy({ port, bytesMax: 12 * mib, cutsMax: options.cutsMax });
  const cache = await openBlobCache(pair.client, {
    folder,
    address: pair.address.replace(/\/tcp\/\d+/, `/tcp/${proxy.port}`),
    bytesMax: 100 * mib,
    dialMsMax: 10_000,
  });
  return {
    ...{ bytes, hash, offsets, streams, cache, proxy },
    async [Symbol.asyncDispose]() {
      await cache.close();
      await proxy[Symbol.asyncDispose]();
      await pair[Symbol.asyncDispose]();
    },
  };
}

it('goes on with a blob where the line broke, and checks all of it', async () => {
  await using bench = await openCache({ cutsMax: 2 });
  const { cache, hash } = bench;
  for (let cut = 0; cut < 2; cut += 1) await expect(cache.fetch(hash)).rejects.toThrow();
  await cache.fetch(hash);
  expect(Buffer.compare(await readFile(cache.pathOf(hash)), bench.bytes)).toBe(0);
  expect(bench.offsets).toHaveLength(3);
  expect(bench.offsets[0]).toBe(0);
  // What the line had brought but nobody had read yet, a window at most, goes with it.
  expect(bench.offsets[1]).toBeGreaterThan(0);
  expect(bench.offsets[2]).toBeGreaterThan(bench.offsets[1] ?? 0);
});

it('throws away what turns out to be another blob', async () => {
  await using bench = await openCache({ cutsMax: 0, serve: Buffer.alloc(mib, 'other') });
  await expect(bench.cache.fetch(bench.hash)).rejects.toMatchObject({ code: 'invalid_request' });
  expect(await readdir(folder)).toEqual([]);
});

it('uses what an earlier run left when it is the blob', async () => {
  await using bench = await openCache({ cutsMax: 0, left: Buffer.alloc(40 * mib, 'scene') });
  await Promise.all([bench.cache.fetch(bench.hash), bench.cache.fetch(bench.hash)]);
  await bench.cache.fetch(bench.hash);
  expect(bench.offsets).toEqual([]);
});

it.each([
  ['nothing', Buffer.alloc(0)],
  ['zeros', Buffer.alloc(40 * mib)],
])('fetches a blob again of which a power cut left %s', async (_, left) => {
  await using bench = await openCache({ cutsMax: 0, left });
  await Promise.all([bench.cache.fetch(bench.hash), bench.cache.fetch(bench.hash)]);
  expect(bench.offsets).toEqual([0]);
  expect(Buffer.compare(await readFile(bench.cache.pathOf(bench.hash)), bench.bytes)).toBe(0);
});

it('keeps no stream open of a blob that it cannot write', async () => {
  await using bench = await openCache({ cutsMax: 0 });
  await rm(folder, { recursive: true });
  await expect(bench.cache.fetch(bench.hash)).rejects.toThrow('ENOENT');
  await expect.poll(() => bench.streams[0]?.status).not.toBe('open');
});
