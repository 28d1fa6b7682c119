/** `perigee.imagery.write` and `save_output` in real sandboxes: both Pythons, every level. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultOutputLimits } from '../../node-agent/outputs/limits.ts';
import type { SpooledOutput } from '../../node-agent/runner/port.ts';
import { cogMediaType } from '../../protocol/wire/output-names.ts';
import type { FolderCache } from '../imagery/folder-cache.ts';
import { createFolderCache } from '../imagery/folder-cache.ts';
import { isMissing } from '../isolation/attack.ts';
import type { CallEnd, Sandboxes } from '../isolation/sandboxes.ts';
import { openSandboxes } from '../isolation/sandboxes.ts';
import { checkOutputs } from './check-outputs.ts';
import { findCogFaults, readTiff } from './tiff.ts';

const scenes = resolve(import.meta.dirname, '../../scripts/demo/scenes');
const sources = { 'red.tif': `${scenes}/L7_red.tif`, 'etm.tif': `${scenes}/L7_ETMs.tif` };
const mib = 1024 * 1024;
const spec = { namespace: 'mine' as never, memoryBytes: 768 * mib };

let folder: string;
let cache: FolderCache;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-outputs-'));
  cache = createFolderCache(join(folder, 'cache'), sources);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function outputsOf(end: CallEnd): readonly SpooledOutput[] {
  if (end.kind === 'ended' && end.task.status === 'success') return end.task.outputs ?? [];
  const why = end.kind === 'ended' ? end.task.failure?.traceback : JSON.stringify(end.event.end);
  throw new Error(`the task failed: ${why}\n${end.log}`);
}

const saver = `
import os, sys, tempfile, threading, time
from perigee import errors, imagery, save_output

def f(order, value=None):
    return globals()[order](value)

def plain(value):
    save_output('words.txt', data=u'Z\\u00fcrich'.encode('utf-8'))
    path = os.path.join(tempfile.gettempdir(), 'big.bin')
    with open(path, 'wb') as opened:
        for at in range(0, 8):
            opened.write((b'%c' % at if sys.version_info[0] > 2 else chr(at)) * (1 << 20))
    told = save_output('big.bin', path, metadata={'scene': 'x'})
    save_output('twice', data=b'first')
    save_output('twice', data=b'second', media_type='text/plain')
    return told

def failing(value):
    save_output('gone', data=b'x')
    raise ValueError('no')

def none(value):
    return None

def threads(value):
    many = [threading.Thread(target=lambda at=at: save_output('out-%d' % at, data=b'x' * at)) for at in range(20)]
    for one in many: one.start()
    for one in many: one.join()

def late(value):
    # Never whole when the task ends.
    from perigee._task_socket import connect
    import json, struct
    made = connect('outputs.sock')
    body = json.dumps({'name': 'late', 'sizeBytes': 1000, 'mediaType': 'text/plain'}).encode()
    made.sendall(struct.pack('>I', len(body)) + body + b'x' * 500)
    globals()['kept'] = made
    time.sleep(0.2)

def refused(value):
    found = []
    for call in (
        lambda: save_output('../etc/passwd', data=b'x'),
        lambda: save_output('a/b', data=b'x'),
        lambda: save_output('', data=b'x'),
        lambda: save_output('fine', data=b'x', media_type='nonsense'),
        lambda: save_output('fine', data=b'x', metadata={'long': 'x' * 40000}),
        lambda: save_output('large', data=b'x' * 3000001),
        lambda: [save_output('n%d' % at, data=b'x') for at in range(6)],
    ):
        try:
            call()
            found.append(None)
        except errors.PerigeeError as caught:
            found.append([type(caught).__name__, caught.code, bool(caught.fix)])
    return found
`;

describe.each(['strong', 'standard', 'reduced', 'minimal', 'none'] as const)(
  'outputs at isolation %s',
  (level) => {
    const missing = isMissing(level);
    let sandboxes: Sandboxes;
    beforeAll(async () => {
      if (!missing) sandboxes = await openSandboxes(level, {}, { imagery: cache });
    });
    afterAll(async () => {
      if (!missing) await sandboxes[Symbol.asyncDispose]();
    });

    it.skipIf(missing).each(['worker', 'task'] as const)(
      'leave the sandbox of tasks run by %s with their bytes, and only of those that succeed',
      async (taskIsolation) => {
        const sandbox = sandboxes.start({ source: saver, spec: { ...spec, taskIsolation } });
        const end = await sandbox.call('plain');
        const outputs = outputsOf(end);
        expect(outputs.map(({ name, mediaType }) => [name, mediaType])).toEqual([
          ['big.bin', 'application/octet-stream'],
          ['twice', 'text/plain'],
          ['words.txt', 'text/plain'],
        ]);
        const [big, twice, words] = outputs.map(({ path }) => readFileSync(path));
        expect(words?.toString()).toBe('Zürich');
        expect(twice?.toString()).toBe('second');
        const expected = Buffer.concat(Array.from({ length: 8 }, (_, at) => Buffer.alloc(mib, at)));
        expect(big?.equals(expected)).toBe(true);
        const hash = createHash('sha256').update(expected).digest('hex');
        expect(outputs[0]).toMatchObject({ hash, sizeBytes: 8 * mib });
        expect(end.kind === 'ended' && end.value).toEqual({
          name: 'big.bin',
          bytes: 8 * mib,
          sha256: hash,
        });
        expect(JSON.parse(outputs[0]?.metadata ?? '')).toEqual({
          scene: 'x',
          arguments: { args: ['plain'], kwargs: {} },
        });
        const failed = await sandbox.call('failing');
        expect(failed.kind === 'ended' && failed.task).toMatchObject({ status: 'exception' });
        expect(failed.kind === 'ended' && failed.task.outputs).toBeUndefined();
        expect(outputsOf(await sandbox.call('none'))).toEqual([]);
        for (const { path } of outputs) rmSync(path);
        sandbox.stop();
        await sandbox.ended;
      },
    );
  },
);

describe('outputs', () => {
  it('come from many threads at once, and not at all when they are not whole', async () => {
    await using sandboxes = await openSandboxes('standard', {}, { imagery: cache });
    const sandbox = sandboxes.start({ source: saver, spec });
    const outputs = outputsOf(await sandbox.call('threads'));
    expect(outputs.map(({ name, sizeBytes }) => [name, sizeBytes]).sort()).toEqual(
      Array.from({ length: 20 }, (_, at) => [`out-${at}`, at]).sort(),
    );
    expect(outputsOf(await sandbox.call('late'))).toEqual([]);
    expect(outputsOf(await sandbox.call('none'))).toEqual([]);
    sandbox.stop();
    await sandbox.ended;
  });

  it('are refused with the fix beyond their bounds', async () => {
    const outputs = { ...defaultOutputLimits, outputBytesMax: 3_000_000, outputsMax: 5 };
    await using sandboxes = await openSandboxes('standard', { outputs }, { imagery: cache });
    for (const python of ['2.7', '3.11'] as const) {
      const sandbox = sandboxes.start({ source: saver, python, spec });
      const end = await sandbox.call('refused');
      expect(outputsOf(end).map(({ name }) => name)).toEqual(['n0', 'n1', 'n2', 'n3', 'n4']);
      expect(end.kind === 'ended' && end.value).toEqual([
        ['BadRequestError', 'invalid_request', true],
        ['BadRequestError', 'invalid_request', true],
        ['BadRequestError', 'invalid_request', true],
        ['BadRequestError', 'invalid_request', true],
        ['TooLargeError', 'too_large', true],
        ['TooLargeError', 'too_large', true],
        ['TooLargeError', 'too_large', true],
      ]);
      sandbox.stop();
      await sandbox.ended;
    }
  });

  it('wait for room while others are handed in, and are refused where waiting is in vain', async () => {
    const outputs = { ...defaultOutputLimits, spoolBytesMax: 100_000 };
    await using sandboxes = await openSandboxes('standard', { outputs }, { imagery: cache });
    const source = `
from perigee import save_output, errors
def f(size):
    try:
        save_output('x', data=b'x' * size)
    except errors.DiskFullError as caught:
        return [caught.code, bool(caught.fix)]
`;
    const sandbox = sandboxes.start({ source, spec });
    const [first] = outputsOf(await sandbox.call(80_000));
    const second = sandbox.call(80_000);
    await new Promise((wake) => setTimeout(wake, 300));
    rmSync(first?.path ?? '');
    expect(outputsOf(await second)).toHaveLength(1);
    for (const { path } of outputsOf(await second)) rmSync(path);
    const end = await sandbox.call(200_000);
    expect(end.kind === 'ended' && end.value).toEqual(['disk_full', true]);
    sandbox.stop();
    await sandbox.ended;
  });
});

const writer = readFileSync(join(import.meta.dirname, 'writer.py'), 'utf8');

describe.each(['2.7', '3.11'] as const)('an array that is written in Python %s', (python) => {
  let sandboxes: Sandboxes;
  let end: CallEnd;
  let outputs: readonly SpooledOutput[];
  beforeAll(async () => {
    sandboxes = await openSandboxes('standard', {}, { imagery: cache });
    const sandbox = sandboxes.start({ source: writer, python, spec });
    end = await sandbox.call('arrays');
    outputs = outputsOf(end);
  });
  afterAll(async () => {
    await sandboxes[Symbol.asyncDispose]();
  });

  it('is a Cloud Optimized GeoTIFF by the rules of GDAL, tiled, compressed, with overviews', () => {
    expect(outputs.map(({ name }) => name)).toEqual([
      'bool',
      'classes',
      'four',
      'image',
      'masked',
      'ndvi',
      'small',
      'tile',
      'turned',
    ]);
    for (const { name, path, mediaType, sizeBytes } of outputs) {
      expect(mediaType).toBe(cogMediaType);
      expect(statSync(path).size).toBe(sizeBytes);
      expect({ name, faults: findCogFaults(readTiff(path)) }).toEqual({ name, faults: [] });
    }
    const ndvi = readTiff(outputs.find(({ name }) => name === 'ndvi')?.path ?? '');
    expect(
      ndvi.images.map(({ width, height, tileWidth, compression, predictor }) => [
        width,
        height,
        tileWidth,
        compression,
        predictor,
      ]),
    ).toEqual([
      [1500, 1100, 512, 8, 3],
      [750, 550, 512, 8, 3],
      [375, 275, 512, 8, 3],
    ]);
  });

  it('has the pixels, place and nodata that were given, read by rasterio elsewhere', () => {
    checkOutputs(folder, outputs);
  });

  it('tells what a catalogue asks', () => {
    const told = new Map(outputs.map(({ name, metadata }) => [name, JSON.parse(metadata)]));
    expect(told.get('ndvi')).toMatchObject({
      properties: { datetime: '2001-07-10T12:00:00Z', 'eo:cloud_cover': 3 },
      asset: {
        'proj:code': 'EPSG:32725',
        'proj:shape': [1100, 1500],
        'proj:transform': [30, 0, 300_000, 0, -30, 9_120_000],
        'proj:bbox': [300_000, 9_087_000, 345_000, 9_120_000],
        'perigee:overview_resampling': 'average',
        bands: [{ name: 'ndvi' }],
        'raster:bands': [
          {
            data_type: 'float32',
            nodata: -9999,
            sampling: 'area',
            spatial_resolution: 30,
            statistics: {
              minimum: expect.closeTo(1500 / (1100 * 1500 - 1), 6),
              maximum: 1,
              mean: expect.closeTo(0.50045, 4),
              stddev: expect.closeTo(0.2884, 3),
              valid_percent: expect.closeTo(99.909, 2),
            },
          },
        ],
      },
      arguments: { args: ['arrays'], kwargs: {} },
    });
    const { bbox, geometry } = told.get('ndvi');
    expect(bbox[0]).toBeCloseTo(-34.816, 2);
    expect(bbox[1]).toBeCloseTo(-8.258, 2);
    expect(geometry.type).toBe('Polygon');
    // Across the 180th meridian.
    const turned = told.get('turned');
    expect(turned.geometry.type).toBe('MultiPolygon');
    expect(turned.bbox[0]).toBeGreaterThan(178);
    expect(turned.bbox[2]).toBeLessThan(-178);
  });

  it('is refused with the fix when shape, place, type or nodata do not go together', async () => {
    const sandbox = sandboxes.start({ source: writer, python, spec });
    const refused = await sandbox.call('refusals');
    expect(refused.kind === 'ended' && refused.value).toEqual(
      Array(9).fill(['BadRequestError', true]),
    );
    sandbox.stop();
    await sandbox.ended;
  });
});
