/** Outputs on a real mesh, from both Pythons to a STAC catalogue that the field's own tools take. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OutputView, Page } from '../../protocol/wire/api.ts';
import { cogMediaType } from '../../protocol/wire/output-names.ts';
import { connect } from '../../sdk/ts/index.ts';
import type { Mesh } from '../chaos/mesh.ts';
import { startMesh } from '../chaos/mesh.ts';
import type { Scripts } from '../chaos/scripts.ts';
import { createScripts } from '../chaos/scripts.ts';
import { findCogFaults, readTiff } from '../outputs/tiff.ts';
import { installForTests } from '../setup/pip-packages.ts';
import { checkout } from '../setup/run-program.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

/** NDVI of windows of a scene, one of which is asked for wrongly; the client looks at what came. */
const ndvi = `
import hashlib, io, os, sys
import numpy, rasterio
from perigee import AsyncTasks
folder = sys.argv[1]

def ndvi(column):
    from perigee import imagery, save_output
    window = (column, 0, 300, 600)
    red, meta = imagery.read('data:scenes/L7_red.tif', window=window)
    nir, _ = imagery.read('data:scenes/L7_nir.tif', window=window)
    red, nir = red[0].astype('float32'), nir[0].astype('float32')
    index = (nir - red) / (nir + red + 1e-6)
    imagery.write('ndvi', index, like=meta, nodata=-2.0, datetime='2001-07-10T12:50:00Z', bands=['ndvi'])
    save_output('report.csv', data=('mean,%r' % float(index.mean())).encode('ascii'))
    return float(index.mean())

function = AsyncTasks().create_function(ndvi, name='ndvi', retry_count=0)
tasks = function.map([0, 300, 600, 5000])
for task in tasks:
    task.wait(120)
assert [task.status for task in tasks] == ['SUCCESS'] * 3 + ['FAILURE'], [task.log for task in tasks]
assert tasks[3].outputs == []
names = [output.name for output in tasks[0].outputs]
assert names == ['ndvi', 'report.csv'], names
first, report = tasks[0].outputs
assert report.read() == ('mean,%r' % tasks[0].result).encode('ascii')
path = first.download(folder)
assert path == os.path.join(folder, 'ndvi') and os.path.getsize(path) == first.bytes
with io.open(path, 'rb') as opened:
    content = opened.read()
assert hashlib.sha256(content).hexdigest() == first.sha256
# Cut off, it goes on where it was; whole, it is not fetched again.
os.rename(path, path + '.part')
with io.open(path + '.part', 'r+b') as opened:
    opened.truncate(1000)
assert first.download(folder) == path
with io.open(path, 'rb') as opened:
    assert opened.read() == content
with first.open() as opened:
    opened.seek(100)
    assert opened.read(50) == content[100:150]
    opened.seek(-10, 2)
    assert opened.read() == content[-10:]
with rasterio.open(path) as scene:
    assert abs(scene.read(1).mean() - tasks[0].result) < 1e-6
    assert first.metadata['asset']['proj:transform'] == list(scene.transform)[:6]
assert [(output.tuid, output.name) for output in function.outputs()] == [
    (task.tuid, name) for task in tasks[:3] for name in ('ndvi', 'report.csv')]
print(function.group_id)
`;

const validate = `
import json, os, re, sys, warnings
warnings.simplefilter('error')
warnings.simplefilter('ignore', PendingDeprecationWarning)
warnings.simplefilter('ignore', DeprecationWarning)
import pystac, rasterio
from pystac.validation import validate_dict
from pystac.extensions.projection import ProjectionExtension
from rio_cogeo.cogeo import cog_validate
folder, expected = sys.argv[1], int(sys.argv[2])
collection = pystac.Collection.from_file(os.path.join(folder, 'collection.json'))
def check(path, kind):
    with open(path) as opened:
        document = json.load(opened)
    # The schemas of STAC itself come with pystac; those of extensions are on the network.
    assert validate_dict(document, kind, document['stac_version'], [], path)
    for link in document['links']:
        assert link['href'].startswith('.'), link
    for name, asset in document.get('assets', {}).items():
        # What the extensions' own schemas ask of the fields that are used.
        assert asset['href'].startswith('./') and re.match('^1220[0-9a-f]{64}$', asset['file:checksum'])
        for field in asset:
            if ':' in field and not field.startswith('perigee:'):
                url = 'https://stac-extensions.github.io/%s/' % {'proj': 'projection'}.get(field.split(':')[0], field.split(':')[0])
                assert any(one.startswith(url) for one in document['stac_extensions']), field
        if 'proj:shape' in asset:
            assert asset['proj:code'] is None or re.match('^EPSG:[0-9]+$', asset['proj:code'])
            assert len(asset['proj:shape']) == 2 and all(type(size) is int for size in asset['proj:shape'])
            assert len(asset['proj:transform']) == 6 and len(asset['proj:bbox']) == 4
            known = {'mean', 'minimum', 'maximum', 'stddev', 'valid_percent'}
            assert all(set(band['statistics']) <= known for band in asset['raster:bands'])
    return document
check(os.path.join(folder, 'collection.json'), pystac.STACObjectType.COLLECTION)
items = list(collection.get_items())
assert len(items) == expected, items
for item in items:
    document = check(item.get_self_href(), pystac.STACObjectType.ITEM)
    assert item.get_collection().id == collection.id == document['collection']
    assert item.id == '%s-%s' % (collection.id, item.properties['perigee:tuid'])
    assert item.datetime.isoformat() == '2001-07-10T12:50:00+00:00', item.datetime
    column = item.properties['perigee:arguments']['args'][0]
    asset = item.assets['ndvi']
    assert asset.roles == ['data'] and asset.media_type == 'image/tiff; application=geotiff; profile=cloud-optimized'
    path = asset.get_absolute_href()
    assert os.path.getsize(path) == asset.extra_fields['file:size']
    valid, faults, doubts = cog_validate(path, strict=True, quiet=True)
    assert valid and not faults and not doubts, (faults, doubts)
    projection = ProjectionExtension.ext(asset)
    with rasterio.open(path) as scene:
        assert projection.shape == [scene.height, scene.width]
        assert projection.transform == list(scene.transform)[:6]
        assert projection.bbox == list(scene.bounds)
        assert (scene.crs.to_epsg() is None) == (projection.code is None)
        assert scene.nodata == -2.0 == asset.extra_fields['raster:bands'][0]['nodata']
        pixels = scene.read(1).astype('float64')
        told = asset.extra_fields['raster:bands'][0]['statistics']
        assert abs(told['mean'] - pixels.mean()) < 1e-6 and abs(told['stddev'] - pixels.std()) < 1e-6
        assert abs(told['minimum'] - pixels.min()) < 1e-6 and told['valid_percent'] == 100.0
        with rasterio.open(os.path.join(sys.argv[3], 'L7_red.tif')) as source:
            assert list(scene.transform)[:6] == list(source.transform * source.transform.translation(column, 0))[:6]
            assert scene.crs == source.crs, (scene.crs, source.crs)
    west, south, east, north = item.bbox
    assert -35.2 < west < east < -34.6 and -8.2 < south < north < -7.8, item.bbox
    box = collection.extent.spatial.bboxes[0]
    assert box[0] <= west and box[1] <= south and box[2] >= east and box[3] >= north
    assert item.assets['report.csv'].media_type == 'text/csv'
print('valid', len(items))
`;

let mesh: Mesh;
let scripts: Scripts;
let folder: string;
let tools: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-outputs-mesh-'));
  tools = await installForTests('stac-tools', [
    ['jsonschema==4.26.0'],
    ['--no-deps', 'rio-cogeo==7.0.4'],
  ]);
  const mounts = [`scenes=${join(checkout, 'scripts/demo/scenes')}`];
  mesh = await startMesh({ NO_COLOR: '1' }, { mounts });
  scripts = createScripts(mesh.environment);
});
afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  rmSync(folder, { recursive: true, force: true });
});

const cli = (...words: string[]) => runInProcess(words, mesh.environment);

async function get(path: string, headers: Record<string, string> = {}, method = 'GET') {
  return fetch(mesh.url + path, {
    method,
    headers: { authorization: `Bearer ${mesh.token}`, ...headers },
  });
}

describe.each([{ flag: '--py2' }, { flag: '--py3' }] as const)(
  'outputs of tasks of %s',
  ({ flag }) => {
    let guid: string;
    let outputs: OutputView[];

    it('come to the Python client, whole and in parts', async () => {
      const own = mkdtempSync(join(folder, 'client-'));
      const image = flag === '--py3' ? "image='perigee/geospatial:py3.11', " : '';
      const script = ndvi.replace("name='ndvi', ", `${image}name='ndvi', `);
      const ended = await scripts.run(script, { flag, parameters: [own] });
      expect(ended).toMatchObject({ status: 0, stderr: '' });
      guid = ended.stdout.trim();
    });

    it('are listed and served over HTTP, with ranges and an ETag', async () => {
      const page = (await (
        await get(`/v1/groups/${guid}/outputs?limit=4`)
      ).json()) as Page<OutputView>;
      const rest = (await (
        await get(`/v1/groups/${guid}/outputs?cursor=${encodeURIComponent(page.next ?? '')}`)
      ).json()) as Page<OutputView>;
      outputs = [...page.items, ...rest.items];
      expect(outputs).toHaveLength(6);
      expect(rest.next).toBeNull();
      const [first] = outputs;
      if (first === undefined) return;
      expect(first).toMatchObject({
        group: guid,
        name: 'ndvi',
        mediaType: cogMediaType,
        attempt: 1,
      });
      const whole = await get(first.href);
      const bytes = Buffer.from(await whole.arrayBuffer());
      expect(bytes).toHaveLength(first.sizeBytes);
      expect(Object.fromEntries(whole.headers)).toMatchObject({
        etag: `"${first.sha256}"`,
        'content-type': cogMediaType,
        'content-disposition': 'attachment; filename="ndvi"',
        'content-security-policy': "default-src 'none'; sandbox",
      });
      const part = await get(first.href, { range: 'bytes=10-19' });
      expect([part.status, part.headers.get('content-range')]).toEqual([
        206,
        `bytes 10-19/${first.sizeBytes}`,
      ]);
      expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(10, 20))).toBe(true);
      const tail = await get(first.href, { range: 'bytes=-5' });
      expect(Buffer.from(await tail.arrayBuffer()).equals(bytes.subarray(-5))).toBe(true);
      const beyond = await get(first.href, { range: `bytes=${first.sizeBytes}-` });
      expect([beyond.status, ((await beyond.json()) as { code: string }).code]).toEqual([
        416,
        'range_invalid',
      ]);
      expect((await get(first.href, { 'if-none-match': `"${first.sha256}"` })).status).toBe(304);
      const other = await get(first.href, { range: 'bytes=0-1', 'if-range': '"other"' });
      expect([other.status, (await other.arrayBuffer()).byteLength]).toEqual([
        200,
        first.sizeBytes,
      ]);
      const head = await get(first.href, {}, 'HEAD');
      expect([head.status, head.headers.get('content-length')]).toEqual([
        200,
        String(first.sizeBytes),
      ]);
      expect((await get(`${first.href}x`)).status).toBe(404);
      expect((await fetch(mesh.url + first.href)).status).toBe(401);
    });

    it('come to the TypeScript client', async () => {
      await using client = await connect({ url: mesh.url, token: mesh.token });
      const [first] = outputs;
      const found = await client.task(guid, first?.task ?? '').outputs();
      expect(found.map(({ name, bytes, mediaType }) => [name, bytes, mediaType])).toEqual(
        outputs.slice(0, 2).map(({ name, sizeBytes, mediaType }) => [name, sizeBytes, mediaType]),
      );
      const own = mkdtempSync(join(folder, 'ts-'));
      const path = await found[0]?.download(own);
      expect(path).toBe(join(own, 'ndvi'));
      const content = readFileSync(path ?? '');
      expect(Buffer.compare(content, (await found[0]?.read()) ?? new Uint8Array(0))).toBe(0);
      // Cut off, it goes on where it was.
      writeFileSync(join(own, 'again.part'), content.subarray(0, 777));
      await found[0]?.download(join(own, 'again'));
      expect(readFileSync(join(own, 'again')).equals(content)).toBe(true);
      let count = 0;
      for await (const output of (
        await client.findFunction(guid).catch(() => undefined)
      )?.outputs() ?? []) {
        if (output.bytes > 0) count += 1;
      }
      // A function of pickles is not TypeScript's to call.
      expect(count).toBe(0);
    });

    it('come to the command line, and not twice', async () => {
      const task = outputs[0]?.task ?? '';
      const shown = await cli('task', task);
      expect(shown.stdout).toMatch(/ndvi +\d+(\.\d)? KiB +image\/tiff; application=geotiff/);
      const own = mkdtempSync(join(folder, 'cli-'));
      expect(await cli('task', 'output', task, 'ndvi', '--to', join(own, 'one.tif'))).toMatchObject(
        {
          exitCode: 0,
          stdout: `${join(own, 'one.tif')}\n`,
        },
      );
      expect(findCogFaults(readTiff(join(own, 'one.tif')))).toEqual([]);
      const missing = await cli('task', 'output', task, 'none', '--to', own);
      expect(missing).toMatchObject({ exitCode: 5 });
      const all = await cli('group', 'outputs', guid, '--to', join(own, 'all'), '--json');
      expect(JSON.parse(all.stdout)).toHaveLength(6);
      expect(readdirSync(join(own, 'all', task)).sort()).toEqual(['ndvi.tif', 'report.csv']);
      const again = await cli('group', 'outputs', guid, '--to', join(own, 'all'));
      expect(again.stdout).toContain('6 outputs');
      expect(again.stdout).toContain('0 of them new');
    });

    it('become a STAC collection that pystac takes, and the same again', {
      timeout: 180_000,
    }, async () => {
      const place = join(folder, `stac-${guid}`);
      const made = await cli('group', 'export', guid, '--stac', place);
      expect(made).toMatchObject({ exitCode: 0 });
      expect(made.stdout).toContain('3 items, 6 files, 6 of them new.');
      expect(made.stdout).toContain(`1 task failed: ${join(place, 'failed-tasks.json')}`);
      const failed = JSON.parse(readFileSync(join(place, 'failed-tasks.json'), 'utf8'));
      expect(failed.tasks).toMatchObject([{ code: 'exception', exception: 'WindowError' }]);
      const checked = await scripts.run(validate, {
        flag: '--py3',
        parameters: [place, '3', join(checkout, 'scripts/demo/scenes')],
        env: { PYTHONPATH: tools },
      });
      expect(checked).toMatchObject({ status: 0, stdout: 'valid 3\n', stderr: '' });
      const before = snapshot(place);
      const again = await cli('group', 'export', guid, '--stac', place);
      expect(again.stdout).toContain('0 of them new');
      expect(snapshot(place)).toEqual(before);
      // A file that was lost or cut is fetched again.
      const [item = ''] = readdirSync(place).filter((name) => name.startsWith(guid));
      writeFileSync(join(place, item, 'ndvi.tif'), 'cut');
      expect((await cli('group', 'export', guid, '--stac', place)).stdout).toContain(
        '1 of them new',
      );
      expect(findCogFaults(readTiff(join(place, item, 'ndvi.tif')))).toEqual([]);
    });

    it('stay where they are with --link', async () => {
      const place = join(folder, `linked-${guid}`);
      expect(await cli('group', 'export', guid, '--stac', place, '--link')).toMatchObject({
        exitCode: 0,
      });
      const [name = ''] = readdirSync(place).filter((one) => one.startsWith(guid));
      expect(readdirSync(join(place, name))).toEqual([`${name}.json`]);
      const item = JSON.parse(readFileSync(join(place, name, `${name}.json`), 'utf8'));
      const { href } = item.assets.ndvi;
      const answer = await fetch(href, { headers: { authorization: `Bearer ${mesh.token}` } });
      expect((await answer.arrayBuffer()).byteLength).toBe(item.assets.ndvi['file:size']);
    });
  },
);

/** Every file below a folder with its content and its time. */
function snapshot(place: string): Record<string, [string, number]> {
  const files = readdirSync(place, { recursive: true, withFileTypes: true }).filter((one) =>
    one.isFile(),
  );
  return Object.fromEntries(
    files.map((one) => {
      const path = join(one.parentPath, one.name);
      return [path, [readFileSync(path).toString('base64').slice(0, 100), statSync(path).mtimeMs]];
    }),
  );
}
