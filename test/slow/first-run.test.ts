// The first run, from an empty folder and with the system's own Node first on PATH, as a person has
// it after `git clone`. Downloads everything that set-up downloads.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  bareEnvironment,
  checkout,
  findSystemNodeFolder,
  runProgram,
  shellPath,
} from '../setup/run-program.ts';

const setupMsMax = 10 * 60_000;
let work: string;
let clone: string;
let home: string;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'perigee-first-run-'));
  clone = join(work, 'perigee');
  home = join(work, 'home');
  // Settings of npm and pip come by environment variables too; those of npm run's own do not count.
  const inherited = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  env = {
    ...Object.fromEntries(inherited),
    ...bareEnvironment(),
    PATH: [findSystemNodeFolder(), shellPath()].join(delimiter),
    PERIGEE_HOME: home,
  };
  const copy =
    'mkdir "$1" && git ls-files -co --exclude-standard -z | ' +
    'tar --null --ignore-failed-read -T - -cf - | tar -xf - -C "$1"';
  const copied = await runProgram(['sh', '-c', copy, 'sh', clone], { cwd: checkout });
  expect(copied.status).toBe(0);
  expect(existsSync(join(clone, 'node_modules'))).toBe(false);
});

afterAll(() => rmSync(work, { recursive: true, force: true, maxRetries: 10 }));

function images(): string[] {
  const folder = join(home, 'images');
  return existsSync(folder) ? readdirSync(folder) : [];
}

it('leaves nothing half-made when it is interrupted', { timeout: setupMsMax }, async () => {
  const setup = spawn(join(findSystemNodeFolder(), 'node'), ['scripts/setup/main.mjs'], {
    cwd: clone,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let problem = '';
  setup.stderr.setEncoding('utf8').on('data', (text: string) => {
    problem += text;
  });
  const ended = new Promise<number | null>((done) => setup.on('close', done));
  await expect.poll(images, { timeout: 60_000 }).toHaveLength(2);
  expect(images().every((name) => name.startsWith('.building-'))).toBe(true);
  setup.kill('SIGTERM');
  expect(await ended).toBe(1);
  expect(problem).toContain('Set-up was interrupted by SIGTERM; run it again to go on.');
  expect(images()).toEqual([]);
});

it('sets up once when it is started twice at once', { timeout: setupMsMax }, async () => {
  const setup = ['npm', 'run', 'setup'];
  const both = await Promise.all([
    runProgram(setup, { cwd: clone, env }),
    runProgram(setup, { cwd: clone, env }),
  ]);
  for (const ended of both) expect(ended).toMatchObject({ status: 0 });
  const plans = both.filter((ended) => ended.stdout.includes('Perigee will install, once:'));
  expect(plans).toHaveLength(1);
  expect(plans[0]?.stdout).toMatch(/npm packages, with Node 26\.\S+ +→ .*node_modules/);
  expect(images()).toHaveLength(2);
  expect(images().every((name) => /^[0-9a-f]{32}$/.test(name))).toBe(true);
});

it('runs the client, the tests and set-up again without a network', async () => {
  const offline = ['bwrap', '--dev-bind', '/', '/', '--unshare-net'];
  const script = 'import geopandas, sys; print(sys.version_info[0])';
  const python = await runProgram([...offline, 'scripts/perigee', 'python', '-c', script], {
    cwd: clone,
    env,
  });
  expect(python).toMatchObject({ status: 0, stdout: '2\n', stderr: '' });
  const again = await runProgram([...offline, 'npm', 'run', 'setup'], { cwd: clone, env });
  expect(again.stdout).toContain('Perigee is set up');
  expect(again.status).toBe(0);
  // The old Node is first on PATH, and could not even load vitest.
  const tests = await runProgram(
    [...offline, 'npm', 'test', '--', 'test/unit/protocol/base.test.ts'],
    {
      cwd: clone,
      env,
    },
  );
  expect(tests.stdout).toMatch(/Tests .*[1-9]\d* passed/);
  expect(tests.status).toBe(0);
});

it('takes its traces away again', async () => {
  const cleaned = await runProgram(['scripts/perigee', 'clean', '--yes'], { cwd: clone, env });
  expect(cleaned).toMatchObject({ status: 0, stderr: '' });
  expect(cleaned.stdout).toContain('image perigee/geospatial:py2.7');
  expect(existsSync(join(home, 'images'))).toBe(false);
  expect(existsSync(join(clone, '.perigee/client'))).toBe(false);
  const python = await runProgram(['scripts/perigee', 'python', '-c', ''], { cwd: clone, env });
  expect(python.status).toBe(1);
  expect(python.stderr).toContain('not set up');
});
