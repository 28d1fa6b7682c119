import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStacCatalogue } from '../../../../coordinator/stac/create-catalogue.ts';
import type { StacGeometry } from '../../../../protocol/stac/item.ts';
import type { NamespaceName } from '../../../../protocol/wire/ids.ts';
import { scene } from './scenes.ts';

const namespace = 'alice' as NamespaceName;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-stac-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ids = (bytes: Uint8Array): string[] =>
  (JSON.parse(Buffer.from(bytes).toString('utf8')) as { features: { id: string }[] }).features.map(
    ({ id }) => id,
  );
const search = {
  namespace,
  root: null,
  parameters: {},
  page: { method: 'POST', url: '' },
} as const;
const items = (id: string): Uint8Array => Buffer.from(JSON.stringify(scene(id)));

/** A line to and fro between two edges of a square, 10,000 times. */
function zigzag(turn: (position: [number, number]) => number[]): StacGeometry {
  const coordinates = Array.from({ length: 10_000 }, (_, index) =>
    turn([9 + (2 * index) / 10_000, index % 2 === 0 ? 49 : 51]),
  );
  return { type: 'LineString', coordinates };
}

describe('the catalogue', () => {
  it('keeps what it has taken, through a stop', async () => {
    const file = join(folder, 'stac.db');
    const first = createStacCatalogue({ file, searchMsMax: 10_000 });
    await first.call('putItems', { owner: namespace, collection: 'one', bytes: items('a') });
    await first.stop();
    await expect(first.call('search', search)).rejects.toMatchObject({ code: 'draining' });
    const second = createStacCatalogue({ file, searchMsMax: 10_000 });
    expect(ids(await second.call('search', search))).toEqual(['a']);
    await second.stop();
  });

  it('answers errors with their code, fix and details, and goes on', async () => {
    const file = join(folder, 'stac.db');
    const catalogue = createStacCatalogue({ file, searchMsMax: 10_000 });
    const bad = { ...search, parameters: { bbox: [1] } };
    const failed = catalogue.call('search', bad);
    await expect(failed).rejects.toMatchObject({
      code: 'invalid_request',
      details: { field: 'bbox' },
    });
    expect(ids(await catalogue.call('search', search))).toEqual([]);
    await catalogue.stop();
  });

  it('says of a file that is none what it is', async () => {
    const file = join(folder, 'stac.db');
    writeFileSync(file, 'This is no database, though long enough to be looked at. '.repeat(100));
    const catalogue = createStacCatalogue({ file, searchMsMax: 10_000 });
    for (let turn = 0; turn < 2; turn += 1) {
      await expect(catalogue.call('search', search)).rejects.toMatchObject({
        code: 'data_corrupt',
      });
    }
    await catalogue.stop();
  });

  it('goes on without the search whose geometry makes it stand still', async () => {
    const file = join(folder, 'stac.db');
    const catalogue = createStacCatalogue({ file, searchMsMax: 1_000 });
    const across = { ...scene('across', { half: 1 }), geometry: zigzag(([x, y]) => [x, y]) };
    const bytes = Buffer.from(JSON.stringify(across));
    await catalogue.call('putItems', { owner: namespace, collection: 'one', bytes });
    // Each of its lines meets each of the item's: 10^8 points.
    const parameters = { intersects: zigzag(([x, y]) => [y + 10 - 50, x + 50 - 10]) };
    const stuck = catalogue.call('search', { ...search, parameters });
    const behind = catalogue.call('search', search);
    await expect(stuck).rejects.toMatchObject({ code: 'timed_out' });
    expect(ids(await behind)).toEqual(['across']);
    await catalogue.stop();
  });

  it('that nobody asked stops at once', async () => {
    const file = join(folder, 'stac.db');
    await createStacCatalogue({ file, searchMsMax: 10_000 }).stop();
  });
});
