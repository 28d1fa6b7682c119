import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openBlobStore } from '../../../../coordinator/store/blob-store.ts';
import { createMemoryStore } from '../../../../coordinator/store/memory.ts';
import { createOutputSweep } from '../../../../coordinator/store/output-sweep.ts';
import type { BlobStore, Store } from '../../../../coordinator/store/port.ts';
import type { BlobHash, NamespaceName, NodeId } from '../../../../protocol/wire/ids.ts';

const hour = 3_600_000;
const alice = 'alice' as NamespaceName;
const node = '12D3KooWnodeOneeeeeeeeeeeeeeeeeee' as NodeId;

describe('bytes of outputs that nothing refers to', () => {
  let folder: string;
  let blobs: BlobStore;
  let store: Store;
  const nowMs = Date.now();
  const sweep = () =>
    createOutputSweep(
      { store, blobs, clock: { nowMs: () => nowMs }, log: { warn: () => {} } },
      { everyMs: hour, graceMs: hour },
    ).sweep();
  /** Puts a blob that was last put so many hours ago. */
  const put = async (text: string, hours: number): Promise<BlobHash> => {
    const hash = await blobs.writeBytes(Buffer.from(text));
    const then = new Date(nowMs - hours * hour);
    utimesSync(join(folder, hash.slice(0, 2), hash.slice(2)), then, then);
    return hash;
  };
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-sweep-'));
    blobs = await openBlobStore(folder);
    store = createMemoryStore();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('go once they are old, and nothing else does', async () => {
    const stale = await put('stale attempt', 2);
    const young = await put('report is on its way', 0.5);
    const used = await put('of a task', 2);
    const argument = await put('an argument, never an output', 2);
    for (const hash of [stale, young, used]) await store.recordOutputBlob(hash);
    await store.recordUpload(node, stale);
    await store.grantBlob(alice, used, 1);
    expect(await sweep()).toBe(1);
    expect(await Promise.all([stale, young, used, argument].map(blobs.has))).toEqual([
      false,
      true,
      true,
      true,
    ]);
    expect(await store.hasUploaded(node, stale)).toBe(false);
    expect(await sweep()).toBe(0);
  });

  it('stay when they were put again a moment ago', async () => {
    const again = await put('the same bytes, of a retry', 5);
    await store.recordOutputBlob(again);
    expect(await blobs.touch(again)).toBe(true);
    expect(await sweep()).toBe(0);
    expect(await blobs.has(again)).toBe(true);
    const never = createHash('sha256').update('never').digest('hex') as BlobHash;
    expect(await blobs.touch(never)).toBe(false);
  });

  it('that are gone from the disk already are forgotten', async () => {
    const gone = 'ab'.repeat(32) as BlobHash;
    await store.recordOutputBlob(gone);
    expect(await sweep()).toBe(1);
    expect(await store.listOutputBlobs({ after: '', limit: 5 })).toEqual([]);
  });
});
