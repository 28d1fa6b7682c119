import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StacRunner } from '../../../../coordinator/stac/run-calls.ts';
import { openStacRunner } from '../../../../coordinator/stac/run-calls.ts';
import type { StacItem } from '../../../../protocol/stac/item.ts';
import { box, scene } from './scenes.ts';

let folder: string;
let runner: StacRunner;
let clock: { nowMs: number };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-stac-'));
  clock = { nowMs: 0 };
  runner = openStacRunner(join(folder, 'stac.db'), {
    searchMsMax: 1_000,
    nowMs: () => clock.nowMs,
  });
});
afterEach(() => {
  runner.close();
  rmSync(folder, { recursive: true });
});

const put = (
  items: readonly StacItem[],
  options: { collection?: string; owner?: string | null } = {},
): unknown =>
  runner.run('putItems', {
    owner: options.owner === undefined ? 'alice' : options.owner,
    collection: options.collection ?? 'scenes',
    bytes: Buffer.from(JSON.stringify({ type: 'FeatureCollection', features: items })),
  });

interface Page {
  features: StacItem[];
  numberMatched: number;
  numberReturned: number;
  next: string | null;
}

const page = (parameters: object, namespace = 'alice'): Page => {
  const input = { namespace, root: null, page: { method: 'POST', url: '' }, parameters };
  const bytes = runner.run('search', input) as Uint8Array;
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Page;
};
const search = (parameters: object, namespace = 'alice'): string[] =>
  page({ limit: 1000, ...parameters }, namespace).features.map(({ id }) => id);

describe('a search by place', () => {
  beforeEach(() => {
    put([
      scene('here', { longitude: 10, latitude: 50 }),
      scene('near', { longitude: 11.2, latitude: 50 }),
      scene('south', { longitude: 10, latitude: -50 }),
      // Its box covers the corner that its triangle leaves free.
      scene('triangle', {
        bbox: [20, 50, 21, 51],
        geometry: {
          type: 'Polygon',
          coordinates: [
            [
              [20, 50],
              [21, 50],
              [20, 51],
              [20, 50],
            ],
          ],
        },
      }),
      scene('nowhere', { geometry: null }),
    ]);
  });

  it('finds what meets a box, by the geometry itself', () => {
    expect(search({ bbox: [9, 49, 10, 50] })).toEqual(['here']);
    expect(search({ bbox: [9, 49, 12, 50] }).sort()).toEqual(['here', 'near']);
    expect(search({ bbox: [20.1, 50.1, 20.2, 50.2] })).toEqual(['triangle']);
    expect(search({ bbox: [20.9, 50.9, 21, 51] })).toEqual([]);
    expect(search({ bbox: [10.5, 50.5, 10.6, 50.6] })).toEqual(['here']);
    expect(search({ bbox: [-180, -90, 180, 90] })).toHaveLength(4);
    expect(search({ bbox: [9, 49, -100, 10, 50, 9000] })).toEqual(['here']);
  });

  it('finds what meets a geometry', () => {
    expect(search({ intersects: { type: 'Point', coordinates: [10, 50] } })).toEqual(['here']);
    expect(search({ intersects: box(10.4, 49.9, 10.8, 50.1) }).sort()).toEqual(['here', 'near']);
    const parts = [box(-100, 0, -90, 10), box(9.9, -50, 10, -49.9)];
    const multi = {
      type: 'MultiPolygon',
      coordinates: parts.map((part) => (part as { coordinates: number[][][] }).coordinates),
    };
    expect(search({ intersects: multi })).toEqual(['south']);
    expect(
      search({
        intersects: {
          type: 'LineString',
          coordinates: [
            [0, 50],
            [30, 50.2],
          ],
        },
      }).sort(),
    ).toEqual(['here', 'near', 'triangle']);
    expect(search({ intersects: box(10.52, 49, 10.6, 51) })).toEqual([]);
  });

  it.each([
    ['bbox', { bbox: [1, 2, 3] }],
    ['bbox', { bbox: [1, 40, 2, 30] }],
    ['bbox', { bbox: ['a', 1, 2, 3] }],
    ['bbox', { bbox: [0, 0, 1, 1], intersects: box(0, 0, 1, 1) }],
    ['intersects', { intersects: { type: 'Point', coordinates: [] } }],
    ['intersects', { intersects: 'POINT (1 2)' }],
  ])('refuses a bad "%s"', (field, parameters) => {
    expect(() => search(parameters)).toThrow(
      expect.objectContaining({ code: 'invalid_request', details: { field } }),
    );
  });
});

describe('the antimeridian', () => {
  beforeEach(() => {
    put([
      // As GeoJSON wants it: cut in two.
      scene('cut', {
        bbox: [179, 0, -179, 1],
        geometry: {
          type: 'MultiPolygon',
          coordinates: [box(179, 0, 180, 1), box(-180, 0, -179, 1)].map(
            (half) => (half as { coordinates: number[][][] }).coordinates,
          ),
        },
      }),
      // As many write it: in one, which would reach around the world.
      scene('joined', {
        bbox: [179, 10, -179, 11],
        geometry: {
          type: 'Polygon',
          coordinates: [
            [
              [179, 10],
              [-179, 10],
              [-179, 11],
              [179, 11],
              [179, 10],
            ],
          ],
        },
      }),
      scene('beyond', { bbox: [179, 20, 181, 21], geometry: box(179, 20, 181, 21) }),
      scene('elsewhere', { longitude: 0, latitude: 10 }),
    ]);
  });

  it('is crossed by items, which are found on both sides and nowhere else', () => {
    for (const [id, latitude] of [
      ['cut', 0.5],
      ['joined', 10.5],
      ['beyond', 20.5],
    ] as const) {
      expect(search({ bbox: [179.2, latitude, 179.4, latitude + 0.1] })).toEqual([id]);
      expect(search({ bbox: [-179.4, latitude, -179.2, latitude + 0.1] })).toEqual([id]);
      expect(search({ bbox: [170, latitude, 178, latitude + 0.1] })).toEqual([]);
      expect(search({ intersects: { type: 'Point', coordinates: [-179.5, latitude] } })).toEqual([
        id,
      ]);
    }
    expect(search({ intersects: { type: 'Point', coordinates: [0.1, 10.2] } })).toEqual([
      'elsewhere',
    ]);
  });

  it('is crossed by a box whose west is above its east', () => {
    expect(search({ bbox: [170, -1, -170, 2] })).toEqual(['cut']);
    expect(search({ bbox: [170, 9, -170, 12] })).toEqual(['joined']);
    expect(search({ bbox: [-10, 9, 10, 12] })).toEqual(['elsewhere']);
  });
});

describe('a search by time', () => {
  it('finds items whose time or interval meets it, latest first', () => {
    put([
      scene('june', { datetime: '2001-06-30T23:59:59Z' }),
      scene('july', { datetime: '2001-07-01T00:00:00Z' }),
      scene('end', { datetime: '2001-07-31T23:59:59.999Z' }),
      scene('august', { datetime: '2001-08-01T00:00:00Z' }),
      scene('mosaic', {
        datetime: null,
        properties: {
          start_datetime: '2001-01-01T00:00:00Z',
          end_datetime: '2001-07-15T00:00:00Z',
        },
      }),
    ]);
    expect(search({ datetime: '2001-07' })).toEqual(['end', 'july', 'mosaic']);
    expect(search({ datetime: '2001-07-01T00:00:00Z' })).toEqual(['july', 'mosaic']);
    expect(search({ datetime: '2001-08/..' })).toEqual(['august']);
    expect(search({ datetime: '../2001-06-01T00:00:00Z' })).toEqual(['mosaic']);
    expect(search({ datetime: '2001-07', bbox: [9, 49, 11, 51] })).toEqual([
      'end',
      'july',
      'mosaic',
    ]);
    expect(search({})).toEqual(['august', 'end', 'july', 'june', 'mosaic']);
  });
});

describe('a search by properties', () => {
  beforeEach(() => {
    const cloud = (value: unknown, more: object = {}) => ({
      properties: { 'eo:cloud_cover': value, ...more },
    });
    put([
      scene(
        'clear',
        cloud(0, { platform: 'landsat-7', daytime: true, created: '2020-01-01T00:00:00Z' }),
      ),
      scene('some', cloud(19.5, { platform: 'landsat-5', daytime: false })),
      scene('full', cloud(100, { platform: 'Landsat_7*' })),
      scene('text', cloud('10')),
      scene('unknown'),
    ]);
  });

  it.each([
    [{ 'eo:cloud_cover': { lt: 20 } }, ['clear', 'some']],
    [{ 'eo:cloud_cover': { lte: 0 } }, ['clear']],
    [{ 'eo:cloud_cover': { gt: 0 } }, ['full', 'some']],
    [{ 'eo:cloud_cover': { gte: 19.5, lt: 100 } }, ['some']],
    [{ 'eo:cloud_cover': { eq: '10' } }, ['text']],
    [{ 'eo:cloud_cover': { lt: '15' } }, ['clear', 'text']],
    [{ 'eo:cloud_cover': { eq: '19.5' } }, ['some']],
    [{ 'eo:cloud_cover': { neq: 0 } }, ['full', 'some']],
    [{ 'properties.eo:cloud_cover': { in: [0, 100] } }, ['clear', 'full']],
    [{ platform: { in: ['landsat-5', 'landsat-7'] } }, ['clear', 'some']],
    [{ platform: { startsWith: 'landsat' } }, ['clear', 'some']],
    [{ platform: { endsWith: '7*' } }, ['full']],
    [{ platform: { contains: 'sat-' } }, ['clear', 'some']],
    [{ daytime: { eq: true } }, ['clear']],
    [{ daytime: { neq: true } }, ['some']],
    [{ id: { eq: 'full' } }, ['full']],
    [{ created: { gte: '2019-12-31T23:00:00-01:00' } }, ['clear']],
    [{ 'eo:cloud_cover': { lt: 20 }, platform: { eq: 'landsat-5' } }, ['some']],
  ])('%j finds %j', (query, ids) => {
    expect(search({ query }).sort()).toEqual(ids);
  });

  const property = (name: string) => ({ property: name });
  it.each([
    [{ op: '<', args: [property('eo:cloud_cover'), 20] }, ['clear', 'some']],
    [{ op: '>', args: [20, property('eo:cloud_cover')] }, ['clear', 'some']],
    [{ op: 'isNull', args: [property('platform')] }, ['text', 'unknown']],
    [
      { op: 'not', args: [{ op: 'isNull', args: [property('platform')] }] },
      ['clear', 'full', 'some'],
    ],
    [
      {
        op: 'or',
        args: [
          { op: '=', args: [property('id'), 'text'] },
          { op: '=', args: [property('eo:cloud_cover'), 100] },
        ],
      },
      ['full', 'text'],
    ],
    [
      {
        op: 'and',
        args: [
          { op: 'like', args: [property('platform'), 'landsat-_'] },
          { op: 'not', args: [{ op: '=', args: [property('daytime'), true] }] },
        ],
      },
      ['some'],
    ],
    [{ op: 'like', args: [property('platform'), 'Landsat\\_%'] }, ['full']],
    [{ op: 'between', args: [property('eo:cloud_cover'), 19.5, 100] }, ['full', 'some']],
    [{ op: 'in', args: [property('eo:cloud_cover'), [0, 100]] }, ['clear', 'full']],
    [
      { op: '=', args: [property('datetime'), { timestamp: '2001-07-10T14:00:00+02:00' }] },
      ['clear', 'full', 'some', 'text', 'unknown'],
    ],
    [{ op: '=', args: [property('created'), { date: '2020-01-01' }] }, ['clear']],
    [{ op: '>', args: [property('datetime'), { date: '2001-07-10' }] }, []],
    [
      { op: '=', args: [property('collection'), 'scenes'] },
      ['clear', 'full', 'some', 'text', 'unknown'],
    ],
  ])('the filter %j finds %j', (filter, ids) => {
    expect(search({ filter, 'filter-lang': 'cql2-json' }).sort()).toEqual(ids);
  });

  it.each([
    ['query', { query: [] }],
    ['query', { query: { 'a"b': { eq: 1 } } }],
    ['query.platform.like', { query: { platform: { like: 'x' } } }],
    ['query.platform.eq', { query: { platform: { eq: { a: 1 } } } }],
    ['filter', { filter: { op: 'nand', args: [] } }],
    ['filter', { filter: { op: '=', args: [1, 2] } }],
    ['filter', { filter: 'platform = 1', 'filter-lang': 'cql2-text' }],
    ['filter-crs', { 'filter-crs': 'EPSG:4326' }],
    ['sortby', { sortby: [{ field: 'id', direction: 'up' }] }],
    ['limit', { limit: 0 }],
    ['collection', { collection: 'scenes' }],
    ['token', { token: 'nothing' }],
  ])('refuses a bad "%s"', (field, parameters) => {
    expect(() => search(parameters)).toThrow(
      expect.objectContaining({ code: 'invalid_request', details: { field } }),
    );
  });

  it('refuses a filter that is nested without end', () => {
    let filter: object = { op: '=', args: [property('id'), 'x'] };
    for (let depth = 0; depth < 100; depth += 1) filter = { op: 'not', args: [filter] };
    expect(() => search({ filter })).toThrow(/nested too deep/);
  });

  it('sorts by them, what lacks them last', () => {
    expect(search({ sortby: '-properties.eo:cloud_cover' })).toEqual([
      'text',
      'full',
      'some',
      'clear',
      'unknown',
    ]);
    expect(search({ sortby: [{ field: 'platform' }, { field: 'id', direction: 'desc' }] })).toEqual(
      ['full', 'some', 'clear', 'unknown', 'text'],
    );
  });

  it('answers the fields that are asked for', () => {
    const one = (fields: unknown) => page({ ids: ['clear'], fields }).features[0];
    expect(one('id,properties.platform,-assets')).toEqual({
      type: 'Feature',
      stac_version: '1.1.0',
      id: 'clear',
      collection: 'scenes',
      geometry: scene('clear').geometry,
      bbox: scene('clear').bbox,
      properties: { datetime: '2001-07-10T12:00:00Z', platform: 'landsat-7' },
      links: [],
    });
    const without = one({ exclude: ['geometry', 'properties.eo:cloud_cover'] });
    expect(without).not.toHaveProperty('geometry');
    expect(without?.properties).toMatchObject({ platform: 'landsat-7' });
    expect(without?.properties).not.toHaveProperty('eo:cloud_cover');
  });
});

describe('pages', () => {
  const day = (n: number) => `2001-01-${String(n).padStart(2, '0')}T00:00:00Z`;

  it.each([
    ['latest first', {}],
    ['by place', { bbox: [9, 49, 11, 51] }],
    ['by a property that some lack', { sortby: '+platform' }],
    ['by a property downwards', { sortby: '-platform,datetime' }],
  ])('%s hold each item once, whatever is added in between', (_, parameters) => {
    put(
      Array.from({ length: 25 }, (_unused, n) =>
        scene(`s${n}`, {
          // Several of one time: only the key tells them apart.
          datetime: day(1 + Math.floor(n / 4)),
          ...(n % 3 === 0 ? {} : { properties: { platform: `p${n % 5}` } }),
        }),
      ),
    );
    const found: string[] = [];
    let token: string | null | undefined;
    let pages = 0;
    do {
      const answer: Page = page({ ...parameters, limit: 4, ...(token ? { token } : {}) });
      found.push(...answer.features.map(({ id }) => id));
      expect(answer.numberMatched).toBe(25);
      expect(answer.numberReturned).toBe(answer.features.length);
      token = answer.next;
      pages += 1;
      // Items that come before, among and behind those seen; and one that is replaced as it is.
      put([
        scene(`new-${pages}`, { datetime: day(20), properties: { platform: 'p0' } }),
        scene('s0', { datetime: day(1) }),
      ]);
    } while (token !== null);
    const old = found.filter((id) => id.startsWith('s'));
    expect([...new Set(old)]).toHaveLength(25);
    expect(found).toHaveLength(new Set(found).size);
  });

  it('are not gone on with by another search', () => {
    put([scene('a'), scene('b')]);
    const { next } = page({ limit: 1 });
    expect(() => page({ limit: 1, token: next, bbox: [0, 0, 1, 1] })).toThrow(
      expect.objectContaining({ details: { field: 'token' } }),
    );
    expect(page({ limit: 5, token: next }).features).toHaveLength(1);
  });
});

describe('namespaces', () => {
  it('see their own collections and those for everybody, and nothing of each other', () => {
    put([scene('a')], { collection: 'own', owner: 'alice' });
    put([scene('b')], { collection: 'own', owner: 'bob' });
    put([scene('c')], { collection: 'landsat', owner: null });
    put([scene('d')], { collection: 'hidden', owner: null });
    put([scene('e')], { collection: 'hidden', owner: 'alice' });
    expect(search({}).sort()).toEqual(['a', 'c', 'e']);
    expect(search({}, 'bob').sort()).toEqual(['b', 'c', 'd']);
    expect(search({ ids: ['a'] }, 'bob')).toEqual([]);
    expect(search({ collections: ['landsat'] }, 'carol')).toEqual(['c']);
    expect(search({ collections: ['own'] }, 'carol')).toEqual([]);
    const get = { namespace: 'carol', root: null, collection: 'own', id: 'a' };
    expect(() => runner.run('getItem', get)).toThrow(
      expect.objectContaining({ code: 'not_found' }),
    );
    expect(() => runner.run('removeCollection', { owner: 'bob', id: 'landsat' })).toThrow(
      expect.objectContaining({ code: 'not_found' }),
    );
    runner.run('removeNamespace', { namespace: 'alice' });
    expect(search({}).sort()).toEqual(['c', 'd']);
    expect(search({ bbox: [9, 49, 11, 51] }, 'bob').sort()).toEqual(['b', 'c', 'd']);
  });
});

describe('changes', () => {
  it('replace an item of the same id, place and time included', () => {
    expect(put([scene('a'), scene('b')])).toEqual({
      collection: 'scenes',
      created: 2,
      replaced: 0,
    });
    const moved = scene('a', { longitude: 100, datetime: '2010-01-01T00:00:00Z' });
    expect(put([moved])).toEqual({ collection: 'scenes', created: 0, replaced: 1 });
    expect(search({ bbox: [9, 49, 11, 51] })).toEqual(['b']);
    expect(search({ bbox: [99, 49, 101, 51], datetime: '2010' })).toEqual(['a']);
    expect(page({}).numberMatched).toBe(2);
  });

  it('take all items of a call or none', () => {
    expect(() => put([scene('good'), { ...scene('bad'), stac_version: '0.6' }])).toThrow(
      /"bad": "stac_version"/,
    );
    expect(search({})).toEqual([]);
  });

  it('remove items and collections', () => {
    put([scene('a'), scene('b')]);
    put([scene('c')], { collection: 'other' });
    const item = { owner: 'alice', collection: 'scenes', id: 'a' };
    expect(runner.run('removeItem', item)).toEqual({ id: 'a' });
    expect(() => runner.run('removeItem', item)).toThrow('There is no item "a" in scenes.');
    expect(page({ bbox: [9, 49, 11, 51] }).numberMatched).toBe(2);
    expect(page({}).numberMatched).toBe(2);
    expect(runner.run('removeCollection', { owner: 'alice', id: 'scenes' })).toEqual({
      id: 'scenes',
      items: 1,
    });
    expect(search({ bbox: [9, 49, 11, 51] })).toEqual(['c']);
    expect(() => runner.run('removeCollection', { owner: 'alice', id: 'othr' })).toThrow(
      'There is no collection "othr"; did you mean other?',
    );
  });

  it('give a collection that nobody described the extent of its items', () => {
    put([scene('a'), scene('b', { longitude: 20, datetime: '2005-01-01T00:00:00Z' })]);
    put([scene('n', { geometry: null, datetime: '1990-01-01T00:00:00Z' })]);
    const bytes = runner.run('getCollection', { namespace: 'alice', root: null, id: 'scenes' });
    expect(JSON.parse(Buffer.from(bytes as Uint8Array).toString('utf8'))).toMatchObject({
      id: 'scenes',
      extent: {
        spatial: { bbox: [[9.5, 49.5, 20.5, 50.5]] },
        temporal: { interval: [['1990-01-01T00:00:00.000Z', '2005-01-01T00:00:00.000Z']] },
      },
    });
  });
});

describe('a search that takes too long', () => {
  it('is given up', () => {
    put(Array.from({ length: 200 }, (_, n) => scene(`s${n}`)));
    let nowMs = 0;
    Object.defineProperty(clock, 'nowMs', { get: () => (nowMs += 600) });
    expect(() => search({ query: { platform: { eq: 'none' } } })).toThrow(
      expect.objectContaining({ code: 'timed_out' }),
    );
  });
});
