import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Stream } from '@libp2p/interface';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  createResultUploads,
  type ResultUploads,
  uploadsAtOnceMax,
} from '../../../../node-agent/mesh/upload-result.ts';
import { createHeldResults } from '../../../../node-agent/runner/held-results.ts';
import { serveBlobs } from '../../../../protocol/net/blob-transfer.ts';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import { blobProtocol } from '../../../../protocol/wire/messages.ts';
import { createHostPair, type HostPair } from '../../protocol/net/hosts.ts';

let folder: string;
let pair: HostPair;
let stopping: AbortController;
let uploads: ResultUploads;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-uploads-'));
  pair = await createHostPair();
  // An agent has a session before it has anything to hand in.
  await pair.openStream();
  stopping = new AbortController();
  uploads = createResultUploads(
    { host: pair.client, results: createHeldResults(), stopping: stopping.signal },
    { address: pair.address, dialMsMax: 30_000 },
  );
});
afterEach(async () => {
  await pair[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

function makeOutput(name: string) {
  const path = join(folder, name);
  const bytes = randomBytes(100_000);
  writeFileSync(path, bytes);
  const hash = createHash('sha256').update(bytes).digest('hex') as BlobHash;
  return { path, hash, sizeBytes: bytes.length };
}

/** Files below the folder that this process has open. */
const openFiles = (): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      // It was that of this very look.
      return [];
    }
  });

it('has no file open of an upload whose stream was refused', async () => {
  await pair.server.handle(blobProtocol, () => undefined, { streamsMax: 1 });
  const signal = AbortSignal.timeout(30_000);
  const kept = await pair.client.open(pair.address, blobProtocol, { signal });
  for (let count = 0; count < 5; count += 1) {
    await expect(uploads.uploadOutput(makeOutput(`${count}`))).rejects.toThrow();
    await expect(uploads.upload({ path: makeOutput(`r${count}`).path, tag: 1 })).rejects.toThrow();
  }
  // To open a file takes the thread pool a moment.
  await pause(100);
  await expect.poll(openFiles).toEqual([]);
  expect(readdirSync(folder)).toHaveLength(10);
  kept.abort(new Error('enough'));
});

it('opens fewer streams at once than a coordinator takes, for results and outputs', async () => {
  let openCount = 0;
  let openMax = 0;
  const serve = async (stream: Stream): Promise<void> => {
    openCount += 1;
    openMax = Math.max(openMax, openCount);
    await serveBlobs(stream, {
      size: async () => 0,
      async *read() {},
      async write(_, bytes) {
        for await (const part of bytes) void part;
        await pause(50);
        openCount -= 1;
      },
    });
  };
  await pair.server.handle(blobProtocol, serve, { streamsMax: 32 });
  const names = Array.from({ length: 40 }, (_, at) => `${at}`);
  await Promise.all(
    names.map((name, at) => {
      const output = makeOutput(name);
      return at % 2 === 0
        ? uploads.uploadOutput(output)
        : uploads.upload({ path: output.path, tag: 1 });
    }),
  );
  expect(openMax).toBe(uploadsAtOnceMax);
  expect(readdirSync(folder)).toEqual([]);
});

it('gives up what is under way, and what waits its turn, when the agent stops', async () => {
  let servedCount = 0;
  await pair.server.handle(
    blobProtocol,
    () => {
      servedCount += 1;
    },
    { streamsMax: 32 },
  );
  const names = Array.from({ length: uploadsAtOnceMax + 3 }, (_, at) => `${at}`);
  const ended = Promise.allSettled(names.map((name) => uploads.uploadOutput(makeOutput(name))));
  await expect.poll(() => servedCount, { timeout: 20_000 }).toBe(uploadsAtOnceMax);
  stopping.abort();
  for (const { status } of await ended) expect(status).toBe('rejected');
  expect(servedCount).toBe(uploadsAtOnceMax);
  await expect.poll(openFiles).toEqual([]);
});
