/** Every Python 3 twin of the geospatial image that Debian's releases allow, made by set-up and run on a mesh. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { checkout, launcher, runProgram } from '../setup/run-program.ts';

const minors = ['3.9', '3.13'];
const script = `
import json
from perigee import AsyncTasks

def look(square):
    import sys
    import geopandas, numpy, rasterio.features, rasterio.io, rasterstats
    from rasterio.transform import from_origin
    from shapely.geometry import box
    field = geopandas.GeoSeries([box(*square)], crs="EPSG:4326").to_crs("EPSG:32725").iloc[0]
    left, bottom, right, top = field.bounds
    grid = from_origin(left, top, 30, 30)
    pixels = numpy.arange(64 * 64, dtype="float32").reshape(64, 64)
    with rasterio.io.MemoryFile() as memory:
        options = dict(driver="GTiff", width=64, height=64, count=1, dtype="float32", transform=grid)
        with memory.open(crs="EPSG:32725", **options) as scene:
            scene.write(pixels, 1)
        with memory.open() as scene:
            read = scene.read(1)
    mask = rasterio.features.rasterize([(field, 1)], out_shape=read.shape, transform=grid)
    inside = read[mask == 1]
    (other,) = rasterstats.zonal_stats(field, read, affine=grid, stats=["count", "mean"], nodata=-1)
    assert other["count"] == inside.size and abs(other["mean"] - inside.mean()) < 0.01, other
    return {"python": list(sys.version_info[:2]), "count": int(inside.size)}

print(json.dumps(AsyncTasks().create_function(look)([-34.91, -8.01, -34.90, -8.0]).result))
`;

let folder: string;
let mesh: Mesh;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-minors-'));
  writeFileSync(join(folder, 'look.py'), script);
  const images = minors.flatMap((minor) => ['--image', `perigee/geospatial:py${minor}`]);
  const made = await runProgram([launcher, 'setup', ...images], { cwd: checkout });
  expect(made, made.stdout + made.stderr).toMatchObject({ status: 0 });
  mesh = await startMesh({ PERIGEE_NODE_IDLE_MS: '120000' });
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await mesh?.close();
});

it.each(minors)('a task of Python %s works with the packages of its own image', async (minor) => {
  const command = [launcher, 'python', `--py${minor}`, join(folder, 'look.py')];
  const ended = await runProgram(command, { env: mesh.environment });
  expect({ status: ended.status, stderr: ended.stderr }).toEqual({ status: 0, stderr: '' });
  const found = JSON.parse(ended.stdout) as { python: number[]; count: number };
  expect(found.python.join('.')).toBe(minor);
  // A hundredth of a degree is some 37 pixels of 30 m.
  expect(found.count).toBeGreaterThan(1_000);
});
