/** Outputs of `writer.py`, read back by the rasterio of the Python 3 client and held against the arrays. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkout } from '../setup/run-program.ts';

const script = `
import os, sys
import numpy, rasterio
from rasterio.windows import Window
folder, scenes, sdk = sys.argv[1:]

def ramp(rows, columns):
    return (numpy.arange(rows * columns, dtype='float64') / (rows * columns - 1)).reshape(rows, columns)

def look(name, array, nodata, crs='EPSG:32725', origin=(300000.0, 9120000.0), steps=(30.0, -30.0)):
    with rasterio.open(os.path.join(folder, name)) as scene:
        pixels = scene.read()
        array = array if array.ndim == 3 else array[numpy.newaxis]
        assert pixels.shape == array.shape and str(pixels.dtype) == str(array.dtype), (name, pixels.shape, pixels.dtype)
        assert numpy.array_equal(pixels, array, equal_nan=pixels.dtype.kind == 'f'), name
        assert scene.nodata == nodata or (nodata != nodata and scene.nodata != scene.nodata), (name, scene.nodata)
        assert scene.crs is not None and scene.crs.to_string() == crs, (name, scene.crs)
        assert (scene.transform.c, scene.transform.f, scene.transform.a, scene.transform.e) == origin + steps, (name, scene.transform)
        assert scene.colorinterp[-1].name != 'alpha', name
        return scene.overviews(1), scene.descriptions, scene.tags()

ndvi = ramp(1100, 1500).astype('float32')
ndvi[:1, :] = -9999
factors, names, tags = look('ndvi', ndvi, -9999.0)
assert factors == [2, 4] and names == ('ndvi',) and tags['OVERVIEW_RESAMPLING'] == 'average', (factors, names, tags)
with rasterio.open(os.path.join(folder, 'ndvi'), overview_level=0) as coarse:
    finer = ramp(1100, 1500)[200:400, :200].reshape(100, 2, 100, 2).mean(axis=(1, 3))
    assert abs(coarse.read(1)[100:200, :100] - finer).max() < 1e-5
with rasterio.open(os.path.join(scenes, 'L7_red.tif')) as scene:
    pixels = scene.read(1, window=Window(10, 20, 700, 600))
    west, north = scene.transform * (10, 20)
    place = {'crs': scene.crs.to_string(), 'origin': (west, north), 'steps': (scene.transform.a, scene.transform.e)}
    look('classes', (pixels // 16).astype('uint8'), scene.nodata, **place)
    look('bool', (pixels > 100).astype('uint8'), None, **place)
with rasterio.open(os.path.join(scenes, 'L7_ETMs.tif')) as scene:
    look('image', scene.read(), None, crs=scene.crs.to_string(), origin=(scene.transform.c, scene.transform.f), steps=(scene.transform.a, scene.transform.e))
look('four', numpy.stack([pixels] * 4), 0)
look('small', ramp(17, 33), None)
masked = ramp(300, 200).astype('float32')
masked[masked < 0.5] = numpy.nan
look('masked', masked, float('nan'))
sys.path.insert(0, sdk)
from perigee.imagery import tile_from_key
tile = tile_from_key('256:0:30.0:25:-27:-4')
look('tile', ramp(256, 256).astype('int16'), None, crs=tile.srs, origin=(tile.geotransform[0], tile.geotransform[3]))
look('turned', ramp(600, 600).astype('float32'), None, crs='EPSG:32660', origin=(700000.0, 100000.0), steps=(300.0, -300.0))
`;

/** Throws when one of them is not what was written. */
export function checkOutputs(
  folder: string,
  outputs: readonly { name: string; path: string }[],
): void {
  const place = join(folder, 'read-back');
  mkdirSync(place);
  try {
    for (const { name, path } of outputs) copyFileSync(path, join(place, name));
    writeFileSync(join(place, 'check.py'), script);
    execFileSync(
      join(checkout, 'scripts/perigee'),
      [
        'python',
        '--py3',
        join(place, 'check.py'),
        place,
        join(checkout, 'scripts/demo/scenes'),
        join(checkout, 'sdk/python/src'),
      ],
      { stdio: ['ignore', 'inherit', 'pipe'], encoding: 'utf8' },
    );
  } finally {
    rmSync(place, { recursive: true });
  }
}
