/** What tasks read against what GDAL's own programs write, byte for byte, on the sample scene. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import type { CallEnd, Sandbox, Sandboxes } from '../isolation/sandboxes.ts';
import { openSandboxes } from '../isolation/sandboxes.ts';
import { createFolderCache } from './folder-cache.ts';

const scenes = resolve(import.meta.dirname, '../../scripts/demo/scenes');
const source = `
import hashlib
import numpy
from perigee import imagery

def tell(array):
    return [list(array.shape), str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()]

def read(name, options):
    return tell(imagery.read('mem://mine/' + name, **dict((str(key), value) for key, value in options.items()))[0])

def mosaic(names, options):
    options = dict((str(key), value) for key, value in options.items())
    return tell(imagery.ndarray(['mem://mine/' + name for name in names], order='gdal', **options)[0])

# Whether the pixels are the file's own pages.
def mapped(name, options):
    array, meta = imagery.read('mem://mine/' + name, **dict((str(key), value) for key, value in options.items()))
    base = array
    while isinstance(base, numpy.ndarray) and not isinstance(base, numpy.memmap):
        base = base.base
    with open('/proc/self/maps') as maps:
        in_maps = any(line.rstrip().endswith('/' + name) for line in maps)
    return [isinstance(base, numpy.memmap), bool(array.flags.writeable), in_maps] + tell(array)

def f(order, *values):
    return globals()[order](*values)
`;

let folder: string;
/** Width and height of the scene's pixels, in metres. */
const step = 28.5;
let sandboxes: Sandboxes;
const at = (name: string): string => join(folder, name);
const gdal = (program: string, ...words: string[]): void => {
  execFileSync(program, ['-q', ...words], { stdio: ['ignore', 'ignore', 'inherit'] });
};
/** The bytes that a program writes, band after band. */
const bytesBy = (program: string, ...words: string[]): string => {
  const output = at('pixels');
  rmSync(output, { force: true });
  gdal(program, '-of', 'ENVI', '-co', 'INTERLEAVE=BSQ', ...words, output);
  return createHash('sha256').update(readFileSync(output)).digest('hex');
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-gdal-'));
  const etm = `${scenes}/L7_ETMs.tif`;
  const tiled = ['-co', 'TILED=YES', '-co', 'BLOCKXSIZE=64', '-co', 'BLOCKYSIZE=64'];
  gdal('gdal_translate', '-b', '3', ...tiled, '-co', 'COMPRESS=DEFLATE', etm, at('overviews.tif'));
  execFileSync('gdaladdo', ['-q', '-r', 'average', at('overviews.tif'), '2', '4', '8']);
  // A value that the scene has.
  gdal('gdal_translate', '-b', '1', '-a_nodata', '60', etm, at('nodata.tif'));
  const part = (name: string, window: string[]): void =>
    gdal('gdal_translate', '-a_nodata', '0', '-srcwin', ...window, etm, at(name));
  part('west.tif', ['0', '0', '200', '300']);
  part('east.tif', ['150', '40', '199', '312']);
  for (const [name, interleave] of [
    ['raw-pixel.tif', 'PIXEL'],
    ['raw-band.tif', 'BAND'],
  ] as const) {
    const options = ['-co', 'COMPRESS=NONE', '-co', `INTERLEAVE=${interleave}`];
    gdal('gdal_translate', ...options, etm, at(name));
  }
  const made = ['overviews', 'nodata', 'west', 'east', 'raw-pixel', 'raw-band'];
  const sources = Object.fromEntries(made.map((name) => [`${name}.tif`, at(`${name}.tif`)]));
  const cache = createFolderCache(at('cache'), { ...sources, 'etm.tif': etm });
  sandboxes = await openSandboxes('standard', {}, { imagery: cache });
});
afterAll(async () => {
  await sandboxes?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const spec = { namespace: 'mine' as NamespaceName, memoryBytes: 512 * 1024 * 1024 };
function valueOfEnd(end: CallEnd): unknown[] {
  if (end.kind === 'ended' && end.task.status === 'success') return end.value as unknown[];
  const why = end.kind === 'ended' ? end.task.failure?.traceback : JSON.stringify(end.event.end);
  throw new Error(`the task failed: ${why}\n${end.log}`);
}

type Ask = (...call: unknown[]) => Promise<unknown[]>;
const workers = new Map<string, Sandbox>();
/** Calls the function in the one worker of a Python. */
function askIn(python: '2.7' | '3.11'): Ask {
  return async (...call) => {
    const worker = workers.get(python) ?? sandboxes.start({ source, python, spec });
    workers.set(python, worker);
    return valueOfEnd(await worker.call(...call));
  };
}

describe.each(['2.7', '3.11'] as const)('pixels in Python %s', (python) => {
  const ask = askIn(python);

  it("of windows and bands are gdal_translate's", async () => {
    for (const window of [
      [0, 0, 349, 352],
      [17, 33, 128, 100],
      [348, 351, 1, 1],
    ]) {
      const words = ['-srcwin', ...window.map(String)];
      const [, dtype, sum] = await ask('read', 'etm.tif', { window });
      expect({ window, dtype, sum }).toEqual({
        window,
        dtype: 'uint8',
        sum: bytesBy('gdal_translate', ...words, `${scenes}/L7_ETMs.tif`),
      });
    }
    const bands = await ask('read', 'etm.tif', { bands: [4, 3], window: [5, 6, 70, 80] });
    expect(bands[2]).toBe(
      bytesBy(
        'gdal_translate',
        ...['-b', '4', '-b', '3', '-srcwin', '5', '6', '70', '80'],
        `${scenes}/L7_ETMs.tif`,
      ),
    );
  });

  it("of mosaics on one grid are gdalbuildvrt's, holes and no data included", async () => {
    const names = ['west.tif', 'east.tif'];
    for (const order of [names, names.toReversed()]) {
      const vrt = at('mosaic.vrt');
      gdal('gdalbuildvrt', '-overwrite', vrt, ...order.map(at));
      const [shape, , sum] = await ask('mosaic', order, {});
      expect({ order, shape, sum }).toEqual({
        order,
        shape: [6, 352, 349],
        sum: bytesBy('gdal_translate', vrt),
      });
    }
  });

  it("of uncompressed strips are the cached file's own pages", async () => {
    const window = [17, 33, 128, 100];
    const theirs = bytesBy(
      'gdal_translate',
      ...['-srcwin', ...window.map(String)],
      `${scenes}/L7_ETMs.tif`,
    );
    for (const name of ['raw-pixel.tif', 'raw-band.tif']) {
      const found = await ask('mapped', name, { window });
      expect(found).toEqual([true, false, true, [6, 100, 128], 'uint8', theirs]);
    }
    // What is compressed is decoded, which is the one copy.
    expect((await ask('mapped', 'etm.tif', { window })).slice(0, 3)).toEqual([false, true, false]);
  });
});

// By the image whose GDAL is the programs' own version: which overview is taken differs between them.
// `in-task.test.ts` holds both Pythons against the GDAL that they have.
describe('pixels in the Python with the GDAL of the programs', () => {
  const ask = askIn('3.11');
  it("of overviews are gdal_translate's", async () => {
    for (const [factor, resampler, name] of [
      [4, 'near', 'nearest'],
      [2, 'near', 'nearest'],
      [4, 'average', 'average'],
    ] as const) {
      const window = [0, 0, 320, 240];
      const resolution = step * factor;
      const [shape, , sum] = await ask('read', 'overviews.tif', { window, resolution, resampler });
      const [, rows, columns] = shape as number[];
      expect(columns).toBe(320 / factor);
      const size = [columns, rows].map(String);
      const words = ['-srcwin', ...window.map(String), '-outsize', ...size, '-r', name];
      const theirs = bytesBy('gdal_translate', ...words, at('overviews.tif'));
      expect({ factor, resampler, sum }).toEqual({ factor, resampler, sum: theirs });
    }
  });
});

// As above; finer than the scene, for a coarser grid's
// kernel depends on how GDAL cuts its work into chunks.
describe.each([
  ['near', '0.0005'],
  ['near', '0.0002'],
  ['bilinear', '0.0002'],
  ['cubic', '0.0002'],
])('another grid, %s, at %s degrees', (resampler, resolution) => {
  it("has gdalwarp's pixels, no data included", async () => {
    const ask = askIn('3.11');
    const bounds = [-34.9, -8.05, -34.86, -7.99];
    const options = { bounds, srs: 'EPSG:4326', resolution: Number(resolution), resampler };
    const words = ['-t_srs', 'EPSG:4326', '-te', ...bounds.map(String), '-tr'];
    for (const name of ['etm.tif', 'nodata.tif']) {
      const from = name === 'etm.tif' ? `${scenes}/L7_ETMs.tif` : at(name);
      const [, , sum] = await ask('read', name, options);
      const theirs = bytesBy('gdalwarp', ...words, resolution, resolution, '-r', resampler, from);
      expect({ name, sum }).toEqual({ name, sum: theirs });
    }
  });
});
