import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openBlobStore } from '../../../../coordinator/store/blob-store.ts';
import type { BlobStore } from '../../../../coordinator/store/port.ts';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';

const hashOf = (bytes: Uint8Array): BlobHash =>
  createHash('sha256').update(bytes).digest('hex') as BlobHash;

async function* inParts(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += size)
    yield bytes.subarray(start, start + size);
}

async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of bytes) parts.push(part);
  return Buffer.concat(parts);
}

describe('blob store', () => {
  let folder: string;
  let blobs: BlobStore;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-blobs-'));
    blobs = await openBlobStore(folder);
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const unfinished = (): string[] => readdirSync(join(folder, 'uploads'));

  it('gives back what was written, from any place, in another run too', async () => {
    const bytes = randomBytes(3_000_000);
    const hash = hashOf(bytes);
    expect(await blobs.has(hash)).toBe(false);
    await blobs.write(hash, inParts(bytes, 100_000), { bytesMax: 3_000_000 });
    await blobs.write(hash, inParts(bytes, 9_999), { bytesMax: 3_000_000 });
    const again = await openBlobStore(folder);
    expect(await again.has(hash)).toBe(true);
    expect(await again.size(hash)).toBe(bytes.length);
    expect((await collect(again.read(hash))).equals(bytes)).toBe(true);
    expect(await collect(again.read(hash, 2_999_995))).toEqual(bytes.subarray(2_999_995));
    expect(await collect(again.read(hash, 10, 500_000))).toEqual(bytes.subarray(10, 500_010));
    expect(await collect(again.read(hash, 10, 0))).toHaveLength(0);
    expect(unfinished()).toEqual([]);
  });

  it('stores bytes at hand once', async () => {
    const hash = await blobs.writeBytes(Buffer.from('def f(): pass'));
    expect(await blobs.writeBytes(Buffer.from('def f(): pass'))).toBe(hash);
    expect((await collect(blobs.read(hash))).toString()).toBe('def f(): pass');
    const empty = await blobs.writeBytes(Buffer.alloc(0));
    expect(await blobs.size(empty)).toBe(0);
  });

  it('keeps nothing of bytes that are not the blob, are too many, or stop half-way', async () => {
    const bytes = randomBytes(1_000);
    const hash = hashOf(bytes);
    const wrong = hashOf(randomBytes(5));
    const bytesMax = 1_000;
    await expect(blobs.write(wrong, inParts(bytes, 10), { bytesMax })).rejects.toMatchObject({
      code: 'invalid_request',
    });
    await expect(blobs.write(hash, inParts(bytes, 10), { bytesMax: 999 })).rejects.toMatchObject({
      code: 'too_large',
    });
    await expect(
      blobs.write(hash, inParts(bytes, 10), { bytesMax, sizeBytes: 999 }),
    ).rejects.toThrow('The blob has 1000 bytes, not 999.');
    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 500);
      throw new Error('the client went away');
    }
    await expect(blobs.write(hash, breaking(), { bytesMax })).rejects.toThrow('went away');
    expect([await blobs.has(hash), await blobs.has(wrong)]).toEqual([false, false]);
    expect(unfinished()).toEqual([]);
  });

  it('leaves no file open or behind when its folder cannot be made, and takes the next one once it can', async () => {
    const bytes = randomBytes(100);
    const hash = hashOf(bytes);
    const shard = join(folder, hash.slice(0, 2));
    writeFileSync(shard, 'in the way');
    const openUploads = (): string[] =>
      readdirSync('/proc/self/fd').filter((fd) => {
        const path = join('/proc/self/fd', fd);
        return existsSync(path) && readlinkSync(path).startsWith(join(folder, 'uploads'));
      });
    await expect(blobs.write(hash, inParts(bytes, 10), { bytesMax: 100 })).rejects.toThrow(
      'EEXIST',
    );
    expect([openUploads(), unfinished()]).toEqual([[], []]);
    rmSync(shard);
    // Many at once: all of them wait for the one that makes the folder.
    const blobsOfShard = Array.from({ length: 4 }, () =>
      blobs.write(hash, inParts(bytes, 10), { bytesMax: 100 }),
    );
    await Promise.all(blobsOfShard);
    expect((await collect(blobs.read(hash))).equals(bytes)).toBe(true);
  });

  it('believes a name only when it is on disk, also of a second copy of the same bytes', async () => {
    const bytes = randomBytes(100);
    const hash = hashOf(bytes);
    const syncs: (() => void)[] = [];
    const failures: Error[] = [];
    // Names at once and is slow to sync: as a disk is that others use.
    const store = await openBlobStore(folder, {
      async commit({ file, from, to }) {
        await file.close();
        renameSync(from, to);
        await new Promise<void>((resolve) => syncs.push(resolve));
        const failure = failures.pop();
        if (failure !== undefined) throw failure;
      },
    });
    const seen: string[] = [];
    const first = store.write(hash, inParts(bytes, 10), { bytesMax: 100 });
    await expect.poll(() => syncs.length).toBe(1);
    const asked = store.has(hash).then((isThere) => seen.push(`there: ${isThere}`));
    const again = store.writeBytes(bytes).then(() => seen.push('written again'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(seen).toEqual([]);
    syncs.shift()?.();
    await Promise.all([first, asked, again]);
    expect(seen.sort()).toEqual(['there: true', 'written again']);
    // Where the sync failed the next look makes up for it.
    failures.push(new Error('EIO'));
    const failed = store.write(hash, inParts(bytes, 10), { bytesMax: 100 });
    await expect.poll(() => syncs.length).toBe(1);
    syncs.shift()?.();
    await expect(failed).rejects.toThrow('EIO');
    expect(await store.has(hash)).toBe(true);
  });

  it('says what is not there', async () => {
    const hash = hashOf(randomBytes(5));
    await expect(blobs.size(hash)).rejects.toMatchObject({ code: 'not_found' });
    await expect(collect(blobs.read(hash))).rejects.toMatchObject({ code: 'not_found' });
  });

  it('removes what an earlier run left half-written', async () => {
    const { promise: stuck, resolve: release } = Promise.withResolvers<void>();
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield randomBytes(10);
      await stuck;
    }
    const writing = blobs.write(hashOf(randomBytes(3)), slow(), { bytesMax: 100 });
    await expect.poll(() => unfinished().length).toBe(1);
    await openBlobStore(folder);
    expect(unfinished()).toEqual([]);
    release();
    await expect(writing).rejects.toMatchObject({ code: 'invalid_request' });
  });
});
