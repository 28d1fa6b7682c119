/** Tasks read a scene of an HTTP server through the caches of two real nodes. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NodeView } from '../../protocol/wire/api.ts';
import type { Mesh } from '../chaos/mesh.ts';
import { startMesh } from '../chaos/mesh.ts';
import type { Scripts } from '../chaos/scripts.ts';
import { createScripts } from '../chaos/scripts.ts';
import type { RangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { startRangeServer } from '../unit/node-agent/imagery/range-server.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

const scene = join(resolve(import.meta.dirname, '../..'), 'scripts/demo/scenes/L7_ETMs.tif');
const sceneBytes = readFileSync(scene);

let origin: RangeServer;
let mesh: Mesh;
let scripts: Scripts;

beforeAll(async () => {
  origin = await startRangeServer();
  origin.files.set('/scenes/etm.tif', sceneBytes);
  mesh = await startMesh({ NO_COLOR: '1' }, { nodes: 2, imageryAllow: [origin.host] });
  scripts = createScripts(mesh.environment);
});
afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  await origin?.[Symbol.asyncDispose]();
});

describe('a scene that is read over HTTP', () => {
  it('comes from its origin once for two nodes, with the pixels that rasterio reads', async () => {
    const ended = await scripts.run(`
import sys
import rasterio
from rasterio.windows import Window
from perigee import AsyncTasks, as_completed
def look(uri, column):
    import time, zlib
    import rasterio
    from rasterio.windows import Window
    from perigee import imagery
    with rasterio.open(imagery.open(uri)) as scene:
        pixels = scene.read(window=Window(column, 0, 16, scene.height))
    time.sleep(0.3)
    return column, zlib.crc32(pixels.tobytes()) & 0xffffffff
function = AsyncTasks().create_function(look, name='look', image='perigee/geospatial:py2.7')
columns = list(range(0, 320, 16))
tasks = function.map(['${origin.url('/scenes/etm.tif')}'] * len(columns), columns)
nodes = set()
import zlib
with rasterio.open('${scene}') as scene:
    for task in as_completed(tasks):
        column, found = task.result
        pixels = scene.read(window=Window(column, 0, 16, scene.height))
        assert found == zlib.crc32(pixels.tobytes()) & 0xffffffff, column
        nodes.add(task.node)
print('nodes %d' % len(nodes))
`);
    expect(ended).toMatchObject({ status: 0, stdout: 'nodes 2\n', stderr: '' });
    expect(origin.bytesSent).toBeGreaterThanOrEqual(sceneBytes.length);
    // Each node may hold one block of the other's against 64 KiB of the origin.
    expect(origin.bytesSent).toBeLessThanOrEqual(sceneBytes.length + 2 * 64 * 1024);
  });

  it('shows in the nodes’ hit rates and sources, in a table and as JSON', async () => {
    const read = async (): Promise<NodeView[]> => {
      const { stdout } = await runInProcess(['nodes', '--json'], mesh.environment);
      return JSON.parse(stdout) as NodeView[];
    };
    let reads: NonNullable<NodeView['imageryReads']>[] = [];
    const sum = (name: 'hits' | 'misses' | 'peerBytes' | 'originBytes'): number =>
      reads.reduce((sofar, one) => sofar + one[name], 0);
    const look = async (): Promise<{ hits: number; misses: number }> => {
      reads = (await read()).flatMap(({ imageryReads }) => imageryReads ?? []);
      return { hits: sum('hits'), misses: sum('misses') };
    };
    // 20 tasks opened it; on each node the first one missed. Nodes tell it with their heartbeats.
    await expect.poll(look, { timeout: 40_000, interval: 300 }).toEqual({ hits: 18, misses: 2 });
    expect(sum('peerBytes') + sum('originBytes')).toBe(2 * sceneBytes.length);
    for (const one of reads) expect(one.hitRate).toBe(one.hits / (one.hits + one.misses));
    const { stdout } = await runInProcess(['nodes'], { ...mesh.environment, COLUMNS: '300' });
    const [node] = reads;
    expect(stdout).toContain(`${Math.floor((node?.hitRate ?? 0) * 100)} %`);
  });

  it('is told of by both nodes, as the command line shows', async () => {
    await expect
      .poll(
        async () => {
          const { stdout } = await runInProcess(['nodes', '--json'], mesh.environment);
          const nodes = JSON.parse(stdout) as { holdings: unknown; imagery: string }[];
          return nodes.map(({ holdings, imagery }) => ({ holdings, isNone: imagery === 'none' }));
        },
        { timeout: 40_000, interval: 300 },
      )
      .toEqual(Array(2).fill({ holdings: { assets: 1, bytes: sceneBytes.length }, isNone: false }));
  });
});
