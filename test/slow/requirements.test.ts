/** Requirements of users: built by the real pip from the real index, and imported by functions. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../sdk/ts/index.ts';
import { findPythons } from '../python/find-pythons.ts';
import type { Mesh } from '../python/start-mesh.ts';
import { startMesh } from '../python/start-mesh.ts';
import { checkout, runProgram } from '../setup/run-program.ts';

const clients = findPythons().filter((python) => python.isClient);
const buildMs = 120_000;
const imagesFolder = join(process.env['PERIGEE_HOME'] ?? '/var/lib/perigee', 'images');
let home: string;
let mesh: Mesh;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'perigee-requirements-'));
  // Slots and builds run as other users.
  chmodSync(home, 0o755);
  mkdirSync(join(home, 'images'), { mode: 0o755 });
  for (const name of readdirSync(imagesFolder).filter((entry) => /^[0-9a-f]{32}$/.test(entry))) {
    symlinkSync(join(imagesFolder, name), join(home, 'images', name));
  }
  mesh = await startMesh(join(home, 'coordinator'), { PERIGEE_HOME: home });
}, buildMs);

afterAll(async () => {
  await mesh?.stop();
  rmSync(home, { recursive: true, force: true });
});

async function python(program: string, script: string) {
  return runProgram([program, '-c', script], {
    cwd: join(checkout, 'test/python'),
    env: { PATH: process.env['PATH'], HOME: home, ...mesh.env },
  });
}

const attempt = (requirements: string): string => `
import perigee
def f(x):
    import affine, sys
    return '%s %s %s' % (affine.__file__, affine.Affine.scale(2).a * x, sys.version_info[0])
try:
    print(perigee.AsyncTasks().create_function(f, requirements=${requirements})(21).result)
except perigee.BuildError as error:
    print('BuildError: %s FIX: %s' % (error.message, error.fix))
`;

describe.each(clients)('requirements under $version', ({ program, version }) => {
  const wanted = version.startsWith('2') ? 'affine==2.2.2' : 'affine==2.4.0';

  it(
    'are built once, with pip’s log on standard error, and shadow the base’s',
    async () => {
      const first = await python(program, attempt(`['${wanted}  # scales']`));
      expect(first.stdout, first.stderr).toMatch(/^\/perigee\/site\/affine\/.* 42\.0 [23]\n$/);
      expect(first.stderr).toContain('Successfully installed affine');
      const second = await python(program, attempt(`['${wanted}']`));
      expect(second.stdout).toBe(first.stdout);
      expect(second.stderr).toBe('');
    },
    buildMs,
  );

  it(
    'fail at the build when they do not exist, in pip’s words',
    async () => {
      const ended = await python(program, attempt("['affine==99.1']"));
      expect(ended.stdout, ended.stderr).toMatch(/^BuildError: .*affine==99\.1/);
      expect(ended.stdout).toContain('FIX: Check name and version');
    },
    buildMs,
  );
});

describe('requirements in TypeScript', () => {
  it(
    'are built once with the log as it comes, and fail in pip’s words',
    async () => {
      await using sdk = await connect({ url: mesh.env.PERIGEE_URL, token: mesh.env.PERIGEE_TOKEN });
      const source = 'def f(x):\n    import affine\n    return affine.__file__\n';
      let log = '';
      const onBuildLog = (text: string): void => {
        log += text;
      };
      const options = { source, image: 'perigee/geospatial:py2.7', onBuildLog };
      const first = await sdk.createFunction({ ...options, requirements: ['affine==2.2.1'] });
      expect(await (await first.call([1])).result()).toMatch(/^\/perigee\/site\/affine\//);
      expect(log).toMatch(/building [\s\S]*Successfully installed affine/);
      log = '';
      await sdk.createFunction({ ...options, requirements: ['Affine == 2.2.1'] });
      expect(log).toBe('');
      const refused = sdk.createFunction({ ...options, requirements: ['affine==99.1'] });
      await expect(refused).rejects.toMatchObject({
        code: 'build_failed',
        message: expect.stringContaining('affine==99.1'),
        fix: expect.stringContaining('Check name and version'),
      });
    },
    buildMs,
  );
});
