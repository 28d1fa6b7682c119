/** `perigee.imagery` in real sandboxes: every level, both Pythons, and pixels equal to GDAL's own. */
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LazyFiles } from '../../node-agent/imagery/fuse/lazy-files.ts';
import { openLazyFiles } from '../../node-agent/imagery/fuse/lazy-files.ts';
import { readAgentMark } from '../../node-agent/runner/agent-mark.ts';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import { isMissing } from '../isolation/attack.ts';
import type { CallEnd, Sandboxes } from '../isolation/sandboxes.ts';
import { openSandboxes } from '../isolation/sandboxes.ts';
import type { FolderCache } from './folder-cache.ts';
import { createFolderCache } from './folder-cache.ts';

const scenes = resolve(import.meta.dirname, '../../scripts/demo/scenes');
const sources = {
  'red.tif': `${scenes}/L7_red.tif`,
  'nir.tif': `${scenes}/L7_nir.tif`,
  'etm.tif': `${scenes}/L7_ETMs.tif`,
  'words.tif': `${scenes}/README.md`,
};

async function openAt(
  level: IsolationLevel,
  wholeAssetBytesMax: number | null = null,
): Promise<{
  sandboxes: Sandboxes;
  cache: FolderCache;
  files: LazyFiles | null;
}> {
  const folder = `/tmp/perigee-imagery-test-${process.pid}-${level}`;
  const cache = createFolderCache(folder, sources);
  const files =
    wholeAssetBytesMax === null
      ? null
      : await openLazyFiles(cache, {
          folder: `${folder}-mount`,
          agent: readAgentMark(),
          warn: () => {},
        });
  const lazy =
    files === null || wholeAssetBytesMax === null ? {} : { lazy: { files, wholeAssetBytesMax } };
  const sandboxes = await openSandboxes(level, {}, { imagery: cache, ...lazy });
  return { sandboxes, cache, files };
}

function resultOf(end: CallEnd): unknown {
  if (end.kind === 'ended' && end.task.status === 'success') return end.value;
  const why = end.kind === 'ended' ? end.task.failure?.traceback : JSON.stringify(end.event.end);
  throw new Error(`the task failed: ${why}\n${end.log}`);
}

const spec = { namespace: 'mine' as NamespaceName, memoryBytes: 512 * 1024 * 1024 };

const everyway = `
import os, subprocess, sys, threading
from perigee import errors, imagery

def f(order):
    uri = 'mem://mine/etm.tif'
    if order == 'path':
        return imagery.open(uri)
    if order == 'size':
        return os.path.getsize(imagery.open(uri))
    if order == 'threads':
        paths = []
        threads = [threading.Thread(target=lambda: paths.append(imagery.open(uri))) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        return [os.path.getsize(path) for path in paths]
    if order == 'subprocess':
        # Its environment is the task's; the package lies where the harness found it.
        path = os.path.dirname(os.path.dirname(os.path.abspath(imagery.__file__)))
        code = 'import sys; sys.path.insert(0, %r); from perigee import imagery; print(len(open(imagery.open(%r), "rb").read()))' % (path, uri)
        return subprocess.check_output([sys.executable, '-c', code], close_fds=True).decode().strip()
    if order == 'write':
        try:
            open(imagery.open(uri), 'r+b')
        except (IOError, OSError) as caught:
            return caught.errno
    if order == 'escape':
        found = []
        for name in ('mem://theirs/etm.tif', 'file:///etc/shadow', '../../etc/shadow', 'mem://mine/../x'):
            try:
                imagery.open(name)
            except errors.AssetError as caught:
                found.append(caught.code)
        return found
    if order == 'gone':
        return os.path.exists(order)
    return os.path.exists(order)
`;

describe.each(['strong', 'standard', 'reduced', 'minimal', 'none'] as const)(
  'imagery at isolation %s',
  (level) => {
    let sandboxes: Sandboxes;
    let cache: FolderCache;
    const missing = isMissing(level);
    beforeAll(async () => {
      if (missing) return;
      ({ sandboxes, cache } = await openAt(level));
    });
    afterAll(async () => {
      if (!missing) await sandboxes[Symbol.asyncDispose]();
    });

    it.skipIf(missing).each(['worker', 'task'] as const)(
      'comes to threads and subprocesses of tasks run by %s, and goes with the task',
      async (taskIsolation) => {
        const sandbox = sandboxes.start({ source: everyway, spec: { ...spec, taskIsolation } });
        const path = resultOf(await sandbox.call('path'));
        expect(path).toMatch(/\/assets\/\d+\/etm\.tif$/);
        expect(resultOf(await sandbox.call(path))).toBe(false);
        expect(resultOf(await sandbox.call('threads'))).toEqual(Array(8).fill(798_453));
        expect(resultOf(await sandbox.call('subprocess'))).toBe('798453');
        expect(resultOf(await sandbox.call('escape'))).toEqual([
          'asset_denied',
          'asset_invalid',
          'asset_invalid',
          'asset_not_found',
        ]);
        // As the agent's own user nothing but the sandbox protects the file.
        if (level !== 'none') expect([13, 30]).toContain(resultOf(await sandbox.call('write')));
        expect(cache.pinned.size).toBe(0);
        sandbox.stop();
        await sandbox.ended;
      },
    );

    it.skipIf(missing)('is there for each of many short tasks that follow at once', async () => {
      const sandbox = sandboxes.start({ source: everyway, spec });
      await sandbox.call('path');
      const tasks = Array.from({ length: 300 }, () => sandbox.call('size'));
      const sizes = (await Promise.all(tasks)).map(resultOf);
      expect(sizes).toEqual(Array(300).fill(798_453));
      sandbox.stop();
      await sandbox.ended;
    });
  },
);

describe.each(['strong', 'standard', 'reduced', 'minimal', 'none'] as const)(
  'large imagery at isolation %s',
  (level) => {
    it.skipIf(isMissing(level))(
      'is filled as it is read, and tells why a read failed',
      async () => {
        const { sandboxes, cache, files } = await openAt(level, 400_000);
        const sandbox = sandboxes.start({ source: lazily, spec });
        const found = resultOf(await sandbox.call('mem://mine/red.tif')) as [string, boolean];
        expect(found[0]).toMatch(/\/mine\/\d+\/red\.tif$|^\/in\/lazy\/\d+\/red\.tif$/);
        expect(found[1]).toBe(true);
        // gVisor keeps a file that it opened for the worker's life.
        const after = level === 'strong' ? 'there' : 'gone';
        expect(resultOf(await sandbox.call(found[0]))).toBe(after);
        // The whole one beside it, below the size.
        expect(resultOf(await sandbox.call('mem://mine/nir.tif'))).toEqual([
          expect.stringMatching(/\/assets\/\d+\/nir\.tif$/),
          true,
        ]);
        cache.read = () => Promise.reject(new PerigeeError('asset_changed', 'It is another now.'));
        expect(resultOf(await sandbox.call('mem://mine/etm.tif'))).toEqual([
          'AssetChangedError',
          expect.stringContaining('mem://mine/etm.tif'),
        ]);
        await sandboxes[Symbol.asyncDispose]();
        await files?.close();
      },
    );
  },
);

const lazily = `
import os
from perigee import errors, imagery

def f(order):
    if not order.startswith('mem:'):
        try:
            with open(order, 'rb') as opened:
                return opened.read(1) and 'there'
        except (IOError, OSError):
            return 'gone'
    try:
        array, _ = imagery.read(order, window=(3, 4, 50, 60))
    except errors.AssetChangedError as caught:
        return ['AssetChangedError', caught.message]
    return [imagery.open(order), bool(array.any())]
`;

const pixels = `
import numpy, rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from perigee import errors, imagery

def same(ours, theirs):
    return ours.shape == theirs.shape and str(ours.dtype) == str(theirs.dtype) and bool((ours == theirs).all())

def f(order):
    return globals()[order]()

def windows():
    found = []
    for name in ('etm', 'red'):
        uri = 'mem://mine/%s.tif' % name
        with rasterio.open(imagery.open(uri)) as scene:
            w, h = scene.width, scene.height
            for window in ((0, 0, w, h), (17, 33, 128, 100), (w - 1, h - 1, 1, 1)):
                array, meta = imagery.read(uri, window=window)
                found.append(same(array, scene.read(window=Window(*window))))
                found.append(tuple(meta['geotransform']) == tuple(rasterio.windows.transform(Window(*window), scene.transform).to_gdal()))
                found.append(meta['nodata'] == scene.nodata)
    array, _ = imagery.read('mem://mine/etm.tif', bands=[4, 3], window=(5, 6, 70, 80))
    with rasterio.open(imagery.open('mem://mine/etm.tif')) as scene:
        found.append(same(array, scene.read([4, 3], window=Window(5, 6, 70, 80))))
    return found

def overviews():
    from perigee import _imagery_read
    found = []
    with rasterio.open(imagery.open('mem://mine/red.tif')) as scene:
        with rasterio.open('/tmp/red.tif', 'w', driver='GTiff', width=scene.width, height=scene.height, count=1, dtype=scene.dtypes[0], crs=scene.crs, transform=scene.transform, tiled=True) as copy:
            copy.write(scene.read())
    with rasterio.open('/tmp/red.tif', 'r+') as scene:
        scene.build_overviews([2, 4, 8], Resampling.average)
    with rasterio.open('/tmp/red.tif') as scene:
        step = scene.transform.a
        for factor in (2, 4, 5):
            for name, resampling in (('near', Resampling.nearest), ('average', Resampling.average)):
                array, meta = _imagery_read.read('/tmp/red.tif', 'red', None, (0, 0, 1000, 800), None, step * factor, None, name)
                high = int(round(800 * abs(scene.transform.e) / (step * factor)))
                shape = (scene.count, high, int(round(1000.0 / factor)))
                found.append(same(array, scene.read(window=Window(0, 0, 1000, 800), out_shape=shape, resampling=resampling)))
        crs = scene.crs
        full = scene.read(1)
    with rasterio.open('/tmp/red.tif', overview_level=1) as scene:
        array = scene.read()
        grid = _imagery_read.Grid(crs, scene.transform, scene.width, scene.height)
    with rasterio.open('/tmp/red.tif') as scene:
        warped, _ = _imagery_read.warp(scene, '/tmp/red.tif', [1], grid, 'near', 'red')
    # Of the averaged overview, not of every fourth pixel.
    found.append(same(warped, array) and not same(warped[0], full[::4, ::4]))
    return found

def boxes():
    found = []
    with rasterio.open(imagery.open('mem://mine/etm.tif')) as scene:
        west, north = scene.transform * (20, 30)
        east, south = scene.transform * (120, 90)
        array, _ = imagery.read('mem://mine/etm.tif', bounds=(west, south, east, north))
        found.append(same(array, scene.read(window=Window(20, 30, 100, 60))))
        from rasterio.transform import from_origin
        from rasterio.warp import transform_bounds
        box = transform_bounds(scene.crs, 'EPSG:4326', west, south, east, north)
        array, meta = imagery.read('mem://mine/etm.tif', bounds=box, srs='EPSG:4326', resolution=0.0004, resampler='bilinear')
        high, wide = array.shape[1:]
        with WarpedVRT(scene, crs='EPSG:4326', transform=from_origin(box[0], box[3], 0.0004, 0.0004), width=wide, height=high, resampling=Resampling.bilinear) as warped:
            found.append(same(array, warped.read()))
        found.append('4326' in meta['crs'] and array.any().item())
    return found

def mosaics():
    found = []
    array, meta = imagery.ndarray(['mem://mine/red.tif', 'mem://mine/nir.tif'], order='gdal')
    with rasterio.open(imagery.open('mem://mine/nir.tif')) as scene:
        found.append(same(array, scene.read()))
        bounds = scene.bounds
        step = scene.transform.a
    array, _ = imagery.ndarray('mem://mine/nir.tif', bands=[1, 'alpha'], bounds=(bounds.left - 2 * step, bounds.bottom, bounds.right, bounds.top))
    found.append(array.shape[2] == 2 and bool((array[:, :2, 1] == 0).all()) and bool((array[:, 2:, 1] == 255).all()))
    array, _ = imagery.ndarray('mem://mine/nir.tif', scales=[(0, 100, 0, 200)], data_type='UInt16')
    found.append(str(array.dtype) == 'uint16' and int(array.max()) <= 200)
    return found

def refusals():
    found = []
    for call in (
        lambda: imagery.read('mem://mine/words.tif'),
        lambda: imagery.read('mem://mine/none.tif', window=(1, 2, 3, 4)),
        lambda: imagery.read('mem://mine/etm.tif', window=(300, 300, 100, 100)),
        lambda: imagery.read('mem://mine/etm.tif', window=(0, 0, 10, 10), resolution=0.0001),
        lambda: imagery.read('mem://mine/etm.tif', bands=9),
        lambda: imagery.read('mem://mine/etm.tif', bounds=(0, 0, 1, 1), resolution=1),
        lambda: imagery.read('mem://mine/etm.tif', bands=1, resampler='best', resolution=50),
        lambda: imagery.read('mem://mine/cut.tif'),
    ):
        try:
            call()
            found.append(None)
        except errors.PerigeeError as caught:
            found.append([type(caught).__name__, caught.message])
    return found
`;

describe.each(['2.7', '3.11'] as const)('pixels in Python %s', (python) => {
  let sandboxes: Sandboxes;
  beforeAll(async () => {
    ({ sandboxes } = await openAt('standard'));
  });
  afterAll(async () => {
    await sandboxes[Symbol.asyncDispose]();
  });

  it.each(['windows', 'overviews', 'boxes', 'mosaics'])("of %s are GDAL's own", async (order) => {
    const sandbox = sandboxes.start({ source: pixels, python, spec });
    const found = resultOf(await sandbox.call(order));
    expect(found).toEqual((found as unknown[]).map(() => true));
    sandbox.stop();
    await sandbox.ended;
  });

  it('are refused with the scene and the window in the text', async () => {
    const sandbox = sandboxes.start({ source: pixels, python, spec });
    const found = resultOf(await sandbox.call('refusals')) as ([string, string] | null)[];
    expect(found.map((one) => one?.[0])).toEqual([
      'AssetInvalidError',
      'AssetNotFoundError',
      'WindowError',
      'TooLargeError',
      'WindowError',
      'WindowError',
      'BadRequestError',
      'AssetNotFoundError',
    ]);
    expect(found[1]?.[1]).toContain('(1, 2, 3, 4)');
    expect(found[2]?.[1]).toContain('mem://mine/etm.tif');
    sandbox.stop();
    await sandbox.ended;
  });
});
