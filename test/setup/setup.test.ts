import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { bareEnvironment, checkout, findSystemNodeFolder, runProgram } from './run-program.ts';

const main = join(checkout, 'scripts/setup/main.mjs');
const oldNode = join(findSystemNodeFolder(), 'node');

it.each(['run', 'test'])('sets nothing up twice, without a network (--for=%s)', async (profile) => {
  const command = ['bwrap', '--dev-bind', '/', '/', '--unshare-net', oldNode, main];
  const startedMs = performance.now();
  const ended = await runProgram([...command, `--for=${profile}`]);
  expect(ended.stderr).toBe('');
  expect(ended.stdout).toMatch(/^Perigee is set up \(checked in \d+ ms\)\.\n$/);
  expect(ended.status).toBe(0);
  expect(performance.now() - startedMs).toBeLessThan(20_000);
});

it('names the missing Debian packages in one line to copy when it is not root', async () => {
  const empty = mkdtempSync(join(tmpdir(), 'perigee-setup-'));
  try {
    const asUser = ['bwrap', '--dev-bind', '/', '/', '--unshare-user', '--uid', '1000'];
    const ended = await runProgram([...asUser, '/usr/bin/env', `PATH=${empty}`, oldNode, main]);
    expect(ended.status).toBe(1);
    expect(ended.stdout).toBe('');
    expect(ended.stderr).toContain('only root can install them');
    expect(ended.stderr).toMatch(
      /\n {2}sudo apt-get install -y --no-install-recommends bubblewrap patchelf\b/,
    );
    expect(readdirSync(empty)).toEqual([]);
  } finally {
    rmSync(empty, { recursive: true });
  }
});

it('refuses options that it does not know', async () => {
  const ended = await runProgram([oldNode, main, '--for=nothing']);
  expect(ended.status).toBe(2);
  expect(ended.stderr).toContain('setup: --for=nothing is not an option');
});

it('removes nothing unasked', async () => {
  const clean = join(checkout, 'scripts/perigee');
  const ended = await runProgram([clean, 'clean'], { env: bareEnvironment() });
  expect(ended.status).toBe(1);
  expect(ended.stdout).toContain('image perigee/geospatial:py2.7');
  expect(ended.stderr).toContain('Nothing was removed. --yes removes without asking.');
});

it('has the sample scenes that their README describes, under 3 MB in all', () => {
  const folder = join(checkout, 'scripts/demo/scenes');
  const scenes = readdirSync(folder).filter((name) => name.endsWith('.tif'));
  expect(scenes.sort()).toEqual(['L7_ETMs.tif', 'L7_nir.tif', 'L7_red.tif']);
  const readme = readFileSync(join(folder, 'README.md'), 'utf8');
  let sizeBytes = 0;
  for (const name of scenes) {
    const path = join(folder, name);
    const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(readme).toMatch(new RegExp(`\`${name}\`.*\`${digest}\``));
    sizeBytes += statSync(path).size;
  }
  expect(sizeBytes).toBeLessThan(3e6);
});

it('names no registry or mirror in a file of set-up', () => {
  const files = readdirSync(join(checkout, 'scripts'), { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile() && !file.name.endsWith('.pyc'))
    .map((file) => relative(checkout, join(file.parentPath, file.name)))
    .filter((name) => /setup|fresh/.test(name));
  expect(files.length).toBeGreaterThan(10);
  const hosts = /(deb|security|archive)\.debian\.org|pypi\.org|pythonhosted|registry\.npmjs/;
  for (const file of files) {
    expect({ file, host: hosts.exec(readFileSync(join(checkout, file), 'utf8'))?.[0] }).toEqual({
      file,
    });
  }
});
