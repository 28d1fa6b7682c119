/** Runs the Python SDK's own suites (test/python) under every supported Python that is here. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Python } from '../python/find-pythons.ts';
import { findPythons, provideCloudpickle } from '../python/find-pythons.ts';
import { writeSelfSigned } from '../python/self-signed.ts';
import type { Mesh } from '../python/start-mesh.ts';
import { startMesh } from '../python/start-mesh.ts';
import { checkout, runProgram } from '../setup/run-program.ts';

const suites = readdirSync(join(checkout, 'test/python'))
  .filter((name) => name.startsWith('test_') && name.endsWith('.py'))
  .map((name) => name.slice(0, -'.py'.length))
  .filter((name) => name !== 'test_contract');
const pythons = findPythons();
const clients = pythons.filter((python) => python.isClient);
const suiteMs = 600_000;

let scratch: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'perigee-python-sdk-'));
  writeSelfSigned(scratch);
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function environment(python: Python, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: scratch,
    PYTHONDONTWRITEBYTECODE: '1',
    PERIGEE_TEST_TLS: scratch,
    PERIGEE_CONFIG: join(scratch, 'no-config.json'),
    ...(python.isClient ? {} : { PYTHONPATH: provideCloudpickle(scratch, python) }),
    ...more,
  };
}

/** Runs unittest; what it said is in the failure. None may be skipped: a skip would hide a lack. */
async function expectToPass(python: Python, modules: string[], env: NodeJS.ProcessEnv) {
  const ended = await runProgram([python.program, '-m', 'unittest', ...modules], {
    cwd: join(checkout, 'test/python'),
    env,
  });
  expect(ended.status, ended.stderr).toBe(0);
  expect(ended.stderr).toMatch(/Ran [1-9]\d* tests? in/);
  expect(ended.stderr).toMatch(/^OK$/m);
}

describe.concurrent.each(pythons)('the Python SDK under $version', (python) => {
  it(
    'passes its suites against a mesh that breaks on purpose',
    async () => {
      await expectToPass(python, suites, environment(python));
    },
    suiteMs,
  );

  it('compiles in every file, the harness too', async () => {
    const script = [
      'import sys',
      'for path in sys.argv[1:]:',
      '    with open(path, "rb") as opened:',
      '        compile(opened.read(), path, "exec", 0, True)',
    ].join('\n');
    const files = ['sdk/python', 'sdk/python-dlrun', 'test/python', 'node-agent/runner']
      .flatMap((folder) => listPython(folder))
      // The guide is Python 2, word for word.
      .filter((path) => !path.includes('/guide/'));
    expect(files.length).toBeGreaterThan(30);
    const ended = await runProgram([python.program, '-c', script, ...files]);
    expect(ended.status, ended.stderr).toBe(0);
  });
});

describe.each(clients)('the Python SDK under $version on a real mesh', (python) => {
  let mesh: Mesh;

  beforeAll(async () => {
    mesh = await startMesh(mkdtempSync(join(scratch, 'mesh-')));
  });

  afterAll(() => mesh?.stop());

  it(
    'passes the contract',
    async () => {
      await expectToPass(python, ['test_contract'], environment(python, mesh.env));
    },
    suiteMs,
  );
});

describe('the distributions', () => {
  it(
    'are one wheel for all Pythons, which pip installs into each',
    async () => {
      const sources = join(scratch, 'sources');
      const wheels = join(scratch, 'wheels');
      mkdirSync(wheels);
      for (const name of ['python', 'python-dlrun']) {
        cpSync(join(checkout, 'sdk', name), join(sources, name), { recursive: true });
      }
      const [builder] = clients;
      if (builder === undefined) throw new Error('there is no client environment');
      const offline = ['--disable-pip-version-check', '--no-index', '--no-deps'];
      for (const name of ['python', 'python-dlrun']) {
        const built = await runProgram(
          [
            builder.program,
            '-m',
            'pip',
            'wheel',
            ...offline,
            '--no-build-isolation',
            '-w',
            wheels,
            join(sources, name),
          ],
          { env: environment(builder) },
        );
        expect(built.status, built.stderr).toBe(0);
      }
      const made = readdirSync(wheels).sort();
      expect(made).toEqual([
        'perigee-0.1.0-py2.py3-none-any.whl',
        'perigee_dlrun-0.1.0-py2.py3-none-any.whl',
      ]);
      for (const python of pythons) {
        const place = join(scratch, `installed-${python.version}`);
        const installed = await runProgram(
          [
            python.program,
            '-m',
            'pip',
            'install',
            ...offline,
            '--target',
            place,
            ...made.map((wheel) => join(wheels, wheel)),
          ],
          { env: environment(python) },
        );
        expect(installed.status, installed.stderr).toBe(0);
        expect(existsSync(join(place, 'perigee/py.typed'))).toBe(true);
        expect(existsSync(join(place, 'perigee/client.pyi'))).toBe(true);
        const script =
          'import perigee, descarteslabs.client.services.tasks\n' +
          'from descarteslabs.ext.tasks import AsyncTasks, as_completed\n' +
          'assert AsyncTasks is perigee.AsyncTasks\n' +
          'print(perigee.__file__)';
        const used = await runProgram([python.program, '-c', script], {
          env: environment(python, { PYTHONPATH: place }),
        });
        expect(used.status, used.stderr).toBe(0);
        expect(used.stdout.startsWith(place)).toBe(true);
      }
    },
    suiteMs,
  );

  it(
    'build from source with the pip of each client environment',
    async () => {
      for (const python of clients) {
        const place = join(scratch, `from-source-${python.version}`);
        const source = join(scratch, `source-of-${python.version}`);
        cpSync(join(checkout, 'sdk/python'), source, { recursive: true });
        const installed = await runProgram(
          [
            python.program,
            '-m',
            'pip',
            'install',
            '--disable-pip-version-check',
            '--no-index',
            '--no-deps',
            '--no-build-isolation',
            '--target',
            place,
            source,
          ],
          { env: environment(python) },
        );
        expect(installed.status, installed.stderr).toBe(0);
        expect(existsSync(join(place, 'perigee/client.py'))).toBe(true);
      }
    },
    suiteMs,
  );
});

function listPython(folder: string): string[] {
  return readdirSync(join(checkout, folder), { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile() && file.name.endsWith('.py'))
    .map((file) => join(file.parentPath, file.name));
}
