import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openBlobStore } from '../../../../coordinator/store/blob-store.ts';
import type { BlobStore } from '../../../../coordinator/store/port.ts';
import { keepRecentBlobs } from '../../../../coordinator/store/recent-blobs.ts';
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

describe('recent blobs', () => {
  let folder: string;
  let disk: BlobStore;
  let reads: BlobHash[];
  let blobs: BlobStore;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-recent-'));
    disk = await openBlobStore(folder);
    reads = [];
    const counted: BlobStore = {
      ...disk,
      read(hash, offset, length) {
        reads.push(hash);
        return disk.read(hash, offset, length);
      },
    };
    const settings = { blobBytesMax: 1_000, bytesMax: 2_000, quietMs: 60_000 };
    blobs = keepRecentBlobs(counted, settings);
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const put = async (size: number): Promise<{ hash: BlobHash; bytes: Buffer }> => {
    const bytes = randomBytes(size);
    const hash = hashOf(bytes);
    await blobs.write(hash, inParts(bytes, 300), { bytesMax: 5_000 });
    return { hash, bytes };
  };

  it('reads a blob that was just written without its file, from any place; it is on disk too', async () => {
    const { hash, bytes } = await put(1_000);
    expect(await collect(blobs.read(hash))).toEqual(bytes);
    expect(await collect(blobs.read(hash, 299))).toEqual(bytes.subarray(299));
    expect(await collect(blobs.read(hash, 300, 301))).toEqual(bytes.subarray(300, 601));
    expect(await collect(blobs.read(hash, 1_000))).toHaveLength(0);
    expect(await collect(blobs.read(hash, 5, 0))).toHaveLength(0);
    expect(reads).toEqual([]);
    expect(await collect(disk.read(hash))).toEqual(bytes);
  });

  it('reads large ones and those that were pushed out from their files', async () => {
    const large = await put(1_001);
    const first = await put(900);
    const rest = [await put(900), await put(900)];
    for (const { hash, bytes } of [large, first, ...rest]) {
      expect(await collect(blobs.read(hash))).toEqual(bytes);
    }
    expect(reads).toEqual([large.hash, first.hash]);
  });

  it('knows nothing of what was removed, or could not be written', async () => {
    const { hash } = await put(500);
    blobs.remove(hash);
    expect(await blobs.has(hash)).toBe(false);
    await expect(blobs.size(hash)).rejects.toMatchObject({ code: 'not_found' });
    const wrong = hashOf(randomBytes(5));
    await expect(
      blobs.write(wrong, inParts(randomBytes(10), 5), { bytesMax: 100 }),
    ).rejects.toMatchObject({ code: 'invalid_request' });
    expect(await blobs.has(wrong)).toBe(false);
  });
});
