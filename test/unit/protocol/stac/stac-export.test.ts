import { describe, expect, it } from 'vitest';
import {
  makeCollection,
  makeItem,
  outputFileName,
  summarize,
} from '../../../../protocol/stac/stac-export.ts';
import type { GroupView, OutputView } from '../../../../protocol/wire/api.ts';
import type { BlobHash, GroupId, TaskId } from '../../../../protocol/wire/ids.ts';
import { cogMediaType } from '../../../../protocol/wire/output-names.ts';

const square = (west: number) => ({
  type: 'Polygon',
  coordinates: [
    [
      [west, 0],
      [west + 1, 0],
      [west + 1, 1],
      [west, 1],
      [west, 0],
    ],
  ],
});

const output = (changes: Partial<OutputView> = {}): OutputView => ({
  task: '17-3' as TaskId,
  group: 'aaaaaaaaaaaa' as GroupId,
  name: 'ndvi',
  sizeBytes: 10,
  mediaType: cogMediaType,
  sha256: 'ab'.repeat(32) as BlobHash,
  href: '/v1/tasks/17-3/outputs/ndvi',
  attempt: 2,
  createdAt: '2026-01-02T03:04:05.000Z',
  metadata: { geometry: square(10), bbox: [10, 0, 11, 1], arguments: { args: [1], kwargs: {} } },
  ...changes,
});
const hrefOf = (one: OutputView): string => `./${outputFileName(one)}`;

const group = {
  id: 'aaaaaaaaaaaa',
  name: 'ndvi',
  tasks: { queued: 1, running: 2, succeeded: 3, failed: 4 },
} as GroupView;

describe('the item of a task', () => {
  it('has its ids, arguments, place and files', () => {
    expect(makeItem([output()], hrefOf)).toEqual({
      type: 'Feature',
      stac_version: '1.1.0',
      stac_extensions: ['https://stac-extensions.github.io/file/v2.1.0/schema.json'],
      id: 'aaaaaaaaaaaa-17-3',
      collection: 'aaaaaaaaaaaa',
      geometry: square(10),
      bbox: [10, 0, 11, 1],
      properties: {
        datetime: '2026-01-02T03:04:05.000Z',
        created: '2026-01-02T03:04:05.000Z',
        'perigee:guid': 'aaaaaaaaaaaa',
        'perigee:tuid': '17-3',
        'perigee:attempt': 2,
        'perigee:arguments': { args: [1], kwargs: {} },
      },
      links: ['root', 'parent', 'collection'].map((rel) => ({
        rel,
        href: '../collection.json',
        type: 'application/json',
      })),
      assets: {
        ndvi: {
          href: './ndvi.tif',
          type: cogMediaType,
          roles: ['data'],
          'file:size': 10,
          'file:checksum': `1220${'ab'.repeat(32)}`,
        },
      },
    });
  });

  it('takes the time that a writer told, also a span, and lets nobody forge ids or files', () => {
    const told = output({
      metadata: {
        properties: {
          start_datetime: '2020-01-01T00:00:00Z',
          end_datetime: '2020-02-01T00:00:00Z',
          datetime: null,
          'perigee:tuid': '1-1',
          season: 'dry',
        },
        asset: {
          href: 'file:///etc/passwd',
          type: 'text/html',
          'file:size': 1,
          'proj:code': null,
          roles: ['overview'],
        },
      },
    });
    const item = makeItem([told], hrefOf);
    expect(item.properties).toMatchObject({
      datetime: null,
      start_datetime: '2020-01-01T00:00:00Z',
      'perigee:tuid': '17-3',
      season: 'dry',
    });
    expect(item.assets['ndvi']).toMatchObject({
      href: './ndvi.tif',
      type: cogMediaType,
      'file:size': 10,
      roles: ['overview'],
    });
    expect(item.geometry).toBeNull();
    expect(item.bbox).toBeUndefined();
    expect(item.stac_extensions).toContain(
      'https://stac-extensions.github.io/projection/v2.0.0/schema.json',
    );
    expect(summarize(item, './x').interval).toEqual([
      '2020-01-01T00:00:00Z',
      '2020-02-01T00:00:00Z',
    ]);
  });

  it('has the box around outputs of several places', () => {
    const other = output({ name: 'b', metadata: { geometry: square(20), bbox: [20, 0, 21, 1] } });
    const item = makeItem([output(), other], hrefOf);
    expect(item.bbox).toEqual([10, 0, 21, 1]);
    expect(item.geometry).toMatchObject({ type: 'Polygon' });
    const across = output({
      name: 'c',
      metadata: { geometry: square(179.5), bbox: [179.5, 0, -179.5, 1] },
    });
    expect(makeItem([across], hrefOf).bbox).toEqual([179.5, 0, -179.5, 1]);
    expect(makeItem([output(), across], hrefOf).bbox).toEqual([-180, 0, 180, 1]);
  });

  it('takes nothing over that is not what it should be', () => {
    const odd = output({
      metadata: { geometry: [1], bbox: [1, 2, 'x', 4], properties: 'x', asset: [] },
    });
    expect(makeItem([odd], hrefOf)).toMatchObject({ geometry: null });
  });
});

it('names files of GeoTIFFs so that GDAL knows them', () => {
  expect(outputFileName(output())).toBe('ndvi.tif');
  expect(outputFileName(output({ name: 'a.tiff' }))).toBe('a.tiff');
  expect(outputFileName(output({ name: 'a.csv', mediaType: 'text/csv' }))).toBe('a.csv');
});

describe('the collection of a group', () => {
  it('spans its items and says what is missing', () => {
    const items = [
      output(),
      output({
        task: '17-4' as TaskId,
        createdAt: '2026-01-03T00:00:00.000Z',
        metadata: { geometry: square(-5), bbox: [-5, 0, -4, 1] },
      }),
    ].map((one) => summarize(makeItem([one], hrefOf), `./${one.task}.json`));
    const collection = makeCollection(group, { items, failedFile: 'failed-tasks.json' });
    expect(collection).toMatchObject({
      id: 'aaaaaaaaaaaa',
      extent: {
        spatial: { bbox: [[-5, 0, 11, 1]] },
        temporal: { interval: [['2026-01-02T03:04:05.000Z', '2026-01-03T00:00:00.000Z']] },
      },
      item_assets: { ndvi: { type: cogMediaType, roles: ['data'] } },
      'perigee:tasks': { succeeded: 3, failed: 4, unfinished: 3 },
    });
    const { links } = collection as { links: { rel: string; href: string }[] };
    expect(links.map(({ rel, href }) => [rel, href])).toEqual([
      ['root', './collection.json'],
      ['related', './failed-tasks.json'],
      ['item', './17-3.json'],
      ['item', './17-4.json'],
    ]);
  });

  it('of nothing is a valid one all the same', () => {
    expect(makeCollection(group, { items: [], failedFile: null })).toMatchObject({
      extent: { spatial: { bbox: [[-180, -90, 180, 90]] }, temporal: { interval: [[null, null]] } },
    });
  });
});
