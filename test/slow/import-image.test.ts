/** A registry's image from the command line and from a function, on a real mesh with real sandboxes. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { createScripts, type Scripts } from '../chaos/scripts.ts';
import type { Registry } from '../e2e/registry.ts';
import { password, pushImage, startRegistry, writeAuthFile } from '../e2e/registry.ts';
import { findPythons } from '../python/find-pythons.ts';
import { checkout } from '../setup/run-program.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

const isRoot = process.getuid?.() === 0;
let folder = '';
let registry: Registry;
let mesh: Mesh;
let scripts: Scripts;
let images = '';
let rootfs = '';
let authFile = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-import-'));
  chmodSync(folder, 0o755);
  registry = await startRegistry(join(folder, 'registry'));
  authFile = join(folder, 'auth.json');
  writeAuthFile(authFile, [registry.host], password);
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
  rootfs = found.find((image) => image.python.version.startsWith('2.7'))?.rootfs ?? '';
  pushImage(registry, { folder, from: rootfs, name: 'team/py:one' });
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

  it('that is named by a new function is pulled for it, while its log is shown', async () => {
    pushImage(registry, { folder, from: rootfs, name: 'team/fresh:one' });
    const ended = await scripts.run(`
from perigee import AsyncTasks
print(AsyncTasks().create_function(lambda: 6 * 7, name='f', image='${registry.host}/team/fresh:one')().result)
`);
    expect(ended).toMatchObject({ status: 0, stdout: '42\n' });
    expect(ended.stderr).toMatch(
      /bringing in .*team\/fresh:one\n[\s\S]*Copying blob[\s\S]*Found CPython 2\.7/,
    );
    pushImage(registry, { folder, from: '', name: 'team/other:one', withPython: false });
    const failed = await scripts.run(`
import perigee
try:
    perigee.AsyncTasks().create_function(lambda: 1, name='f', image='${registry.host}/team/other:one')
except perigee.BuildError as error:
    print(error.code, error.message)
`);
    expect(failed.stdout).toContain('no Python that runs on its PATH');
  });

  it('is waited for no longer than asked, and is brought in all the same', async () => {
    pushImage(registry, { folder, from: rootfs, name: 'team/slow:one', filler: 'slow' });
    await using door = await startDoor(registry);
    writeAuthFile(authFile, [registry.host, door.host], password);
    const make = (more: string): string => `
import perigee
try:
    f = perigee.AsyncTasks().create_function(lambda: 42, name='f', image='${door.host}/team/slow:one'${more})
    print(f().result)
except perigee.TimeoutError as error:
    print('TimeoutError: %s FIX: %s' % (error.message, error.fix))
`;
    const late = await scripts.run(make(', build_timeout=1'));
    expect(late.stdout).toMatch(/^TimeoutError: .*not ready yet.*FIX: .*build_timeout/);
    const script = join(folder, 'interrupted.py');
    writeFileSync(script, make(''));
    const client = spawn(findPythons()[0]?.program ?? '', [script], {
      env: { ...mesh.environment, PYTHONUNBUFFERED: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    client.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('bringing in') && !client.killed) client.kill('SIGINT');
    });
    const closed = once(client, 'close');
    await closed;
    expect(said).toMatch(/Interrupted\. The image .*team\/slow:one is being made all the same/);
    expect(said).toContain('scripts/perigee image show sha256:');
    door.open();
    const ended = await scripts.run(make(''));
    expect(ended).toMatchObject({ status: 0, stdout: '42\n' });
  });

  it('is brought in by an ordinary user too, whose own its files become', async () => {
    const home = mkdtempSync(join(tmpdir(), 'perigee-rootless-'));
    // Root plays an ordinary user; whoever else runs this is one.
    const uid = isRoot ? 61_234 : (process.getuid?.() ?? 0);
    writeAuthFile(join(home, 'auth.json'), [registry.host], password);
    if (isRoot) execFileSync('chown', ['-R', `${uid}:${uid}`, home]);
    const words = ['test/builds/pull-rootless.ts', `${registry.host}/team/py:one`];
    const said = execFileSync(
      process.execPath,
      [...words, join(home, 'images'), join(home, 'auth.json')],
      {
        cwd: checkout,
        env: { PATH: process.env['PATH'], HOME: home, XDG_RUNTIME_DIR: home },
        ...(isRoot ? { uid, gid: uid } : {}),
        encoding: 'utf8',
        stdio: 'pipe',
      },
    );
    const pulled = JSON.parse(said);
    expect(pulled).toMatchObject({ uid, python: { implementation: 'CPython' } });
    const rootless = join(home, 'images', pulled.digest.slice(7, 39), 'rootfs');
    expect(statSync(join(rootless, 'usr/bin/elevate'))).toMatchObject({ uid });
    expect(statSync(join(rootless, 'usr/bin/elevate')).mode & 0o7777).toBe(0o755);
    expect(lstatSync(join(rootless, 'tmp')).isDirectory()).toBe(true);
    expect(readdirSync(join(home, 'images'))).toEqual([pulled.digest.slice(7, 39)]);
    rmSync(home, { recursive: true });
  });

  it('gives its tasks what it sets, but for what a sandbox says itself', async () => {
    pushImage(registry, {
      ...{ folder, from: rootfs, name: 'team/env:one', filler: 'env' },
      config: [
        ...['--config.env', 'MODEL=/opt/model', '--config.env', 'LD_PRELOAD=/opt/evil.so'],
        ...['--config.env', 'HOME=/root', '--config.env', 'PYTHONPATH=/etc/modules'],
        ...['--config.workingdir', '/etc/app'],
      ],
    });
    const ended = await scripts.run(`
from perigee import AsyncTasks
def look():
    import os, sys
    names = ['GREETING', 'MODEL', 'LD_PRELOAD', 'HOME', 'PATH', 'PERIGEE_IMAGE_WORKDIR', 'OWN']
    at = [path for path in sys.path if path.startswith('/etc')]
    return [os.environ.get(name) for name in names] + [at, os.getcwd()]
f = AsyncTasks().create_function(look, name='look', image='${registry.host}/team/env:one',
                                 environment={'OWN': 'x', 'MODEL': 'mine'})
import json
print(json.dumps(f().result))
`);
    expect(ended.status, ended.stderr).toBe(0);
    const path = '/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin';
    const set = ['good day', 'mine', null, '/tmp', path, '/etc/app', 'x'];
    expect(JSON.parse(ended.stdout)).toEqual([...set, ['/etc/modules', '/etc/app'], '/tmp']);
  });
});

/** Of the file that describes an image. */
const configBytesMax = 10_000;

/** Stands before the registry, and keeps files of images back until it is opened. */
async function startDoor(
  behind: Registry,
): Promise<{ host: string; open(): void } & AsyncDisposable> {
  const opened = Promise.withResolvers<void>();
  const server = createServer((incoming, answer) => {
    const pass = async (): Promise<void> => {
      if (incoming.method === 'GET' && (incoming.url ?? '').includes('/blobs/')) {
        // A small one says what the image is; without it nothing would begin.
        const { headers } = await fetch(`http://${behind.host}${incoming.url}`, {
          method: 'HEAD',
          headers: { authorization: incoming.headers.authorization ?? '' },
        });
        if (Number(headers.get('content-length') ?? 0) > configBytesMax) await opened.promise;
      }
      const onward = request(
        `http://${behind.host}${incoming.url}`,
        { method: incoming.method ?? 'GET', headers: incoming.headers },
        (response) => {
          answer.writeHead(response.statusCode ?? 502, response.headers);
          response.pipe(answer);
        },
      );
      onward.on('error', () => answer.destroy());
      incoming.pipe(onward);
    };
    void pass();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    host: `127.0.0.1:${port}`,
    open: () => opened.resolve(),
    async [Symbol.asyncDispose]() {
      opened.resolve();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
