import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkout, imageOf, runProgram } from './run-program.ts';

const scenes = join(checkout, 'scripts/demo/scenes');
const recipeFolder = join(checkout, 'scripts/setup/images');

/** Runs a program in the image as a sandbox does: another user, read-only, nothing of the host. */
function inImage(folder: string, command: string[]): string[] {
  const own = process.getuid?.() === 0;
  const asUser = ['setpriv', '--reuid', '61001', '--regid', '61001', '--clear-groups'];
  return [
    ...(own ? [...asUser, '--no-new-privs'] : []),
    ...['bwrap', '--unshare-all', '--unshare-user', '--die-with-parent', '--cap-drop', 'ALL'],
    ...['--ro-bind', join(folder, 'rootfs'), '/', '--proc', '/proc', '--dev', '/dev'],
    ...['--tmpfs', '/tmp', '--clearenv', '--setenv', 'PATH', '/usr/bin:/bin'],
    ...['--setenv', 'LANG', 'C.UTF-8', '--setenv', 'HOME', '/tmp', '--uid', '1000'],
    ...['--gid', '1000', '--chdir', '/tmp', '--', ...command],
  ];
}

describe.each([
  {
    version: '2.7',
    name: 'perigee/geospatial:py2.7',
    packages: {
      numpy: /^1\.16\./,
      pandas: /^0\.24\./,
      shapely: /^1\.7\./,
      fiona: /^1\.8\./,
      pyproj: /^2\.2\./,
      rasterio: /^1\./,
      geopandas: /^0\.6\./,
      scipy: /^1\.2\./,
      'scikit-image': /^0\.14\./,
      'scikit-learn': /^0\.20\./,
      matplotlib: /^2\.2\./,
      rasterstats: /^0\.14\./,
      affine: /^2\./,
      requests: /^2\./,
    },
  },
  {
    version: '3.11',
    name: 'perigee/geospatial:py3.11',
    packages: Object.fromEntries(
      [
        ...['numpy', 'pandas', 'shapely', 'fiona', 'pyproj', 'rasterio', 'geopandas', 'scipy'],
        ...['scikit-image', 'scikit-learn', 'matplotlib', 'rasterstats', 'affine', 'requests'],
        ...['xarray', 'rioxarray', 'rio-tiler', 'odc-stac', 'pystac-client'],
      ].map((name) => [name, /^\d/]),
    ),
  },
])('the image $name', ({ version, name, packages }) => {
  const { folder, about } = imageOf(version);
  const rootfs = join(folder, 'rootfs');

  it('says what it is', () => {
    expect(about).toMatchObject({ name, arch: process.arch });
    expect(about.names).toContain(name);
    expect(about.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(folder.endsWith(about.digest.slice(7, 39))).toBe(true);
    expect(about.python.implementation).toBe('CPython');
    expect(about.python.version.startsWith(`${version}.`)).toBe(true);
    expect(about.sizeBytes).toBeGreaterThan(50e6);
    expect(Date.parse(about.builtAt)).toBeGreaterThan(0);
    for (const [name, pattern] of Object.entries(packages)) {
      expect({ name, version: about.packages[name] }).toEqual({
        name,
        version: expect.stringMatching(pattern),
      });
    }
  });

  it('runs its interpreter, a shell and its tools as another user', async () => {
    const script = `test "$(id -u)" = 1000 && echo é | sed s/é/ö/ | tr -d '\\n' && exec "$0" -V 2>&1`;
    const ended = await runProgram(inImage(folder, ['/bin/sh', '-c', script, about.python.path]));
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(ended.stdout).toBe(`öPython ${about.python.version}\n`);
  });

  it('prints non-ASCII text in C.UTF-8 and trusts the usual certificate authorities', async () => {
    const script =
      'import locale, ssl\n' +
      'locale.setlocale(locale.LC_ALL, "")\n' +
      'print(u"\\xe9 " + locale.nl_langinfo(locale.CODESET))\n' +
      'assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100\n';
    const ended = await runProgram(inImage(folder, [about.python.path, '-c', script]));
    expect(ended).toMatchObject({ status: 0, stdout: 'é UTF-8\n', stderr: '' });
  });

  it('holds no setuid file and none that others may write', async () => {
    const conditions = ['-perm', '/6000', '-o', '-perm', '/022', '!', '-type', 'l'];
    const found = await runProgram(['find', rootfs, ...conditions]);
    const shared = [join(rootfs, 'tmp'), join(rootfs, 'var/tmp')];
    expect(
      found.stdout.split('\n').filter((path) => path !== '' && !shared.includes(path)),
    ).toEqual([]);
    expect(lstatSync(rootfs).uid).toBe(process.getuid?.());
  });

  it('has every mount point of a sandbox, and no cache', () => {
    for (const path of ['data', 'dev', 'in', 'perigee', 'proc', 'tmp']) {
      expect(lstatSync(join(rootfs, path)).isDirectory()).toBe(true);
    }
    expect(readlinkSync(join(rootfs, 'bin'))).toBe('usr/bin');
    expect(() => accessSync(join(rootfs, 'var/lib/apt/lists'), constants.F_OK)).toThrow('ENOENT');
    expect(readFileSync(join(rootfs, 'etc/resolv.conf'), 'utf8')).toBe('');
  });
});

it('reads real pixels and projects coordinates in perigee/geospatial:py2.7', async () => {
  const { folder, about } = imageOf('2.7');
  const script =
    'import fiona, geopandas, pandas, pyproj, rasterio\n' +
    'from shapely.geometry import Point\n' +
    'points = geopandas.GeoSeries([Point(-35, -8)], crs={"init": "epsg:4326"})\n' +
    'point = points.to_crs({"init": "epsg:31985"})[0]\n' +
    'print("%.1f %.1f" % (point.x, point.y))\n' +
    'with rasterio.open("/data/L7_red.tif") as red:\n' +
    '    window = red.read(1, window=((128, 256), (0, 128)))\n' +
    '    print("%s %s %d" % (red.crs.to_epsg(), window.shape, window.min()))\n';
  // bubblewrap runs as another user here, who may not enter a checkout in root's home.
  const near = mkdtempSync(join(tmpdir(), 'perigee-scenes-'));
  cpSync(join(scenes, 'L7_red.tif'), join(near, 'L7_red.tif'));
  chmodSync(near, 0o755);
  const command = inImage(folder, [about.python.path, '-c', script]);
  command.splice(command.indexOf('--proc'), 0, '--ro-bind', near, '/data');
  const ended = await runProgram(command);
  rmSync(near, { recursive: true });
  expect(ended.stderr).toBe('');
  expect(ended.stdout).toBe('279558.3 9115166.5\n31985 (128, 128) 26\n');
});

it.each([
  { lock: 'geospatial-py2.7', wanted: 'geospatial-py2.7.in', version: '2.7' },
  { lock: 'geospatial-py3.11', wanted: 'geospatial-py3.in', version: '3.11' },
])('holds all that $lock names, by digest, and nothing else', ({ lock, wanted, version }) => {
  const files = [`${lock}.txt`, `${lock}-source.txt`].filter((name) =>
    existsSync(join(recipeFolder, name)),
  );
  const locked = files
    .flatMap((name) => readFileSync(join(recipeFolder, name), 'utf8').split('\n'))
    .flatMap((line) => /^([^#\s=]+)==(\S+) \\$/.exec(line)?.slice(1, 3).join('==') ?? [])
    .sort();
  const hashes = files
    .flatMap((name) => readFileSync(join(recipeFolder, name), 'utf8').split('\n'))
    .filter((line) => /^ +--hash=sha256:[0-9a-f]{64}$/.test(line));
  expect(hashes.length).toBe(locked.length);
  const { about } = imageOf(version);
  const held = Object.entries(about.packages).map(([name, number]) => `${name}==${number}`);
  const normal = (pin: string): string => pin.replaceAll('.functools-', '-functools-');
  expect(held.map(normal).sort()).toEqual(locked.map(normal));
  for (const line of readFileSync(join(recipeFolder, wanted), 'utf8').split('\n')) {
    const name = /^[a-z0-9-]+/.exec(line)?.[0];
    if (name !== undefined) expect(Object.keys(about.packages)).toContain(name);
  }
});

it('lists in THIRD-PARTY.md all that the images hold', async () => {
  const program = join(checkout, 'scripts/third-party/main.mjs');
  const ended = await runProgram([process.execPath, program, '--check']);
  expect({ status: ended.status, stderr: ended.stderr }).toEqual({ status: 0, stderr: '' });
});

it('keeps the licences of what it redistributes', () => {
  for (const version of ['2.7', '3.11']) {
    const { folder, about } = imageOf(version);
    for (const name of Object.keys(about.debianPackages)) {
      const copyright = join(folder, 'rootfs/usr/share/doc', name, 'copyright');
      expect({ name, isThere: existsSync(copyright) }).toEqual({ name, isThere: true });
    }
  }
});
