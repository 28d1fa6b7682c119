import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StacDocument } from '../../../../../sdk/cli/imagery/read-stac.ts';
import { readStac } from '../../../../../sdk/cli/imagery/read-stac.ts';
import { scene } from '../../../coordinator/stac/scenes.ts';
import { startRangeServer } from '../../../node-agent/imagery/range-server.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-read-stac-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (name: string, value: unknown): string => {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
};
const skipped: string[] = [];
const readAll = async (sources: string[], followMax = 100): Promise<StacDocument[]> => {
  skipped.length = 0;
  const { signal } = new AbortController();
  const onSkipped = (text: string): void => void skipped.push(text);
  const documents: StacDocument[] = [];
  for await (const each of readStac(sources, { followMax, signal, onSkipped }))
    documents.push(each);
  return documents;
};
const namesOf = (documents: StacDocument[]): unknown[] =>
  documents.map(({ kind, document }) => `${kind} ${document['id']}`).sort();

const catalog = (...hrefs: string[]) => ({
  type: 'Catalog',
  stac_version: '1.0.0',
  id: 'root',
  description: 'All.',
  links: [
    { rel: 'self', href: './catalog.json' },
    ...hrefs.map((href) => ({ rel: href.includes('catalog') ? 'child' : 'item', href })),
  ],
});

describe('a catalogue', () => {
  it('is followed down, each document once, with addresses as seen from each', async () => {
    const item = { ...scene('a'), assets: { B4: { href: './B4.tif' }, B3: { href: '../B3.tif' } } };
    write('deep/a.json', item);
    write('deep/catalog.json', catalog('a.json', '../catalog.json'));
    const root = write('catalog.json', catalog('deep/catalog.json', 'deep/a.json'));
    const documents = await readAll([root]);
    expect(namesOf(documents)).toEqual(['item a']);
    const at = pathToFileURL(folder).href;
    expect(documents[0]?.document).toMatchObject({
      assets: { B4: { href: `${at}/deep/B4.tif` }, B3: { href: `${at}/B3.tif` } },
      links: [{ rel: 'self', href: `${at}/deep/a.json` }],
    });
  });

  it('gives items without a collection the one that led to them', async () => {
    write('a.json', scene('a'));
    const collection = { ...catalog('a.json'), type: 'Collection', id: 'landsat' };
    const documents = await readAll([write('collection.json', collection)]);
    expect(namesOf(documents)).toEqual(['collection landsat', 'item a']);
    expect(documents.find(({ kind }) => kind === 'item')?.document['collection']).toBe('landsat');
  });

  it('is followed to a bound, which is said', async () => {
    const names = Array.from({ length: 5 }, (_, index) =>
      write(`${index}.json`, scene(`${index}`)),
    );
    const root = write('catalog.json', catalog(...names.map((name) => pathToFileURL(name).href)));
    expect(await readAll([root], 3)).toHaveLength(3);
    expect(skipped).toEqual(['Stopped after 3 followed links; --follow N allows more.']);
    expect(await readAll([root], 5)).toHaveLength(5);
    expect(skipped).toEqual([]);
  });

  it('of the web names no file of this machine', async () => {
    await using origin = await startRangeServer();
    const secret = pathToFileURL(write('secret.json', scene('secret'))).href;
    const links = catalog(secret, './open.json');
    origin.files.set('/catalog.json', Buffer.from(JSON.stringify(links)));
    origin.files.set('/open.json', Buffer.from(JSON.stringify(scene('open'))));
    expect(namesOf(await readAll([origin.url('/catalog.json')]))).toEqual(['item open']);
  });
});

describe('a file', () => {
  it('may hold a FeatureCollection, or a document a line', async () => {
    const features = { type: 'FeatureCollection', features: [scene('a'), scene('b')] };
    const lines = [scene('c'), scene('d')].map((item) => JSON.stringify(item)).join('\n');
    const documents = await readAll([write('all.json', features), write('all.ndjson', lines)]);
    expect(namesOf(documents)).toEqual(['item a', 'item b', 'item c', 'item d']);
  });

  it.each([
    ['not_found', 'missing.json', undefined, 'missing.json cannot be read'],
    ['invalid_request', 'text.json', 'no JSON', 'text.json is not JSON'],
    ['invalid_request', 'half.ndjson', '{"type": "Catalog"}\nhalf', 'line 2 of '],
    ['stac_invalid', 'other.json', { type: 'Topology' }, 'is no item, collection or catalogue'],
    ['stac_invalid', 'list.json', [], 'holds no object'],
  ])('that cannot be taken is refused with %s: %s', async (code, name, content, message) => {
    const path = content === undefined ? join(folder, name) : write(name, content);
    await expect(readAll([path])).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });
});
