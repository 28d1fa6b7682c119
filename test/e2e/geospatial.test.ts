/**
 * The geospatial images on one mesh: DLRun's hello, and zonal statistics of real Landsat pixels by
 * the same function in Python 2.7 and 3.11, against what GDAL's own programs say.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { checkout, runProgram } from '../setup/run-program.ts';

const scene = join(checkout, 'scripts/demo/scenes/L7_nir.tif');
/** A field's outline near Olinda, in degrees. */
const polygon = {
  type: 'Polygon',
  coordinates: [
    [
      [-34.915, -8.0],
      [-34.88, -8.01],
      [-34.87, -7.98],
      [-34.89, -7.96],
      [-34.91, -7.975],
      [-34.915, -8.0],
    ],
  ],
};

const script = `# -*- coding: utf-8 -*-
from __future__ import print_function
import json, sys
from perigee import AsyncTasks

LONG_LAT = "+proj=longlat +datum=WGS84 +no_defs"

def zonal(polygon):
    import geopandas, numpy, pyproj, rasterio, rasterstats, scipy.ndimage, sys
    from perigee import imagery
    from rasterio import features
    from rasterio.windows import Window
    from shapely.geometry import shape
    path = imagery.open("data:scenes/L7_nir.tif")
    utm = "+proj=utm +zone=25 +south +ellps=GRS80 +units=m +no_defs"
    field = geopandas.GeoSeries([shape(polygon)], crs=LONG_LAT).to_crs(utm).iloc[0]
    x, y = pyproj.Proj(utm)(*polygon["coordinates"][0][0])
    assert abs(x - field.exterior.coords[0][0]) < 0.001 and abs(y - field.exterior.coords[0][1]) < 0.001
    with rasterio.open(path) as scene:
        assert scene.profile["tiled"] and scene.profile["blockxsize"] == 128
        left, bottom, right, top = field.bounds
        row, column = scene.index(left, top)
        last_row, last_column = scene.index(right, bottom)
        window = Window(column, row, last_column - column + 1, last_row - row + 1)
        pixels = scene.read(1, window=window)
        mask = features.rasterize([(field, 1)], out_shape=pixels.shape,
                                  transform=scene.window_transform(window))
    inside = pixels[mask == 1].astype("float64")
    (other,) = rasterstats.zonal_stats(field, path, stats=["count", "mean", "min", "max"], nodata=255)
    assert other["count"] == inside.size and abs(other["mean"] - inside.mean()) < 1e-9, other
    assert abs(scipy.ndimage.mean(pixels, mask, 1) - inside.mean()) < 1e-9
    return {"python": list(sys.version_info[:2]), "rasterio": str(rasterio.__version__),
            "count": int(inside.size), "min": float(inside.min()), "max": float(inside.max()),
            "mean": float(inside.mean()), "std": float(inside.std()),
            "corner": [float(x), float(y)]}

function = AsyncTasks().create_function(zonal, name="zonal")
print(json.dumps(function(json.loads(sys.argv[1])).result))
`;

let mesh: Mesh;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-geospatial-'));
  writeFileSync(join(folder, 'zonal.py'), script);
  const mounts = [`scenes=${join(checkout, 'scripts/demo/scenes')}`];
  mesh = await startMesh({ PERIGEE_NODE_IDLE_MS: '120000' }, { mounts });
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await mesh?.close();
});

async function run(option: string, parameters: string[]): Promise<string> {
  const command = [join(checkout, 'scripts/perigee'), 'python', option, ...parameters];
  const ended = await runProgram(command, { env: mesh.environment });
  expect({ status: ended.status, stderr: ended.stderr }).toEqual({ status: 0, stderr: '' });
  return ended.stdout;
}

it('prints the geopandas module of the image in the guide’s hello', async () => {
  const hello = join(checkout, 'test/python/guide/hello.py');
  expect(await run('--py2', [hello])).toContain(
    "<module 'geopandas' from '/usr/lib/python2.7/dist-packages/geopandas/__init__.pyc'>",
  );
});

describe('zonal statistics of a polygon over a scene', () => {
  it('are the same in Python 2.7 and 3.11 side by side, and GDAL’s own', async () => {
    const parameters = [join(folder, 'zonal.py'), JSON.stringify(polygon)];
    const [two, three] = (
      await Promise.all([run('--py2', parameters), run('--py3', parameters)])
    ).map((text) => JSON.parse(text));
    expect(two).toMatchObject({ python: [2, 7], rasterio: '1.0.28' });
    expect(three).toMatchObject({ python: [3, 11], rasterio: expect.stringMatching(/^1\.[4-9]/) });
    const gdal = statisticsByGdal();
    expect(gdal.count).toBeGreaterThan(1_000);
    for (const own of [two, three]) {
      expect(own).toMatchObject({ count: gdal.count, min: gdal.min, max: gdal.max });
      expect(own.mean).toBeCloseTo(gdal.mean, 9);
      expect(own.std).toBeCloseTo(gdal.std, 9);
    }
    expect(two.corner[0]).toBeCloseTo(three.corner[0], 3);
    expect(two.corner[1]).toBeCloseTo(three.corner[1], 3);
  });
});

/** The polygon reprojected by ogr2ogr, burnt by gdal_rasterize; only the sums are ours. */
function statisticsByGdal(): {
  count: number;
  min: number;
  max: number;
  mean: number;
  std: number;
} {
  const path = (name: string): string => join(folder, name);
  const gdal = (program: string, ...parameters: string[]): string =>
    execFileSync(program, parameters, { encoding: 'utf8' });
  writeFileSync(path('field.geojson'), JSON.stringify(polygon));
  gdal('ogr2ogr', '-q', '-t_srs', 'EPSG:31985', path('field.gpkg'), path('field.geojson'));
  gdal('gdal_translate', '-q', '-of', 'ENVI', scene, path('pixels'));
  // On the scene's own grid, corners included, whatever its rotation or resolution.
  gdal('gdal_translate', '-q', '-scale', '0', '255', '0', '0', scene, path('mask.tif'));
  gdal('gdal_rasterize', '-q', '-burn', '1', path('field.gpkg'), path('mask.tif'));
  gdal('gdal_translate', '-q', '-of', 'ENVI', path('mask.tif'), path('mask'));
  const pixels = readFileSync(path('pixels'));
  const inside = [...readFileSync(path('mask')).entries()].flatMap(([index, value]) =>
    value === 1 ? [Number(pixels[index])] : [],
  );
  const count = inside.length;
  const mean = inside.reduce((sum, value) => sum + value, 0) / count;
  const variance = inside.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count;
  return {
    count,
    min: inside.reduce((least, value) => Math.min(least, value)),
    max: inside.reduce((most, value) => Math.max(most, value)),
    mean,
    std: Math.sqrt(variance),
  };
}
