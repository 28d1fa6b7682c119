/** A registry's image from the command line and from a function, on a real mesh with real sandboxes. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { createScripts, type Scripts } from '../chaos/scripts.ts';
import type { Registry } from '../e2e/registry.ts';
import { password, pushImage, startRegistry, writeAuthFile } from '../e2e/registry.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

let folder = '';
let registry: Registry;
let mesh: Mesh;
let scripts: Scripts;
let images = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-import-'));
  chmodSync(folder, 0o755);
  registry = await startRegistry(join(folder, 'registry'));
  const authFile = join(folder, 'auth.json');
  writeAuthFile(authFile, registry, password);
  // A home of the test's own, with the images of set-up in it.
  const home = join(folder, 'home');
  images = join(home, 'images');
  mkdirSync(images, { recursive: true });
  const setup = join(perigeeHome(process.env), 'images');
  for (const name of readdirSync(setup)) {
    if (/^[0-9a-f]{32}$/.test(name)) symlinkSync(join(setup, name), join(images, name));
  }
  const options = { arch: process.arch, onSkipped: () => undefined };
  const found = await findImages(home, options);
  const from = found.find((image) => image.python.version.startsWith('2.7'))?.rootfs ?? '';
  pushImage(registry, { folder, from, name: 'team/py:one' });
  pushImage(registry, { folder, from: '', name: 'team/bare:one', withPython: false });
  mesh = await startMesh({
    PERIGEE_HOME: home,
    PERIGEE_REGISTRY_AUTH_FILE: authFile,
    NO_COLOR: '1',
  });
  scripts = createScripts(mesh.environment);
});
afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const perigee = (...words: string[]) => runInProcess(words, mesh.environment);

describe('an image of a registry', () => {
  it('is pulled by a command that shows how it goes, and then runs functions', async () => {
    const reference = `${registry.host}/team/py:one`;
    const imported = await perigee('image', 'import', reference);
    expect(imported).toMatchObject({ exitCode: 0 });
    expect(imported.stdout).toMatch(/team\/py:one: CPython 2\.7\.\d+, /);
    expect(imported.stderr).toMatch(/Copying blob[\s\S]*Unpacking[\s\S]*Found CPython 2\.7/);
    const ended = await scripts.run(`
from perigee import AsyncTasks
def look():
    import os, sys
    return sys.version_info[:2], os.path.exists('/usr/bin/elevate'), os.listdir('/etc')
task = AsyncTasks().create_function(look, name='look', image='${reference}')()
print(task.result)
`);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(ended.stdout).toContain('((2, 7), True, [');
    const again = await perigee('image', 'import', reference, '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ state: 'ready', kind: 'oci' });
  });

  it('that cannot run is refused with the reason, by the command and by the log', async () => {
    const failed = await perigee('image', 'import', `${registry.host}/team/bare:one`);
    expect(failed.exitCode).not.toBe(0);
    expect(failed.stderr).toContain('no Python that runs on its PATH');
    const missing = await perigee('image', 'import', `${registry.host}/team/none:one`);
    expect(missing.stderr).toContain(`has no image ${registry.host}/team/none:one`);
    const name = await perigee('image', 'import', 'python:3.11');
    expect(name.stderr).toContain('docker.io/library/python:3.11-slim');
    expect(readdirSync(images).filter((entry) => entry.startsWith('.'))).toEqual([]);
  });

  it('that is named by a new function is pulled for it', async () => {
    const reference = `${registry.host}/team/other:one`;
    pushImage(registry, { folder, from: '', name: 'team/other:one', withPython: false });
    const ended = await scripts.run(`
from perigee import AsyncTasks
from perigee.errors import PerigeeError
try:
    AsyncTasks().create_function(lambda: 1, name='f', image='${reference}')
except PerigeeError as error:
    print(error.code)
`);
    expect(ended.stdout.trim()).toMatch(/^(image_building|build_failed)$/);
  });
});
