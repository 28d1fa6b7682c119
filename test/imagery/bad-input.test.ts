/** What is wrong with assets and origins, as tasks see it; `test/slow/imagery-changes.test.ts` has more. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sandbox } from '../isolation/sandboxes.ts';
import type { RangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { startRangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { makeTiff } from './make-tiff.ts';
import type { TaskBench } from './task-bench.ts';
import { callIn, openBench } from './task-bench.ts';

const mib = 1024 ** 2;
const scene = readFileSync(resolve(import.meta.dirname, '../../scripts/demo/scenes/L7_ETMs.tif'));

let server: RangeServer;
beforeAll(async () => {
  server = await startRangeServer();
});
afterAll(() => server[Symbol.asyncDispose]());

describe.each([
  { python: '2.7', lazy: false },
  { python: '3.11', lazy: false },
  { python: '3.11', lazy: true },
] as const)(
  'a task in Python $python, files filled as they are read: $lazy',
  ({ python, lazy }) => {
    let bench: TaskBench;
    let sandbox: Sandbox;
    const call = (...values: unknown[]): Promise<unknown> => callIn(sandbox, ...values);
    beforeAll(async () => {
      // Below the scene's size, so that it is filled where that is asked for.
      bench = await openBench(server.host, { lazy, wholeAssetBytesMax: lazy ? 100_000 : 32 * mib });
      sandbox = bench.start(python);
    });
    afterAll(async () => {
      await bench?.[Symbol.asyncDispose]();
    });
    beforeEach(() => {
      server.faults = [];
    });
    const put = (path: string, content: Uint8Array | string): string => {
      server.files.set(path, Buffer.from(content));
      return server.url(path);
    };

    it('hears that a page, a short text and nothing at all are no rasters', async () => {
      for (const [path, content] of [
        ['/page.tif', `<html><body>Please sign in.${' '.repeat(200_000)}</body></html>`],
        ['/words.tif', 'no raster'],
        ['/nothing.tif', ''],
      ] as const) {
        const uri = put(path, content);
        const found = (await call('window', uri, 0, 0, 8, 8)) as string[];
        expect(found).toEqual(['AssetInvalidError', expect.stringContaining(uri)]);
        expect(await call('path', uri)).toBe(content.length);
      }
    });

    it('hears which scene and window are cut off at the origin, and reads what is there', async () => {
      const truth = put('/whole.tif', scene);
      const uri = put('/truncated.tif', scene.subarray(0, Math.floor(scene.length * 0.7)));
      expect(await call('window', uri, 0, 0, 64, 16)).toEqual(
        await call('window', truth, 0, 0, 64, 16),
      );
      const found = (await call('window', uri, 17, 300, 64, 32)) as string[];
      expect(found).toEqual(['AssetInvalidError', expect.stringContaining(uri)]);
      expect(found[1]).toContain('(17, 300, 64, 32)');
      // Uncompressed: there a map would end in a bus error.
      const full = makeTiff({ width: 512, height: 512, value: 7, rowsPerStrip: 8 });
      const raw = put('/truncated-raw.tif', full.subarray(0, 150_000));
      const cut = (await call('window', raw, 0, 500, 512, 8)) as string[];
      expect(cut).toEqual(['AssetInvalidError', expect.stringContaining('(0, 500, 512, 8)')]);
    });

    it('hears the origin’s own answer to what is not there or not allowed', async () => {
      const missing = (await call('window', server.url('/none.tif'), 1, 2, 3, 4)) as string[];
      expect(missing[0]).toBe('AssetNotFoundError');
      expect(missing[1]).toMatch(/none\.tif.*404/);
      expect(missing[1]).toContain('(1, 2, 3, 4)');
      const uri = put(`/closed-${python}-${lazy}.tif`, scene);
      server.faults = Array(40).fill('status403');
      const denied = (await call('window', uri, 1, 2, 3, 4)) as string[];
      expect(denied).toEqual(['AssetDeniedError', expect.stringContaining('status 403')]);
      expect(denied[1]).toContain('not for you');
      expect(denied[1]).toContain(uri);
    });

    it('is refused what cannot fit its memory, before anything is allocated', async () => {
      const million = { width: 1_000_000, height: 1_000_000 };
      const vrt = (kind: string): string =>
        `<VRTDataset rasterXSize="2000000000" rasterYSize="2000000000"><SRS>EPSG:32622</SRS><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform><VRTRasterBand dataType="${kind}" band="1"/></VRTDataset>`;
      const rows = put('/million.tif', makeTiff({ ...million, headerOnly: true }));
      const tile = put(
        '/tile.tif',
        makeTiff({ width: 32_768, height: 32_768, headerOnly: true, oneTile: true }),
      );
      const virtual = put('/virtual.vrt', vrt('Float64'));
      for (const [order, uri] of [
        ['window', rows],
        ['window', virtual],
        ['mosaic', virtual],
      ]) {
        const found = (await call(order, uri)) as string[];
        expect({ order, found }).toEqual({
          order,
          found: ['TooLargeError', expect.stringContaining(uri ?? '')],
        });
      }
      expect(((await call('window', virtual)) as string[])[1]).toMatch(
        /32000000000000000000 bytes, and the group has 536870912 bytes/,
      );
      // A few pixels of a tile that is decoded as a whole.
      const one = (await call('window', tile, 5, 5, 10, 10)) as string[];
      expect(one).toEqual([
        'TooLargeError',
        expect.stringContaining(`one block of 1 x 32768 x 32768 pixels of ${tile}`),
      ]);
    });

    it('hears that a window reaches beyond the scene', async () => {
      const uri = put('/whole.tif', scene);
      const found = (await call('window', uri, 300, 300, 100, 100)) as string[];
      expect(found).toEqual(['WindowError', expect.stringContaining('349 x 352')]);
      expect(found[1]).toContain(uri);
      expect(found[1]).toContain('(300, 300, 100, 100)');
    });
  },
);
