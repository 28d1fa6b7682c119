import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { BlockStore } from '../../../../node-agent/imagery/block-store.ts';
import { createBlockStore } from '../../../../node-agent/imagery/block-store.ts';
import { createHeldPieces } from '../../../../node-agent/imagery/held-pieces.ts';

const key = 'ab'.repeat(32);
const meta = {
  scope: 'public',
  uri: 'http://x/a',
  version: '"v1"',
  sizeBytes: 100,
  blockBytes: 100,
};
const settings = { bytesMax: 10_000, diskFreeBytesMin: 0 };

it('a piece that took a bad one’s place stays counted when a late reader finds the old one bad', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'perigee-held-'));
  try {
    const bytes = Buffer.alloc(100, 7);
    const piece = { index: 0, sum: createHash('sha256').update(bytes).digest('hex') };
    const real = createBlockStore(folder);
    await real.scan();
    await real.write(key, meta, piece, bytes);

    /** Each look at the bytes ends when the test says so, and finds them bad. */
    const looks: (() => void)[] = [];
    const store: BlockStore = {
      ...createBlockStore(folder),
      verify: () => new Promise((resolve) => looks.push(() => resolve(false))),
    };
    const deps = { store, warn: () => undefined, onChanged: () => undefined };
    const held = createHeldPieces(deps, settings);
    await held.load();
    const asset = held.enter(key, meta);
    const early = held.use(asset, 0);
    const late = held.use(asset, 0);
    const [endEarly, endLate] = looks;
    endEarly?.();
    expect(await early).toBeUndefined();
    expect(held.bytes).toBe(0);
    await held.keep(asset, piece, bytes);
    expect(held.bytes).toBe(100);
    endLate?.();
    expect(await late).toBeUndefined();
    expect(held.bytes).toBe(100);
    // And so with one that could not be read.
    const now = held.enter(key, meta);
    const old = { ...piece, bytes: 100, uses: 0, verified: true };
    await held.drop(now, old);
    expect(held.bytes).toBe(100);
    expect(await held.use(now, 0)).toMatchObject(piece);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
