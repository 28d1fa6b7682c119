import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Stream } from '@libp2p/interface';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { BlobSource } from '../../../../protocol/net/blob-transfer.ts';
import {
  fetchBlob,
  putBlob,
  serveBlobs,
  verifyBlob,
} from '../../../../protocol/net/blob-transfer.ts';
import { type TransferWaits, transferWaits } from '../../../../protocol/net/limits.ts';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import type { HostPair } from './hosts.ts';
import { createHostPair } from './hosts.ts';

const mb = 1_000_000;

const hashOf = (bytes: Uint8Array): BlobHash =>
  createHash('sha256').update(bytes).digest('hex') as BlobHash;

async function* chunksOf(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += size)
    yield bytes.subarray(start, start + size);
}

async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of bytes) parts.push(part);
  return Buffer.concat(parts);
}

/** Blobs in a map: what a store does behind the protocol is tested with the store. */
function createSource(blobs: Map<BlobHash, Uint8Array>): BlobSource {
  return {
    async size(hash) {
      const found = blobs.get(hash);
      if (found === undefined) throw new PerigeeError('not_found');
      return found.length;
    },
    read: (hash, offset) => chunksOf((blobs.get(hash) ?? Buffer.alloc(0)).subarray(offset)),
    async write(hash, bytes, { sizeBytes }) {
      if (sizeBytes > 50_000_000) throw new PerigeeError('too_large', 'No.', { fix: 'Smaller.' });
      blobs.set(hash, await collect(verifyBlob(bytes, { hash, sizeBytes })));
    },
  };
}

describe('blob transfer', () => {
  let pair: HostPair;
  let blobs: Map<BlobHash, Uint8Array>;
  /** A stream whose other end serves `blobs`. */
  const open = async (source = createSource(blobs), waits = transferWaits): Promise<Stream> => {
    const { near, far } = await pair.openStream();
    void serveBlobs(far, source, waits);
    return near;
  };
  beforeEach(async () => {
    pair = await createHostPair();
    blobs = new Map();
  });
  afterEach(async () => {
    await pair[Symbol.asyncDispose]();
  });

  it('gets a blob whole, and from any place on', async () => {
    const bytes = randomBytes(9_000_000);
    const hash = hashOf(bytes);
    blobs.set(hash, bytes);
    const whole = await fetchBlob(await open(), { hash, offset: 0 });
    expect(whole.sizeBytes).toBe(bytes.length);
    expect((await collect(whole.bytes)).equals(bytes)).toBe(true);
    const rest = await fetchBlob(await open(), { hash, offset: 8_999_990 });
    expect(await collect(rest.bytes)).toEqual(bytes.subarray(8_999_990));
    const nothing = await fetchBlob(await open(), { hash, offset: bytes.length });
    expect((await collect(nothing.bytes)).length).toBe(0);
  });

  it('puts a blob and answers when it is taken', async () => {
    const bytes = randomBytes(9_000_000);
    const hash = hashOf(bytes);
    await putBlob(await open(), { hash, sizeBytes: bytes.length, bytes: chunksOf(bytes) });
    expect(blobs.get(hash)).toEqual(bytes);
    const empty = hashOf(Buffer.alloc(0));
    await putBlob(await open(), { hash: empty, sizeBytes: 0, bytes: chunksOf(Buffer.alloc(0)) });
    expect(blobs.get(empty)?.length).toBe(0);
  });

  it('refuses bytes that are not the blob, with what they are', async () => {
    const bytes = randomBytes(100_000);
    const hash = hashOf(randomBytes(10));
    const put = putBlob(await open(), { hash, sizeBytes: bytes.length, bytes: chunksOf(bytes) });
    await expect(put).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(hashOf(bytes)),
    });
    expect(blobs.size).toBe(0);
  });

  it('hears a refusal while it still sends', async () => {
    const bytes = randomBytes(60_000_000);
    const put = putBlob(await open(), {
      hash: hashOf(bytes),
      sizeBytes: bytes.length,
      bytes: chunksOf(bytes),
    });
    await expect(put).rejects.toMatchObject({ code: 'too_large', fix: 'Smaller.' });
  });

  it('refuses what is not there and requests that are none', async () => {
    const hash = hashOf(Buffer.from('x'));
    await expect(fetchBlob(await open(), { hash, offset: 0 })).rejects.toMatchObject({
      code: 'not_found',
    });
    blobs.set(hash, Buffer.from('x'));
    await expect(fetchBlob(await open(), { hash, offset: 2 })).rejects.toMatchObject({
      code: 'invalid_request',
    });
    await expect(
      fetchBlob(await open(), { hash: 'x' as BlobHash, offset: 0 }),
    ).rejects.toMatchObject({ code: 'frame_invalid' });
  });

  it('holds the sender back while the reader is busy', async () => {
    const size = 40_000_000;
    let sent = 0;
    const source: BlobSource = {
      ...createSource(blobs),
      size: async () => size,
      async *read() {
        const chunk = Buffer.alloc(100_000);
        for (; sent < size; sent += chunk.length) yield chunk;
      },
    };
    const { bytes } = await fetchBlob(await open(source), {
      hash: hashOf(Buffer.alloc(1)),
      offset: 0,
    });
    const reader = bytes[Symbol.asyncIterator]();
    let read = (await reader.next()).value?.length ?? 0;
    // Nobody reads on: what is sent settles at windows and buffers, far below the whole.
    let before = -1;
    await expect
      .poll(
        () => {
          const settled = sent === before;
          before = sent;
          return settled && sent > 0;
        },
        { interval: 100, timeout: 40_000 },
      )
      .toBe(true);
    expect(sent).toBeLessThan(size / 2);
    for (let next = await reader.next(); !next.done; next = await reader.next()) {
      read += next.value.length;
    }
    expect(read).toBe(size);
  });

  /** One whose writes read `slowBytes` at 4 MB/s, and wait for the disk behind the last byte. */
  const createSlowSource = (slowBytes: number, syncMs: number): BlobSource => ({
    ...createSource(blobs),
    async write(hash, bytes) {
      const parts: Uint8Array[] = [];
      let readBytes = 0;
      for await (const part of bytes) {
        parts.push(part);
        const isStep = Math.floor(readBytes / mb) < Math.floor((readBytes + part.length) / mb);
        readBytes += part.length;
        if (isStep && readBytes < slowBytes) await pause(250);
      }
      await pause(syncMs);
      blobs.set(hash, Buffer.concat(parts));
    },
  });

  it('takes its time over an upload that moves', async () => {
    const bytes = randomBytes(18 * mb);
    const hash = hashOf(bytes);
    // In one piece, of which some leaves now and then.
    const blob = { hash, sizeBytes: bytes.length, bytes: chunksOf(bytes, bytes.length) };
    const beganMs = Date.now();
    const waits = { idleMsMax: 1_500, answerMsMax: 1_500 };
    await putBlob(await open(createSlowSource(12 * mb, 0)), blob, waits);
    // Else it has shown nothing.
    expect(Date.now() - beganMs).toBeGreaterThan(2_000);
    expect(blobs.get(hash)).toEqual(bytes);
  });

  it('gives the other end time to put an upload on disk, and not for ever', async () => {
    const bytes = randomBytes(100_000);
    const hash = hashOf(bytes);
    const put = async (waits: TransferWaits) => {
      const stream = await open(createSlowSource(0, 800));
      await putBlob(stream, { hash, sizeBytes: bytes.length, bytes: chunksOf(bytes) }, waits);
    };
    await put({ idleMsMax: 200, answerMsMax: 60_000 });
    expect(blobs.has(hash)).toBe(true);
    await expect(put({ idleMsMax: 60_000, answerMsMax: 200 })).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  it('gives an upload up that the other end does not read', async () => {
    const never = Promise.withResolvers<void>();
    const source = { ...createSource(blobs), write: () => never.promise };
    const bytes = randomBytes(20 * mb);
    const blob = { hash: hashOf(bytes), sizeBytes: bytes.length, bytes: chunksOf(bytes) };
    const put = putBlob(await open(source), blob, { idleMsMax: 300, answerMsMax: 60_000 });
    await expect(put).rejects.toMatchObject({ code: 'unreachable' });
    never.resolve();
  });

  it('bounds the silence of a download, not its length', async () => {
    const bytes = randomBytes(100_000);
    const hash = hashOf(bytes);
    blobs.set(hash, bytes);
    const never = Promise.withResolvers<void>();
    const waits = { idleMsMax: 1_000, answerMsMax: 60_000 };
    const get = async (isSilent: boolean): Promise<Buffer> => {
      const source: BlobSource = {
        ...createSource(blobs),
        async *read() {
          for await (const chunk of chunksOf(bytes, 10_000)) {
            yield chunk;
            await (isSilent ? never.promise : pause(200));
          }
        },
      };
      const download = await fetchBlob(await open(source, waits), { hash, offset: 0 }, waits);
      return await collect(download.bytes);
    };
    expect((await get(false)).equals(bytes)).toBe(true);
    await expect(get(true)).rejects.toMatchObject({ code: 'unreachable' });
    never.resolve();
  });

  it('fails when the connection breaks on the way, on both ends', async () => {
    const bytes = randomBytes(20_000_000);
    const hash = hashOf(bytes);
    blobs.set(hash, bytes);
    const download = await fetchBlob(await open(), { hash, offset: 0 });
    const broken = (async () => {
      for await (const chunk of download.bytes) if (chunk.length > 0) await pair.server.stop();
    })();
    await expect(broken).rejects.toMatchObject({ code: 'unreachable' });
  });
});
