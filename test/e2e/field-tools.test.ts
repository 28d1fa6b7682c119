/** odc-stac, rioxarray and rio-tiler of the Python 3 image, unchanged, over `perigee.hooks`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkout, runProgram } from '../setup/run-program.ts';

const script = `
import json, numpy, odc.stac, pystac, rasterio, rioxarray
from datetime import datetime, timezone
from rio_tiler.io import Reader
from perigee import hooks

uri = "data:scenes/L7_red.tif"
def make():
    item = pystac.Item("L7", {"type": "Point", "coordinates": [-34.9, -8.0]}, [-35.0, -8.1, -34.8, -7.9],
                       datetime(2001, 7, 10, tzinfo=timezone.utc), {})
    item.add_asset("red", pystac.Asset(uri, media_type="image/tiff; application=geotiff", roles=["data"]))
    return item
path = hooks.patch_url(uri)
with rasterio.open(path) as scene:
    pixels, crs, transform = scene.read(1), scene.crs, scene.transform
from odc.geo.geobox import GeoBox
box = GeoBox(pixels.shape, transform, crs)
cube = odc.stac.load([make()], bands=["red"], geobox=box, patch_url=hooks.patch_url, fail_on_error=True)
assert numpy.array_equal(cube.red.values[0], pixels), "odc-stac"
assert numpy.array_equal(rioxarray.open_rasterio(path).values[0], pixels), "rioxarray"
with Reader(path) as reader:
    assert numpy.array_equal(reader.read().array.data[0], pixels), "rio-tiler"
one = make()
hooks.modifier(one)
assert one.assets["red"].href == path
several = pystac.ItemCollection([make()])
hooks.modifier(several)
assert several.items[0].assets["red"].href == path
plain = make().to_dict()
hooks.modifier(plain)
assert plain["assets"]["red"]["href"] == path
print("pixels", pixels.size)
`;

it('read the same pixels as rasterio through the hooks', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-tools-'));
  try {
    writeFileSync(join(folder, 'tools.py'), script);
    const command = [
      join(checkout, 'scripts/perigee'),
      'python',
      '--py3',
      join(folder, 'tools.py'),
    ];
    const mount = { PERIGEE_MOUNT_SCENES: join(checkout, 'scripts/demo/scenes') };
    const ended = await runProgram(command, { env: { ...process.env, ...mount } });
    expect({ status: ended.status, stderr: ended.status === 0 ? '' : ended.stderr }).toEqual({
      status: 0,
      stderr: '',
    });
    expect(ended.stdout).toBe('pixels 1048576\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
