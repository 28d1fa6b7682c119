import { describe, expect, it } from 'vitest';
import { checkCollection, checkItem } from '../../../../coordinator/stac/check-item.ts';
import { scene } from './scenes.ts';

const place = { collection: 'scenes', number: 3 };
const refusal = (change: (item: Record<string, unknown>) => void): unknown => {
  const item = structuredClone(scene('L7')) as unknown as Record<string, unknown>;
  change(item);
  try {
    checkItem(item, place);
  } catch (caught) {
    return caught;
  }
  return undefined;
};

describe('an item', () => {
  it('is kept whole, for the collection that it is put into', () => {
    const item = { ...scene('L7', { properties: { 'eo:cloud_cover': 3 } }), made_by: 'us' };
    const checked = checkItem(item, place);
    expect(checked.item).toEqual({ ...item, collection: 'scenes' });
    const atMs = Date.parse('2001-07-10T12:00:00Z');
    expect(checked.times).toEqual({ atMs, startMs: atMs, endMs: atMs });
  });

  it('may have an interval in place of its time', () => {
    const { times } = checkItem(
      scene('L7', {
        datetime: null,
        properties: {
          start_datetime: '2001-01-01T00:00:00Z',
          end_datetime: '2001-12-31T00:00:00Z',
        },
      }),
      place,
    );
    const startMs = Date.parse('2001-01-01T00:00:00Z');
    expect(times).toEqual({ atMs: startMs, startMs, endMs: Date.parse('2001-12-31T00:00:00Z') });
  });

  it('has its addresses told from its own link, which stays as its origin', () => {
    const item = scene('L7');
    item.links = [
      { rel: 'self', href: 'https://example.org/scenes/L7/item.json' },
      { rel: 'root', href: '../catalog.json' },
      { rel: 'license', href: '../LICENSE' },
    ];
    item.assets = {
      B4: { href: './B4.tif' },
      B3: { href: '/other/B3.tif' },
      cloud: { href: 's3://bucket/mask.tif' },
    };
    const checked = checkItem(item, place).item;
    expect(Object.values(checked.assets).map(({ href }) => href)).toEqual([
      'https://example.org/scenes/L7/B4.tif',
      'https://example.org/other/B3.tif',
      's3://bucket/mask.tif',
    ]);
    expect(checked.links).toEqual([
      { rel: 'license', href: 'https://example.org/scenes/LICENSE' },
      { rel: 'canonical', href: 'https://example.org/scenes/L7/item.json' },
    ]);
  });

  it.each<[string, (item: Record<string, unknown>) => void]>([
    ['type', (item) => Object.assign(item, { type: 'Collection' })],
    ['id', (item) => Object.assign(item, { id: '' })],
    ['stac_version', (item) => Object.assign(item, { stac_version: '0.9.0' })],
    ['geometry', (item) => delete item['geometry']],
    ['geometry', (item) => Object.assign(item, { geometry: { type: 'Circle' } })],
    [
      'geometry',
      (item) => Object.assign(item, { geometry: { type: 'Point', coordinates: [10, 91] } }),
    ],
    [
      'geometry',
      (item) =>
        Object.assign(item, {
          geometry: {
            type: 'Polygon',
            coordinates: [
              [
                [0, 0],
                [1, 0],
                [1, 1],
                [0, 1],
              ],
            ],
          },
        }),
    ],
    ['bbox', (item) => delete item['bbox']],
    ['bbox', (item) => Object.assign(item, { bbox: [1, 2, 3] })],
    ['bbox', (item) => Object.assign(item, { bbox: [1, 5, 3, 4] })],
    ['properties', (item) => Object.assign(item, { properties: null })],
    ['properties.datetime', (item) => Object.assign(item, { properties: { datetime: '2001' } })],
    ['properties.datetime', (item) => Object.assign(item, { properties: { datetime: null } })],
    [
      'properties.end_datetime',
      (item) =>
        Object.assign(item, {
          properties: {
            datetime: null,
            start_datetime: '2002-01-01T00:00:00Z',
            end_datetime: '2001-01-01T00:00:00Z',
          },
        }),
    ],
    ['collection', (item) => Object.assign(item, { collection: 'other' })],
    ['links', (item) => Object.assign(item, { links: [{ rel: 'self' }] })],
    ['assets', (item) => Object.assign(item, { assets: [] })],
    ['assets.B4.href', (item) => Object.assign(item, { assets: { B4: {} } })],
    ['assets.B4.href', (item) => Object.assign(item, { assets: { B4: { href: 'B4.tif' } } })],
    [
      'assets.B4.roles',
      (item) => Object.assign(item, { assets: { B4: { href: 's3://b/4', roles: 'data' } } }),
    ],
  ])('with a bad "%s" is refused, which the error names', (field, change) => {
    const error = refusal(change);
    expect(error).toMatchObject({ code: 'stac_invalid', details: { field } });
    expect(String(error)).toMatch(field === 'id' ? /item 3: "id"/ : /"L7": "/);
  });
});

describe('a collection', () => {
  const collection = {
    type: 'Collection',
    stac_version: '1.0.0',
    id: 'landsat',
    description: 'Landsat.',
    license: 'proprietary',
    extent: {
      spatial: { bbox: [[-180, -90, 180, 90]] },
      temporal: { interval: [['1999-04-15T00:00:00Z', null]] },
    },
    links: [{ rel: 'self', href: 'https://example.org/landsat.json' }],
  };

  it('is kept', () => {
    expect(checkCollection(collection)).toEqual({
      ...collection,
      links: [{ rel: 'canonical', href: 'https://example.org/landsat.json' }],
    });
  });

  it.each([
    ['description', { description: undefined }],
    ['license', { license: 7 }],
    ['extent.spatial.bbox', { extent: {} }],
    ['extent.temporal.interval', { extent: { ...collection.extent, temporal: {} } }],
  ])('without a good "%s" is refused', (field, change) => {
    expect(() => checkCollection({ ...collection, ...change })).toThrow(
      expect.objectContaining({ code: 'stac_invalid', details: { field, id: 'landsat' } }),
    );
  });
});
