/** Scenes are found in the catalogue, by our own tools and by the field's, and read through the cache. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../sdk/ts/index.ts';
import type { Mesh } from '../chaos/mesh.ts';
import { startMesh } from '../chaos/mesh.ts';
import type { Scripts } from '../chaos/scripts.ts';
import { createScripts } from '../chaos/scripts.ts';
import { checkout } from '../setup/run-program.ts';
import type { RangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { startRangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

const scenes = join(checkout, 'scripts/demo/scenes');
const itemText = readFileSync(join(scenes, 'L7_olinda.json'), 'utf8');
const geometry: unknown = (JSON.parse(itemText) as { geometry: unknown }).geometry;
const collection = 'landsat7-samples';
const scriptMs = 600_000;

let origin: RangeServer;
let mesh: Mesh;
let scripts: Scripts;
const perigee = (...words: string[]) => runInProcess(words, mesh.environment);

beforeAll(async () => {
  origin = await startRangeServer();
  for (const name of ['L7_ETMs.tif', 'L7_red.tif', 'L7_nir.tif', 'L7_olinda.json']) {
    origin.files.set(`/scenes/${name}`, readFileSync(join(scenes, name)));
  }
  const catalogue = {
    type: 'Catalog',
    stac_version: '1.0.0',
    id: 'samples',
    description: 'Samples.',
    links: [
      { rel: 'self', href: './catalog.json' },
      { rel: 'item', href: './scenes/L7_olinda.json' },
    ],
  };
  origin.files.set('/catalog.json', Buffer.from(JSON.stringify(catalogue)));
  mesh = await startMesh(
    { NO_COLOR: '1' },
    { nodes: 1, imageryAllow: [origin.host], mounts: [`scenes=${scenes}`] },
  );
  scripts = createScripts(mesh.environment);
});
afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  await origin?.[Symbol.asyncDispose]();
});

describe('the command line', () => {
  it('takes a catalogue in by its links, and finds what it held', async () => {
    expect(await perigee('imagery', 'ls')).toMatchObject({
      stdout: 'There is no collection yet.\n',
      stderr: 'next: scripts/perigee imagery add FILE_OR_URL\n',
    });
    expect(await perigee('imagery', 'add', origin.url('/catalog.json'))).toEqual({
      exitCode: 0,
      stdout: `${collection}: 1 new item, 0 replaced\n`,
      stderr: `next: scripts/perigee imagery search --collections ${collection}\n`,
    });
    const again = await perigee('imagery', 'add', origin.url('/scenes/L7_olinda.json'), '--json');
    expect(JSON.parse(again.stdout)).toEqual([{ collection, created: 0, replaced: 1 }]);
    expect((await perigee('imagery', 'ls')).stdout).toContain(`${collection}      1  1999-04-15`);
    const place = ['--bbox', '-35,-8.1,-34.8,-7.9', '--datetime', '2001-07'];
    const found = await perigee('imagery', 'search', ...place, '--json');
    expect(JSON.parse(found.stdout)).toMatchObject({
      numberMatched: 1,
      features: [{ assets: { B4: { href: origin.url('/scenes/L7_nir.tif') } } }],
    });
    expect((await perigee('imagery', 'search', ...place)).stdout).toMatch(/^L7_olinda {2}/m);
    const other = ['--datetime', '2010', '--query', 'platform=landsat-7'];
    expect((await perigee('imagery', 'search', ...other)).stdout).toBe('No such items.\n');
    const shape = join(scenes, 'L7_olinda.json');
    expect((await perigee('imagery', 'search', '--intersects', shape)).stdout).toContain(
      'L7_olinda',
    );
    const platform = ['--query', 'platform=landsat-7', '--query', 'gsd<30', '--max-items', '5'];
    expect((await perigee('imagery', 'search', ...platform)).stdout).toContain('L7_olinda');
  });

  it('names near collections, and the fix', async () => {
    const near = await perigee('imagery', 'search', '--collections', 'landsat7-sample');
    expect(near).toMatchObject({ exitCode: 5, stdout: '' });
    expect(near.stderr).toContain(
      `There is no collection "landsat7-sample"; did you mean ${collection}?`,
    );
    const missing = await perigee('imagery', 'add', origin.url('/none.json'));
    expect(missing).toMatchObject({ exitCode: 5, stdout: '' });
    const wrong = await perigee('imagery', 'add', join(scenes, 'README.md'));
    expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
    const nobody = await perigee('imagery', 'rm', collection);
    expect(nobody).toMatchObject({ exitCode: 2, stdout: '' });
    expect(nobody.stderr).toContain(`fix: scripts/perigee imagery rm ${collection} --yes`);
  });

  it('adds one item a line into a collection that it is told, and removes it', async () => {
    const lines = ['a', 'b'].map((id) => JSON.stringify({ ...JSON.parse(itemText), id }));
    origin.files.set('/two.ndjson', Buffer.from(lines.join('\n')));
    const two = ['--collection', 'two', '--shared'];
    const added = await perigee('imagery', 'add', origin.url('/two.ndjson'), ...two);
    expect(added.stdout).toBe('two: 2 new items, 0 replaced\n');
    expect((await perigee('imagery', 'ls')).stdout).toMatch(/^two +2 .* everybody /m);
    expect((await perigee('imagery', 'ls', 'two')).stdout).toMatch(/^a +two/m);
    expect(await perigee('imagery', 'rm', 'two', 'a')).toMatchObject({ exitCode: 5 });
    expect((await perigee('imagery', 'rm', 'two', 'a', '--shared')).stdout).toBe('a is removed.\n');
    const removed = await perigee('imagery', 'rm', 'two', '--yes', '--shared');
    expect(removed.stdout).toBe('two is removed, with 1 item.\n');
  });
});

/** The Python blocks of the guide, in order. */
function guideBlocks(): string[] {
  const guide = readFileSync(join(checkout, 'docs/imagery.md'), 'utf8');
  return [...guide.matchAll(/```python\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
}

describe('this polygon, this month, this function', () => {
  it(
    'are the three lines of the guide',
    async () => {
      const [lines = '', preamble = ''] = guideBlocks();
      expect(lines.trim().split('\n')).toHaveLength(3);
      const polygon = `import json\npolygon = json.loads('''${JSON.stringify(geometry)}''')\n`;
      const ended = await scripts.run(`${preamble}\n${polygon}${lines}`);
      const tools = `
import rasterio
means = [rasterio.open('${scenes}/' + name).read().mean() for name in ('L7_nir.tif', 'L7_red.tif')]
print([('L7_olinda', round(float(means[0]) / means[1], 3))])
`;
      const expected = await scripts.run(tools);
      expect(ended).toMatchObject({ status: 0, stdout: expected.stdout });
      expect(origin.gets).toBeGreaterThan(0);
    },
    scriptMs,
  );
});

describe('an item that is added as a file', () => {
  it(
    'is read by nodes that mount its folder',
    async () => {
      const item = join(scenes, 'L7_olinda.json');
      const added = await perigee('imagery', 'add', item, '--collection', 'local');
      expect(added.stdout).toBe('local: 1 new item, 0 replaced\n');
      const ended = await scripts.run(`
from perigee import AsyncTasks, imagery
def size(item):
    return imagery.read(item.assets['B4'].href)[1]['shape']
print([task.result for task in AsyncTasks().create_function(size).map(imagery.search(collections='local'))])
`);
      expect(ended).toMatchObject({ status: 0, stdout: '[(1, 1024, 1024)]\n' });
      await perigee('imagery', 'rm', 'local', '--yes');
    },
    scriptMs,
  );
});

describe('the Python SDK', () => {
  it(
    'searches with what pystac-client takes, and says what is wrong, on both Pythons',
    async () => {
      const script = `
from __future__ import print_function
import datetime, json, pickle
from perigee import errors, imagery
search = imagery.search(collections=['${collection}'], bbox=(-35, -8.1, -34.8, -7.9),
                        datetime=(datetime.datetime(2001, 7, 1), None), query=['gsd<30'], sortby='-datetime')
assert search.matched() == 1
item, = search.item_collection()
assert (item.id, item.collection, item.datetime) == ('L7_olinda', '${collection}', None), item
assert sorted(item.assets) == ['B3', 'B4', 'etm'] and item.assets['B4'].roles == ['data']
assert pickle.loads(pickle.dumps(item, 2)) == item and item.to_dict()['type'] == 'Feature'
assert list(imagery.search(datetime='2010')) == []
assert len(list(imagery.search(intersects=item, max_items=1))) == 1
try:
    list(imagery.search(collections='landsat'))
except errors.NotFoundError as error:
    print(error.message)
try:
    list(imagery.search(bbox=[1, 2, 3]))
except errors.BadRequestError as error:
    print(error.message)
`;
      for (const flag of ['--py2', '--py3'] as const) {
        const ended = await scripts.run(script, { flag });
        expect(ended).toMatchObject({ status: 0, stderr: '' });
        expect(ended.stdout).toContain('There is no collection "landsat"; did you mean');
        expect(ended.stdout).toContain('"bbox" must be four or six numbers');
      }
    },
    scriptMs,
  );
});

describe('the TypeScript SDK', () => {
  it('searches over libp2p', async () => {
    await using client = await connect({ url: mesh.url, token: mesh.token });
    const wanted = { collections: [collection], datetime: '2001-07' } as const;
    const found: string[] = [];
    for await (const item of client.imagery.search(wanted)) found.push(item.id);
    expect(found).toEqual(['L7_olinda']);
    expect(await client.imagery.search(wanted).matched()).toBe(1);
    const { features } = await client.imagery
      .search({ datetime: [null, new Date(0)] })
      .itemCollection();
    expect(features).toEqual([]);
    await expect(
      client.imagery.search({ collections: ['none'] }).itemCollection(),
    ).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('pystac-client', () => {
  it(
    'opens the API with our token, and searches with paging, filters and conformance',
    async () => {
      for (const name of ['x', 'y', 'z']) {
        const item = { ...JSON.parse(itemText), id: name };
        item.properties['eo:cloud_cover'] = name === 'x' ? 5 : 50;
        origin.files.set(`/${name}.json`, Buffer.from(JSON.stringify(item)));
      }
      const urls = ['x', 'y', 'z'].map((name) => origin.url(`/${name}.json`));
      await perigee('imagery', 'add', ...urls, '--collection', 'pages');
      const ended = await scripts.run(
        `
import os, json, warnings
warnings.simplefilter('error')
from pystac_client import Client, ConformanceClasses
from perigee import hooks
catalog = Client.open(os.environ['PERIGEE_URL'] + '/v1/stac',
                      headers={'Authorization': 'Bearer ' + os.environ['PERIGEE_TOKEN']})
for name in ('CORE', 'COLLECTIONS', 'FEATURES', 'ITEM_SEARCH', 'FIELDS', 'SORT', 'QUERY', 'FILTER'):
    assert catalog.conforms_to(getattr(ConformanceClasses, name)), name
assert sorted(each.id for each in catalog.get_collections()) == ['${collection}', 'pages']
collection = catalog.get_collection('pages')
assert sorted(item.id for item in collection.get_items()) == ['x', 'y', 'z']
assert collection.get_item('y').id == 'y'
for method in ('GET', 'POST'):
    pages = list(catalog.search(collections=['pages'], limit=2, method=method).pages())
    assert [len(page) for page in pages] == [2, 1], method
    search = catalog.search(method=method, collections=['pages'], bbox=[-35, -8.1, -34.8, -7.9],
                            datetime='2001-07', sortby='-id', fields=['id', 'properties.eo:cloud_cover'])
    assert [item['id'] for item in search.items_as_dicts()] == ['z', 'y', 'x'], method
    assert search.matched() == 3
    place = catalog.search(method=method, intersects=json.loads('''${JSON.stringify(geometry)}'''), max_items=2)
    assert len(list(place.items())) == 2
assert [i.id for i in catalog.search(query=['eo:cloud_cover<20']).items()] == ['x']
clear = {'op': '<', 'args': [{'property': 'eo:cloud_cover'}, 20]}
assert [i.id for i in catalog.search(filter=clear, filter_lang='cql2-json').items()] == ['x']
item = next(catalog.search(collections=['${collection}']).items())
assert item.get_collection().id == '${collection}' and item.get_root().id == 'perigee'
print(item.assets['B4'].href)
`,
        { flag: '--py3', env: { PERIGEE_URL: mesh.url, PERIGEE_TOKEN: mesh.token } },
      );
      expect(ended).toMatchObject({
        status: 0,
        stdout: `${origin.url('/scenes/L7_nir.tif')}\n`,
        stderr: '',
      });
    },
    scriptMs,
  );
});

describe('odc-stac, rioxarray and rio-tiler', () => {
  it(
    'read in a task, through the cache and without change, the pixels that rasterio reads',
    async () => {
      const before = origin.bytesSent;
      const ended = await scripts.run(
        `
import hashlib
import rasterio
from perigee import AsyncTasks, imagery
def look(item):
    import hashlib, os
    import odc.stac, pystac, rioxarray
    from odc.geo.geobox import GeoBox
    from rio_tiler.io import Reader
    import rasterio
    from perigee import hooks, imagery
    href = item.assets['B3'].href
    with rasterio.open(imagery.open(href)) as scene:
        box = GeoBox(scene.shape, scene.transform, scene.crs)
    found = pystac.Item.from_dict(item.to_dict())
    cube = odc.stac.load([found], bands=['B3'], geobox=box, patch_url=hooks.patch_url, fail_on_error=True)
    arrays = [cube.B3.values[0], rioxarray.open_rasterio(hooks.patch_url(href)).values[0]]
    with Reader(hooks.patch_url(href)) as reader:
        arrays.append(reader.read().array.data[0])
    hooks.modifier(found)
    arrays.append(rioxarray.open_rasterio(found.assets['B3'].href).values[0])
    assert os.environ['PERIGEE_SANDBOX'] == '1'
    # An item says nothing of its type of pixel, so odc-stac gives numbers of another.
    assert all((array == array.astype('uint8')).all() for array in arrays)
    return [hashlib.sha256(array.astype('uint8').tobytes()).hexdigest() for array in arrays]
function = AsyncTasks().create_function(look, image='perigee/geospatial:py3.11', task_timeout=200)
item, = imagery.search(collections='${collection}')
with rasterio.open('${scenes}/L7_red.tif') as scene:
    expected = hashlib.sha256(scene.read(1).tobytes()).hexdigest()
assert function(item).result == [expected] * 4
print('same')
`,
        { flag: '--py3' },
      );
      expect(ended).toMatchObject({ status: 0, stdout: 'same\n', stderr: '' });
      // Four readers and two earlier tests: the origin is asked for each file once.
      const whole = ['L7_red.tif', 'L7_ETMs.tif', 'L7_nir.tif']
        .map((name) => readFileSync(join(scenes, name)).length)
        .reduce((sum, bytes) => sum + bytes, 0);
      expect(origin.bytesSent - before).toBeLessThanOrEqual(whole);
    },
    scriptMs,
  );
});
