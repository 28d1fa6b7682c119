/** Mosaics and boxes of scenes made in the task, against pixels that numpy computes, in both Pythons. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import type { CallEnd, Sandbox, Sandboxes } from '../isolation/sandboxes.ts';
import { openSandboxes } from '../isolation/sandboxes.ts';

const source = `
import os, tempfile
import numpy, rasterio
from affine import Affine
from rasterio.transform import from_origin
from perigee import errors, imagery

folder = tempfile.mkdtemp()
os.environ['PERIGEE_MOUNTS'] = 'made=' + folder
WEST, NORTH = 500000, 7000000

def make(name, array, transform=None, crs='EPSG:32622', **options):
    array = array if array.ndim == 3 else array[numpy.newaxis]
    path = os.path.join(folder, name)
    with rasterio.open(path, 'w', driver='GTiff', width=array.shape[2], height=array.shape[1], count=len(array), dtype=str(array.dtype),
                       crs=crs, transform=transform or from_origin(WEST, NORTH, 10, 10), **options) as scene:
        scene.write(array)
    return 'data:made/' + name

def ramp(dtype, start, bands=1):
    return (start + numpy.arange(bands * 64 * 64).reshape(bands, 64, 64) % 97).astype(dtype)

def nearest(array, left, top, grid):
    """The scene's pixels on a grid of (west, north, resolution, columns, rows), and which of them it has."""
    west, north, step, columns, rows = grid
    column = numpy.floor((west + (numpy.arange(columns) + 0.5) * step - left) / 10).astype(int)
    row = numpy.floor((top - north + (numpy.arange(rows) + 0.5) * step) / 10).astype(int)
    inside = ((row >= 0) & (row < 64))[:, None] & ((column >= 0) & (column < 64))[None, :]
    return array[:, row.clip(0, 63)][:, :, column.clip(0, 63)], inside

def covered(meta, crs, left, top, step, down=-1):
    """Where pixels of a grid in degrees have their centre in a scene of 64 x 64 pixels, 1 or 0; NaN so near to its edge that the warper may round."""
    from rasterio.warp import transform
    rows, columns = meta['shape'][-2:]
    grid = Affine.from_gdal(*meta['geotransform'])
    column, row = [axis.ravel() + 0.5 for axis in numpy.meshgrid(numpy.arange(columns), numpy.arange(rows))]
    longitude, latitude = grid * (column, row)
    x, y = transform(meta['crs'], crs, list((longitude + 180) % 360 - 180), list(latitude))
    column, row = (numpy.array(x) - left) / step, (numpy.array(y) - top) / (down * step)
    inwards = numpy.minimum(numpy.minimum(column, 64 - column), numpy.minimum(row, 64 - row)).reshape(rows, columns)
    return numpy.where(abs(inwards) < 0.3, numpy.nan, inwards > 0)

def same(ours, theirs):
    return ours.shape == theirs.shape and str(ours.dtype) == str(theirs.dtype) and bool((ours == theirs).all())

def told(call):
    try:
        return call()
    except errors.PerigeeError as caught:
        return [type(caught).__name__, caught.message]

def f(order):
    return globals()[order]()

# Side by side, with neither nodata nor alpha, on a coarser grid.
def beside():
    found = []
    grid = (WEST - 97, NORTH + 43, 20, 60, 40)
    bounds = (grid[0], grid[1] - 800, grid[0] + 1200, grid[1])
    for dtype, bands in (('uint8', 1), ('uint8', 3), ('uint16', 1), ('int16', 2), ('float32', 1)):
        first, second = ramp(dtype, 1, bands), ramp(dtype, 101, bands)
        names = [make('first.tif', first), make('second.tif', second, from_origin(WEST + 320, NORTH - 100, 10, 10))]
        expected = numpy.zeros((bands + 1, 40, 60), dtype)
        for array, left, top in ((first, WEST, NORTH), (second, WEST + 320, NORTH - 100)):
            pixels, inside = nearest(array, left, top, grid)
            expected[:-1, inside] = pixels[:, inside]
            expected[-1, inside] = 255
        numbers = list(range(1, bands + 1))
        array, meta = imagery.ndarray(names, bands=numbers + ['alpha'], bounds=bounds, resolution=20, order='gdal')
        found.append(same(array, expected))
        array, meta = imagery.ndarray(names, bounds=bounds, resolution=20, order='gdal')
        found.append(same(array, expected[:-1]))
        array, meta = imagery.ndarray(names, bands=[bands], bounds=bounds, resolution=20, order='gdal')
        found.append(same(array, expected[bands - 1:bands]))
    return found

# In another coordinate system what the first one alone has stays, and what both have is the second's.
def elsewhere():
    names = [make('first.tif', numpy.full((64, 64), 100, 'uint8')),
             make('second.tif', numpy.full((64, 64), 200, 'uint8'), from_origin(WEST + 320, NORTH, 10, 10))]
    both, meta = imagery.ndarray(names, srs='EPSG:4326', resolution=0.0002, order='gdal')
    first, second = [covered(meta, 'EPSG:32622', left, NORTH, 10) for left in (WEST, WEST + 320)]
    expected = numpy.where(second, 200, numpy.where(first, 100, 0))
    sure = ~numpy.isnan(first + second)
    return [bool((both[0] == expected)[sure].all()), int((expected[sure] == 100).sum()) > 500, float(sure.mean()) > 0.9]

# A mask of its own, and alpha of its own, count as before.
def masked():
    found = []
    grid = (WEST, NORTH, 20, 32, 32)
    bounds = (WEST, NORTH - 640, WEST + 640, NORTH)
    first, second = ramp('uint8', 1), ramp('uint8', 101)
    valid = numpy.zeros((64, 64), 'uint8')
    valid[10:40, 20:50] = 255
    name = make('first.tif', first)
    make('masked.tif', second)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK='YES'):
        with rasterio.open(os.path.join(folder, 'masked.tif'), 'r+') as scene:
            scene.write_mask(valid != 0)
    make('alpha.tif', numpy.concatenate([second, valid[numpy.newaxis]]), photometric='minisblack', alpha='yes')
    expected, _ = nearest(first, WEST, NORTH, grid)
    shown, _ = nearest(valid[numpy.newaxis], WEST, NORTH, grid)
    pixels, _ = nearest(second, WEST, NORTH, grid)
    expected = numpy.where(shown != 0, pixels, expected)
    for other in ('masked.tif', 'alpha.tif'):
        array, _ = imagery.ndarray([name, 'data:made/' + other], bands=[1], bounds=bounds, resolution=20, order='gdal')
        found.append(same(array, expected))
    # Alpha of any type, on the scene's own grid and another one.
    for dtype, full in (('uint8', 255), ('uint16', 65535), ('int16', 32767), ('float32', 255)):
        name = make('first.tif', first.astype(dtype))
        alpha = numpy.where(valid != 0, full, 0)[numpy.newaxis].astype(dtype)
        other = make('alpha.tif', numpy.concatenate([second.astype(dtype), alpha]), photometric='minisblack', alpha='yes')
        array, _ = imagery.ndarray([name, other], bands=[1], order='gdal')
        found.append(same(array, numpy.where(valid != 0, second, first).astype(dtype)))
        array, _ = imagery.ndarray([name, other], bands=[1], bounds=bounds, resolution=20, order='gdal')
        found.append(same(array, expected.astype(dtype)))
    return found

# Across the antimeridian, read and laid over from both sides of it.
def around():
    found = []
    zones = [('EPSG:32660', 590000, 6990000), ('EPSG:32601', 290000, 6990000)]
    west, east = [make(crs[5:] + '.tif', numpy.full((64, 64), 100 * (at + 1), 'uint8'), from_origin(left, top, 2000, 2000), crs)
                  for at, (crs, left, top) in enumerate(zones)]
    def expected(meta, number):
        crs, left, top = zones[number]
        return covered(meta, crs, left, top, 2000)
    for bounds in ((179.0, 62.2, 179.6, 62.6), (-179.6, 62.2, -179.0, 62.6), (179.4, 62.2, 180.6, 62.6), (-180.5, 62.2, -179.5, 62.6)):
        for number, uri in enumerate((west, east)):
            array, meta = imagery.read(uri, bounds=bounds, srs='EPSG:4326', resolution=0.02)
            inside = expected(meta, number)
            found.append(bool((array[0] == 100 * (number + 1) * inside)[~numpy.isnan(inside)].all()) and bool((inside == 1).any()))
        array, meta = imagery.ndarray([west, east], bounds=bounds, srs='EPSG:4326', resolution=0.02, order='gdal')
        first, second = expected(meta, 0), expected(meta, 1)
        sure = ~numpy.isnan(first + second)
        found.append(bool((array[0] == numpy.where(second, 200, numpy.where(first, 100, 0)))[sure].all()))
    # The box around both is no wider than they are, and has all of both.
    for names in ([west, east], [east, west]):
        array, meta = imagery.ndarray(names, srs='EPSG:4326', resolution=0.02, order='gdal')
        ours = [expected(meta, number) for number in (0, 1)]
        sure = ~numpy.isnan(sum(ours))
        top, below = (1, 0) if names[1] == east else (0, 1)
        laid = numpy.where(ours[top], 100 * (top + 1), numpy.where(ours[below], 100 * (below + 1), 0))
        found.append(bool((array[0] == laid)[sure].all()) and array.shape[2] < 10 / 0.02)
        found.append(all(abs((scene == 1).sum() * 0.02 ** 2 * 111400 * 111320 * numpy.cos(numpy.radians(62.3)) / 128000 ** 2 - 1) < 0.05 for scene in ours))
    array, meta = imagery.ndarray([west, east], bounds=(179.4, 62.2, -179.4, 62.6), bounds_srs='EPSG:4326', srs='EPSG:32660', resolution=2000, order='gdal')
    found.append(array.shape[2] in range(30, 36) and bool((array == 200).any()) and not (array == 0).all())
    found.append(told(lambda: imagery.read(west, bounds=(100, 62, 101, 63), srs='EPSG:4326', resolution=0.02))[0] == 'WindowError')
    found.append(told(lambda: imagery.read(west, bounds=(179, 22, 179.5, 23), srs='EPSG:4326', resolution=0.02))[0] == 'WindowError')
    return found

# Coarser, from an overview: each of its pixels is the mean of a checkerboard.
def coarser():
    board = numpy.where(numpy.indices((64, 64)).sum(axis=0) % 2, 200, 0).astype('uint8')
    found = []
    for crs, left in (('EPSG:32660', 590000), ('EPSG:32660', 480000)):
        uri = make('board.tif', board, from_origin(left, 6990000, 2000, 2000), crs)
        with rasterio.open(os.path.join(folder, 'board.tif'), 'r+') as scene:
            scene.build_overviews([2, 4], rasterio.enums.Resampling.average)
        # 2000 metres are 0.039 degrees of longitude here, and 0.018 of latitude.
        west = 179.5 if left == 590000 else 177.5
        for resolution, values in ((0.01, [0, 200]), (0.1, [100])):
            array, _ = imagery.read(uri, bounds=(west, 62.2, west + 1, 62.6), srs='EPSG:4326', resolution=resolution)
            found.append(numpy.unique(array).tolist() == values)
    return found

# What the box of an ordinary scene is: rasterio's own, in every direction; and scenes of the whole globe and around a pole.
def boxes():
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds
    from perigee import _imagery_read
    found = []
    def box(crs, bounds, other):
        return _imagery_read.transform_box(bounds, CRS.from_user_input(crs), CRS.from_user_input(other))
    for crs, bounds, other in (('EPSG:32622', (300000, 6000000, 700000, 6400000), 'EPSG:4326'), ('EPSG:4326', (-53, 10, -49, 20), 'EPSG:32622'),
                               ('EPSG:32622', (300000, 6000000, 700000, 6400000), 'EPSG:3857'), ('EPSG:3857', (-2e7, -1e7, 2e7, 1e7), 'EPSG:4326')):
        theirs = transform_bounds(CRS.from_user_input(crs), CRS.from_user_input(other), *bounds)
        found.append(bool(numpy.allclose(box(crs, bounds, other), theirs, rtol=1e-9)))
    pole = box('EPSG:3413', (-500000, -500000, 500000, 500000), 'EPSG:4326')
    found.append(pole[0] == -180 and pole[2:] == (180, 90) and 83 < pole[1] < 84)
    world = make('world.tif', ramp('uint8', 1).repeat(2, axis=2), from_origin(-180, 90, 360 / 128.0, 180 / 64.0), 'EPSG:4326')
    # East and west of the zone's middle.
    for left in (200000, 600000):
        array, _ = imagery.read(world, bounds=(left, 5000000, left + 100000, 5100000), srs='EPSG:32622', resolution=10000)
        found.append(bool((array != 0).all()))
    return found

# South-up: its first row is the southernmost.
def upwards():
    found = []
    first, second = ramp('uint8', 1), ramp('uint8', 101)
    names = [make('first.tif', first), make('second.tif', second[:, ::-1], Affine(10, 0, WEST + 320, 0, 10, NORTH - 640))]
    bounds = (WEST + 400, NORTH - 500, WEST + 600, NORTH - 100)
    array, _ = imagery.read(names[1], bounds=bounds, resolution=10)
    found.append(same(array, second[:, 10:50, 8:28]))
    array, _ = imagery.ndarray(names, bounds=bounds, order='gdal')
    found.append(same(array, second[:, 10:50, 8:28]))
    for order in (names, names[::-1]):
        expected = numpy.zeros((1, 64, 96), 'uint8')
        for name in order:
            expected[(slice(None), slice(None), slice(0, 64) if name == names[0] else slice(32, 96))] = first if name == names[0] else second
        array, _ = imagery.ndarray(order, order='gdal')
        found.append(same(array, expected))
    array, meta = imagery.ndarray(names[1], srs='EPSG:4326', resolution=0.0002, order='gdal')
    inside = covered(meta, 'EPSG:32622', WEST + 320, NORTH, 10)
    found.append(bool(((array[0] != 0) == inside)[~numpy.isnan(inside)].all()) and bool((inside == 1).any()))
    found.append(told(lambda: imagery.read(names[1], bounds=(WEST, NORTH - 500, WEST + 200, NORTH), resolution=10))[0] == 'WindowError')
    return found

# Another type: rounded and clamped, and nodata only where it fits.
def converted():
    found = []
    values = numpy.array([[300, 5], [-9999, 70], [-3, 255]], 'int16')
    name = make('first.tif', numpy.tile(values, (8, 8)), nodata=-9999)
    for data_type, dtype, expected, nodata in (
            ('Byte', 'uint8', [[255, 5], [0, 70], [0, 255]], None), ('UInt16', 'uint16', [[300, 5], [0, 70], [0, 255]], None),
            ('UInt32', 'uint32', [[300, 5], [0, 70], [0, 255]], None), ('Int32', 'int32', values, -9999), ('Float32', 'float32', values, -9999), (None, 'int16', values, -9999)):
        array, meta = imagery.ndarray(name, data_type=data_type, order='gdal')
        found.append(same(array[0, :3, :2], numpy.array(expected, dtype)) and meta['nodata'] == nodata and meta['dtype'] == dtype)
    array, meta = imagery.ndarray(name, scales=[(0, 300, 10, 250)], order='gdal')
    found.append(same(array[0, :3, :2], numpy.array([[250, 14], [0, 66], [10, 214]], 'uint8')) and meta['nodata'] is None)
    array, meta = imagery.ndarray(name, scales=[(0, 300, 10, 250)], data_type='Int16', order='gdal')
    found.append(same(array[0, :3, :2], numpy.array([[250, 14], [-9999, 66], [10, 214]], 'int16')) and meta['nodata'] == -9999)
    name = make('floats.tif', numpy.tile(numpy.array([[1.5, -1e30], [numpy.nan, 254.4], [7e9, 0.2]], 'float32'), (8, 8)), nodata=numpy.nan)
    array, meta = imagery.ndarray(name, data_type='Byte', order='gdal')
    found.append(same(array[0, :3, :2], numpy.array([[2, 0], [0, 254], [255, 0]], 'uint8')) and meta['nodata'] is None)
    array, meta = imagery.ndarray(name, data_type='Float64', order='gdal')
    found.append(bool(numpy.isnan(array[0, 1, 0]) and numpy.isnan(meta['nodata']) and array[0, 0, 0] == 1.5))
    name = make('huge.tif', numpy.tile(numpy.array([[1.5, -1e300]]), (8, 8)), nodata=-1e300)
    array, meta = imagery.ndarray(name, data_type='Float32', order='gdal')
    found.append(same(array[0, :1, :2], numpy.array([[1.5, 0]], 'float32')) and meta['nodata'] is None)
    return found

# Beyond the scenes' edges, too, and of bands of which one alone has nodata; the file that is written says the same.
def missing():
    found = []
    pixels = ramp('int16', 100, 2)
    pixels[1, 3, 4] = -9999
    name = make('first.tif', pixels, nodata=-9999)
    bounds = (WEST - 20, NORTH - 640, WEST + 640, NORTH)
    for data_type, dtype, gap in (('Byte', 'uint8', 0), ('Int32', 'int32', -9999)):
        expected = numpy.zeros((3, 64, 66), dtype) + numpy.array(gap, dtype)
        expected[:2, :, 2:] = numpy.where(pixels == -9999, gap, pixels)
        expected[2] = numpy.array([0, 255], dtype).repeat([2, 64])
        array, meta = imagery.ndarray(name, bands=[1, 2, 'alpha'], bounds=bounds, data_type=data_type, order='gdal')
        found.append(same(array, expected))
        array, meta = imagery.ndarray(name, bounds=bounds, data_type=data_type)
        found.append(same(array, expected[:2].transpose(1, 2, 0)))
        found.append(_written(array, meta) == (None if dtype == 'uint8' else -9999))
    return found

def _written(array, meta):
    """The nodata value that imagery.write would write of them."""
    from perigee import _imagery_write as writing
    place = writing._place('it', meta, None, None)
    return writing._pixels('it', array, place.order, place, imagery.LIKES)[1]

# The first lies elsewhere, and its nodata does not fit what the second has.
def apart():
    second = ramp('uint8', 101)
    names = [make('first.tif', ramp('int16', 1), from_origin(WEST - 400000, NORTH, 10, 10), nodata=-9999),
             make('second.tif', second, from_origin(WEST + 320, NORTH, 10, 10))]
    bounds = (WEST + 300, NORTH - 640, WEST + 960, NORTH)
    expected = numpy.zeros((1, 64, 66), 'int16') - 9999
    expected[:, :, 2:] = second
    array, meta = imagery.ndarray(names, bounds=bounds, order='gdal')
    told = [same(array, expected), meta['nodata'] == -9999]
    array, meta = imagery.ndarray(names, bounds=bounds, order='gdal', data_type='Byte')
    return told + [same(array, numpy.where(expected == -9999, 0, expected).astype('uint8')), meta['nodata'] is None]
`;

const spec = { namespace: 'mine' as NamespaceName, memoryBytes: 512 * 1024 * 1024 };

function resultOf(end: CallEnd): unknown {
  if (end.kind === 'ended' && end.task.status === 'success') return end.value;
  const why = end.kind === 'ended' ? end.task.failure?.traceback : JSON.stringify(end.event.end);
  throw new Error(`the task failed: ${why}\n${end.log}`);
}

let sandboxes: Sandboxes;
beforeAll(async () => {
  sandboxes = await openSandboxes('standard');
});
afterAll(async () => {
  await sandboxes?.[Symbol.asyncDispose]();
});

describe.each(['2.7', '3.11'] as const)('in Python %s', (python) => {
  let sandbox: Sandbox;
  beforeAll(() => {
    sandbox = sandboxes.start({ source, python, spec });
  });

  it.each([
    ['beside', 'scenes without nodata do not hide each other on another grid'],
    ['elsewhere', 'nor in another coordinate system'],
    ['masked', 'masks and alpha of their own count'],
    ['around', 'scenes across the antimeridian are read and laid over from both sides'],
    ['coarser', 'and from their overviews where those are fine enough'],
    ['boxes', 'boxes in another coordinate system are right near and far'],
    ['upwards', 'scenes that are south-up are read and laid over'],
    [
      'converted',
      'pixels of another type are rounded and clamped, and nodata is told where it fits',
    ],
    ['missing', 'pixels that are missing say so in another type'],
    ['apart', 'a first scene that lies elsewhere gives its nodata'],
  ])('%s: %s', async (order) => {
    const found = resultOf(await sandbox.call(order));
    expect(found).toEqual((found as unknown[]).map(() => true));
  });
});
