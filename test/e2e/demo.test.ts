/** The main job as `npm run demo` does it, held against GDAL pixel by pixel. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const scenes = join(root, 'scripts/demo/scenes');
const python = join(root, '.perigee/client/py2.7/bin/python2.7');

let folder = '';
let output = '';
let stdout = '';
let status: number | null = null;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-demo-test-'));
  const node = join(root, 'node_modules/.bin/node');
  const demo = spawnSync(node, [join(root, 'scripts/demo/main.ts'), folder], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  status = demo.status;
  stdout = demo.stdout;
  output = stdout + demo.stderr;
}, 130_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program and answers its output; throws with what it said when it fails. */
function run(command: string, parameters: string[]): string {
  const ran = spawnSync(command, parameters, { cwd: folder, encoding: 'utf8' });
  if (ran.status !== 0)
    throw new Error(`${command} failed:\n${ran.error ?? ''}${ran.stdout}${ran.stderr}`);
  return ran.stdout;
}

describe('the demo', () => {
  it('runs the guide and the main job, and sees its nodes leave', () => {
    expect(status, output).toBe(0);
    expect(output).toContain('A mesh is up with no nodes');
    expect(output).toMatch(/hello 5\n<module 'geopandas' from/);
    for (let call = 0; call < 20; call += 1) expect(output).toContain(`hello ${call}\n`);
    expect(output).toContain('64 windows done and 1 failed');
    expect(output).toContain('The nodes have left.');
  });

  it('shows the exception and the log of the window that fails on purpose', () => {
    expect(output).toContain('task.exception  ValueError');
    expect(output).toContain('task.log        window (1024, 0, 128, 128)');
    expect(output).toContain('does not lie within the scene of 1024 x 1024 pixels');
  });

  it('ends with the number of nodes, the tasks a second and the place of the picture', () => {
    const last = stdout.trimEnd().split('\n').slice(-8).join('\n');
    expect(last).toMatch(/nodes {5}[1-9]/);
    expect(last).toMatch(/tasks\/s {3}[1-9]/);
    const hits = Number(/cache {5}([\d.]+) % of/.exec(last)?.[1]);
    expect(hits).toBeGreaterThan(80);
    expect(hits).toBeLessThan(100);
    expect(last).toContain(`picture   ${join(folder, 'ndvi.png')}`);
  });

  it('computes the NDVI that gdal_calc computes, on every pixel', () => {
    const reference = join(folder, 'reference.tif');
    run('gdal_calc.py', [
      '--quiet',
      '-A',
      join(scenes, 'L7_red.tif'),
      '-B',
      join(scenes, 'L7_nir.tif'),
      `--outfile=${reference}`,
      '--type=Float32',
      '--calc=(B.astype(float32)-A.astype(float32))/(B.astype(float32)+A.astype(float32))',
    ]);
    run('gdal_translate', ['-q', '-of', 'ENVI', reference, join(folder, 'reference.bin')]);
    const script = join(folder, 'compare.py');
    writeFileSync(
      script,
      `import numpy
ours = numpy.load('ndvi.npy')
reference = numpy.fromfile('reference.bin', '<f4').reshape(1024, 1024)
assert ours.dtype == numpy.float32 and ours.shape == reference.shape
print((ours != reference).sum())
`,
    );
    expect(run(python, [script]).trim()).toBe('0');
  });

  it('paints the picture that gdaldem paints with the same ramp', () => {
    const script = join(folder, 'ramp.py');
    writeFileSync(
      script,
      `import sys
sys.path.insert(0, ${JSON.stringify(join(root, 'scripts/demo'))})
from picture import RAMP
for value, color in RAMP:
    print('%r %d %d %d' % ((value,) + color))
`,
    );
    writeFileSync(join(folder, 'ramp.txt'), run(python, [script]));
    run('gdaldem', ['color-relief', '-q', 'reference.tif', 'ramp.txt', 'painted.tif']);
    writeFileSync(
      join(folder, 'pixels.py'),
      `import sys
sys.path.insert(0, ${JSON.stringify(join(root, 'scripts/demo'))})
import numpy, rasterio
from picture import HEADER, MARGIN
with rasterio.open('painted.tif') as file:
    painted = file.read().astype(int)
with rasterio.open('ndvi.png') as file:
    ours = file.read()[:3, HEADER:HEADER + 1024, MARGIN:MARGIN + 1024].astype(int)
print(abs(painted - ours).max())
`,
    );
    // Both round the mixed colour; they may differ by one step of 255 where it lies half way.
    expect(Number(run(python, [join(folder, 'pixels.py')]).trim())).toBeLessThanOrEqual(1);
  });

  it('writes a table with a line for each window', () => {
    const lines = readFileSync(join(folder, 'ndvi.csv'), 'utf8').trim().split(/\r?\n/);
    expect(lines[0]).toBe('column,row,mean,minimum,maximum,vegetated');
    expect(lines).toHaveLength(65);
  });
});
