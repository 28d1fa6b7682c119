import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CoordinatorEvent } from '../../../../coordinator/core/events.ts';
import { openCatalogue } from '../../../../coordinator/images/catalogue.ts';
import type { CatalogueImage } from '../../../../coordinator/images/image.ts';
import { tellKnownImages } from '../../../../coordinator/images/tell-known.ts';
import { createMemoryStore } from '../../../../coordinator/store/memory.ts';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';
import type { NodeImage } from '../../../../protocol/wire/task.ts';

const digestOf = (digits: string): ImageDigest => `sha256:${digits.repeat(32)}` as ImageDigest;
const python = { implementation: 'CPython', version: '3.11.2' };
const own: NodeImage = {
  digest: digestOf('0a'),
  names: ['perigee/python:py3.11'],
  python,
  arch: 'x64',
  sizeBytes: 7,
};
const layer: CatalogueImage = {
  digest: digestOf('0b'),
  source: { kind: 'requirements', requirements: ['affine==2.4.0'] },
  state: 'building',
  names: [],
  requestKey: 'affine',
  generation: 0,
  python,
  arch: 'x64',
  sizeBytes: 0,
  base: own.digest,
  packages: {},
  archive: null,
  failure: null,
  createdAtMs: 1,
  endedAtMs: null,
};
const ownKnown = { digest: own.digest, sizeBytes: 7, arch: 'x64', base: null };
const layerKnown = { digest: layer.digest, sizeBytes: 3, arch: 'x64', base: own.digest };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function begin(local: NodeImage[]) {
  const catalogue = await openCatalogue(createMemoryStore());
  const told: CoordinatorEvent[] = [];
  const known = await tellKnownImages({
    driver: { dispatch: (event) => told.push(event) },
    catalogue,
    images: { list: async () => [...local] },
    log: {
      warn: (fields) => {
        throw new Error(JSON.stringify(fields));
      },
    },
  });
  return { catalogue, told, known };
}

describe('the images that nodes can fetch', () => {
  it('are told at start, without layers that nobody knows', async () => {
    const stray = { ...own, digest: digestOf('0c'), names: [] };
    const { told, known } = await begin([own, stray]);
    expect(told).toEqual([{ kind: 'imagesKnown', images: [ownKnown] }]);
    await known.stop();
  });

  it('are told again when one is ready and when one is removed, and not in between', async () => {
    // The layer's folder is there before the catalogue says so.
    const { catalogue, told, known } = await begin([
      own,
      { ...own, digest: layer.digest, names: [] },
    ]);
    await catalogue.put(layer);
    await vi.advanceTimersByTimeAsync(0);
    expect(told).toHaveLength(1);
    await catalogue.update(layer.digest, { state: 'ready', sizeBytes: 3 });
    await vi.advanceTimersByTimeAsync(0);
    expect(told.slice(1)).toEqual([{ kind: 'imagesKnown', images: [ownKnown, layerKnown] }]);
    await catalogue.update(layer.digest, { state: 'removed' });
    await vi.advanceTimersByTimeAsync(0);
    expect(told.slice(2)).toEqual([{ kind: 'imagesKnown', images: [ownKnown] }]);
    await known.stop();
  });

  it('are told when somebody changed the folder, until it is stopped', async () => {
    const local: NodeImage[] = [];
    const { told, known } = await begin(local);
    local.push(own);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(told.slice(1)).toEqual([{ kind: 'imagesKnown', images: [ownKnown] }]);
    await known.stop();
    local.pop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toHaveLength(2);
  });
});
