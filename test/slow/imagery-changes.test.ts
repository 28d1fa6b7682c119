/** Assets that change, and a disk that fills up, while tasks read through the real cache. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTiff } from '../imagery/make-tiff.ts';
import { callIn, openBench, side } from '../imagery/task-bench.ts';
import type { RangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { startRangeServer } from '../unit/node-agent/imagery/range-server.ts';

const mib = 1024 ** 2;
const scene = readFileSync(resolve(import.meta.dirname, '../../scripts/demo/scenes/L7_ETMs.tif'));
const isRoot = process.getuid?.() === 0;

let server: RangeServer;
beforeAll(async () => {
  server = await startRangeServer();
});
afterAll(() => server[Symbol.asyncDispose]());

describe('an asset that changes while a task reads it', () => {
  const versions = [1, 2].map((value) =>
    makeTiff({ width: side, height: side, value, rowsPerStrip: 16 }),
  );
  const put = (path: string, version: number): void => {
    server.files.set(path, versions[version - 1] ?? Buffer.alloc(0));
    server.etags.set(path, `"v${version}"`);
  };
  it.each([
    { python: '2.7', lazy: true },
    { python: '3.11', lazy: true },
    { python: '3.11', lazy: false },
  ] as const)(
    'never shows pixels of two versions: Python $python, files filled as they are read: $lazy',
    async ({ python, lazy }) => {
      await using bench = await openBench(server.host, { lazy });
      const name = `/changing-${python}-${lazy}`;
      put(`${name}.tif`, 1);
      const sandbox = bench.start(python);
      const reading = callIn(
        sandbox,
        'changing',
        server.url(`${name}.tif`),
        server.url(`${name}.flag`),
      );
      await Promise.race([
        reading,
        expect.poll(() => sandbox.log, { timeout: 50_000 }).toContain('first strip'),
      ]);
      put(`${name}.tif`, 2);
      server.files.set(`${name}.flag`, Buffer.from('changed'));
      const [seen, isLate, message, again] = (await reading) as [
        number[],
        boolean,
        string | null,
        number[],
      ];
      expect(seen).toEqual([1]);
      if (lazy) {
        expect(isLate).toBe(true);
        expect(message).toContain(server.url(`${name}.tif`));
        expect(message).toContain('window (0, ');
        // Opened again in the same task, it is the new version alone.
        expect(again).toEqual([2]);
      } else {
        // A whole file stays what it is until the task ends; the next one has the new version.
        expect({ message, again }).toEqual({ message: null, again: [1] });
        expect(await callIn(sandbox, 'window', server.url(`${name}.tif`), 0, 0, 10, 10)).toEqual([
          'read',
          200,
        ]);
      }
    },
  );

  it('is told as changed when that happens while it is fetched as a whole', async () => {
    await using bench = await openBench(server.host, { lazy: false });
    put('/midway.tif', 1);
    server.beforeGet = () => {
      if (server.gets === 2) put('/midway.tif', 2);
    };
    server.gets = 0;
    const sandbox = bench.start();
    const uri = server.url('/midway.tif');
    const found = (await callIn(sandbox, 'window', uri, 0, 0, 10, 10)) as string[];
    server.beforeGet = null;
    expect(found).toEqual(['AssetChangedError', expect.stringContaining(uri)]);
    expect(await callIn(sandbox, 'window', uri, 0, side - 10, 10, 10)).toEqual(['read', 200]);
  });
});

describe('a cache whose disk is full', () => {
  it.skipIf(!isRoot)(
    'is slower and never fails a read, and leaves nothing half written',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'perigee-small-'));
      const disk = join(folder, 'disk');
      mkdirSync(disk);
      const mounted = ['-t', 'tmpfs', '-o', 'size=9m,mode=0711', 'perigee-test', disk];
      execFileSync('mount', mounted);
      try {
        server.files.set('/full.tif', makeTiff({ width: side, height: side, value: 3 }));
        server.files.set('/small.tif', scene);
        await using bench = await openBench(server.host, { lazy: true, folder: join(disk, 'c') });
        const sandbox = bench.start();
        const uri = server.url('/full.tif');
        const sum = 3 * side * 1_024;
        for (let row = 0; row < side; row += 1_024) {
          const call = ['window', uri, 0, row, side, 1_024];
          expect(await callIn(sandbox, ...call)).toEqual(['read', sum]);
        }
        expect(bench.cache.cache.stats().heldBytes).toBeLessThanOrEqual(9 * mib);
        // Somebody else takes what is left, to the last byte.
        execFileSync('sh', ['-c', 'cat /dev/zero >"$0"/filler || true', disk], { stdio: 'ignore' });
        const small = server.url('/small.tif');
        const other = server.url('/other.tif');
        server.files.set('/other.tif', makeTiff({ width: side, height: side, value: 5 }));
        expect(await callIn(sandbox, 'path', small)).toBe(scene.length);
        for (let row = 0; row < side; row += 1_024) {
          const call = ['window', other, 0, row, side, 1_024];
          expect(await callIn(sandbox, ...call)).toEqual(['read', 5 * side * 1_024]);
        }
        const pieces = readdirSync(join(disk, 'c'), { recursive: true, withFileTypes: true })
          .filter((one) => one.isFile() && one.name !== 'meta.json')
          .map((one) => join(one.parentPath, one.name));
        for (const piece of pieces) {
          const sum = createHash('sha256').update(readFileSync(piece)).digest('hex');
          expect(piece).toContain(sum);
        }
      } finally {
        execFileSync('umount', ['-l', disk]);
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );
});
