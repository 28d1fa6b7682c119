/** Builds of requirements by the image's own pip, against a private index, and all that goes wrong. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBuildLogs } from '../../coordinator/images/build-log.ts';
import { runBuild } from '../../coordinator/images/builder/run-build.ts';
import { createBuilds } from '../../coordinator/images/builds.ts';
import { openCatalogue } from '../../coordinator/images/catalogue.ts';
import { createMemoryImages } from '../../coordinator/store/memory-images.ts';
import { perigeeHome } from '../../node-agent/images/find-images.ts';
import type { ImageDigest, NamespaceName } from '../../protocol/wire/ids.ts';
import type { PackageIndex } from '../builds/package-index.ts';
import {
  indexPassword,
  indexUser,
  makeDistributions,
  startPackageIndex,
} from '../builds/package-index.ts';
import { startMesh } from '../chaos/mesh.ts';

const isRoot = process.getuid?.() === 0;
const setupImages = join(perigeeHome(process.env), 'images');
const bounds = {
  buildMsMax: 240_000,
  buildBytesMax: 1024 ** 3,
  diskFreeBytesMin: 0,
  buildHosts: [] as string[],
};
let scratch: string;
let index: PackageIndex;
let base: { digest: ImageDigest; version: string };
let builds = 0;

/** Tells whether it got anywhere; nothing but the index may answer. */
const knocking = (places: readonly string[]): string => `
import os, socket, urllib2
reached = []
for place in ${JSON.stringify(places)}:
    host, port = place.split(':')
    try:
        socket.create_connection((host, int(port)), 2).close()
        reached.append('straight to ' + place)
    except Exception as error:
        print('straight: %s' % error)
    try:
        opener = urllib2.build_opener(urllib2.ProxyHandler({'http': os.environ['PIP_PROXY']}))
        opener.open('http://%s/' % place, timeout=5)
        reached.append('by the proxy to ' + place)
    except Exception as error:
        print('proxy: %s' % error)
assert not reached, reached
raise SystemExit('error: nobody answers at ' + ' '.join(${JSON.stringify(places)}))
`;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'perigee-builds-'));
  chmodSync(scratch, 0o755);
  makeDistributions(join(scratch, 'packages'), [
    { name: 'plain' },
    { name: 'plain', version: '2.0' },
    { name: 'quiet', tag: null },
    { name: 'wants_old', requires: ['plain<2'] },
    { name: 'wants_new', requires: ['plain>=2'] },
    { name: 'newer', tag: 'cp36-cp36m-manylinux1_x86_64' },
    { name: 'other', tag: 'cp27-cp27mu-linux_sparc64' },
    { name: 'noisy', noiseBytes: 24 * 1024 * 1024 },
  ]);
  index = await startPackageIndex(join(scratch, 'packages'));
  for (const name of readdirSync(setupImages)) {
    const file = join(setupImages, name, 'image.json');
    if (!existsSync(file)) continue;
    const { digest, python, base: below } = JSON.parse(readFileSync(file, 'utf8'));
    if (below === undefined && python.version.startsWith('2.7')) {
      if (existsSync(join(setupImages, name, 'client-packages/pip'))) {
        base = { digest, version: python.version };
      }
    }
  }
});
afterAll(async () => {
  await index?.[Symbol.asyncDispose]();
  rmSync(scratch, { recursive: true, force: true });
});

function environment(password = indexPassword): Record<string, string> {
  const file = join(scratch, `pip-${password}.conf`);
  const url = index.url.replace('//', `//${indexUser}:${password}@`);
  writeFileSync(file, `[global]\nindex-url = ${url}\n[install]\ntrusted-host = 127.0.0.1\n`);
  return { PIP_CONFIG_FILE: file, HOME: scratch, XDG_CONFIG_DIRS: scratch, PIP_RETRIES: '0' };
}

/** A home with the base in it. */
function makeImages(at = mkdtempSync(join(scratch, 'images-'))): string {
  chmodSync(at, 0o755);
  const name = base.digest.slice(7, 39);
  symlinkSync(join(setupImages, name), join(at, name));
  return at;
}

async function build(
  requirements: string[],
  options: Partial<typeof bounds> & { folder?: string; env?: Record<string, string> } = {},
) {
  const { folder = makeImages(), env = environment(), ...own } = options;
  builds += 1;
  const digest = `sha256:${String(builds).padStart(64, '0')}` as ImageDigest;
  let log = '';
  const ended = await runBuild(
    { folder, env, nowMs: Date.now },
    { ...bounds, ...own },
    {
      order: { digest, base: base.digest, requirements },
      onOutput: (bytes) => {
        log += bytes.toString('utf8');
      },
      signal: new AbortController().signal,
    },
  ).then(
    (layer) => ({ layer, error: undefined }),
    (error: unknown) => ({
      layer: undefined,
      error: error as Error & { code: string; fix: string },
    }),
  );
  // Whatever came of it, nothing half-made is left.
  expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
  return { ...ended, log, path: join(folder, digest.slice(7, 39)) };
}

describe('a build', () => {
  it('takes wheels and source distributions of a private index, by the machine’s pip settings', async () => {
    const { layer, error, log, path } = await build(['plain==1.0', 'quiet']);
    expect(error, log).toBeUndefined();
    expect(layer?.packages).toEqual({ plain: '1.0', quiet: '1.0' });
    expect(readdirSync(join(path, 'site'))).toEqual(
      expect.arrayContaining(['plain.py', 'quiet.py']),
    );
    expect(log).toContain('Successfully installed');
    // The password of the settings is nobody's to read in a log.
    expect(log).not.toContain(indexPassword);
    const wrong = await build(['plain'], { env: environment('wrong') });
    expect(wrong.error).toMatchObject({ code: 'build_failed' });
    expect(wrong.log).not.toContain(indexPassword);
  });

  it('reaches nothing but the index, whatever a setup.py tries', async () => {
    await using other = await startListener();
    makeDistributions(join(scratch, 'packages'), [
      { name: 'loud', tag: null, setup: knocking([other.place, '192.0.2.1:80']) },
    ]);
    const { error, log } = await build(['loud']);
    expect(error?.code, log).toBe('build_failed');
    expect(error?.message).not.toContain('reached');
    expect(log).toContain('nobody answers at');
    expect(error?.fix).toContain(other.place);
    expect(error?.fix).toContain('PERIGEE_BUILD_HOSTS');
    expect(other.connections()).toBe(0);
  });

  it('fails with pip’s own words', async () => {
    const conflict = await build(['wants_old', 'wants_new']);
    expect(conflict.error?.message).toMatch(/conflict|ResolutionImpossible/i);
    expect(conflict.error?.fix).toContain('exclude each other');
    const missing = await build(['nowhere==3']);
    expect(missing.error?.message).toMatch(/No matching distribution found for nowhere==3/);
    // Wheels of another Python and of another processor are none for pip.
    for (const name of ['newer', 'other']) {
      const misfit = await build([name]);
      expect(misfit.error?.message).toContain(`No matching distribution found for ${name}`);
      expect(misfit.error?.fix).toContain('Python and processor');
    }
  });

  it('is ended by its bounds of time and of bytes, with what an operator may change', async () => {
    const tooLarge = await build(['noisy'], { buildBytesMax: 8 * 1024 * 1024 });
    expect(tooLarge.error).toMatchObject({ code: 'build_failed' });
    expect(tooLarge.error?.fix).toContain('PERIGEE_BUILD_BYTES_MAX');
    const release = index.hold();
    try {
      const tooSlow = await build(['plain==2.0'], { buildMsMax: 8_000 });
      expect(tooSlow.error?.message).toContain('longer than 8 s');
      expect(tooSlow.error?.fix).toContain('PERIGEE_BUILD_MS_MAX');
    } finally {
      release();
    }
  });

  it.runIf(isRoot)('says so when the disk is full, and leaves it as it was', async () => {
    const disk = join(scratch, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=755', 'tmpfs', disk]);
    try {
      const folder = makeImages(join(disk));
      const full = await build(['noisy'], { folder });
      expect(['build_failed', 'disk_full']).toContain(full.error?.code);
      expect(`${full.error?.message} ${full.error?.fix}`).toMatch(/space/i);
      expect(readdirSync(folder)).toEqual([base.digest.slice(7, 39)]);
      const early = await build(['noisy'], { folder, diskFreeBytesMin: 1024 ** 4 });
      expect(early.error).toMatchObject({ code: 'disk_full' });
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});

describe('builds', () => {
  it('of one set are one build, whoever asks and in whatever order it is written', async () => {
    const store = createMemoryImages({ images: new Map(), imageLogs: new Map() });
    const catalogue = await openCatalogue(store);
    const done = Promise.withResolvers<void>();
    const made = createBuilds(
      {
        ...{ folder: makeImages(), env: environment(), nowMs: Date.now, catalogue },
        logs: createBuildLogs(store),
        log: { warn: () => undefined },
        onBuilt: () => done.resolve(),
      },
      { ...bounds, buildsMax: 2, buildsWaitingMax: 10 },
    );
    const asked = index.requests.length;
    const image = { digest: base.digest, name: 'base', python: pythonOf(), arch: process.arch };
    const [first, second] = await Promise.all(
      ['one', 'two'].map((namespace) =>
        made.request({
          namespace: namespace as NamespaceName,
          ...{ name: null, base: image, requirements: ['plain==1.0', 'quiet'] },
        }),
      ),
    );
    expect([first?.created, second?.created]).toEqual([true, false]);
    expect(second?.image.digest).toBe(first?.image.digest);
    await done.promise;
    await made.stop();
    const files = index.requests.slice(asked).filter((path) => path.startsWith('/files/'));
    expect(files.filter((path) => path.includes('plain')).length).toBeLessThanOrEqual(2);
    expect(catalogue.list()).toHaveLength(1);
    expect(catalogue.list()[0]?.names.map(({ namespace }) => namespace)).toEqual(['one', 'two']);
  });

  it('that a kill of the coordinator cut short begin anew, and nothing half-made is seen', async () => {
    const home = join(scratch, 'home');
    mkdirSync(home, { mode: 0o755 });
    const images = join(home, 'images');
    mkdirSync(images, { mode: 0o755 });
    makeImages(images);
    const release = index.hold();
    const first = await startMesh({ ...environment(), PERIGEE_HOME: home }, { nodes: 0 });
    let mesh = first;
    const call = async (method: string, path: string, body?: object) => {
      const answer = await fetch(`${mesh.url}${path}`, {
        method,
        headers: { authorization: `Bearer ${mesh.token}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return (await answer.json()) as { digest: string; state: string; failure: unknown };
    };
    try {
      const asked = index.requests.length;
      const { digest } = await call('POST', '/v1/images', {
        requirements: ['plain==2.0'],
        python: '2.7',
      });
      while (!index.requests.slice(asked).some((path) => path.startsWith('/files/'))) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      await first.killAll();
      const name = digest.slice(7, 39);
      expect(existsSync(join(images, name))).toBe(false);
      expect(readdirSync(images).some((entry) => entry.startsWith('.layer-'))).toBe(true);
      release();
      mesh = await first.restart();
      for (;;) {
        const view = await call('GET', `/v1/images/${digest}`);
        if (view.state === 'ready') break;
        expect(view).toMatchObject({ state: 'building', failure: null });
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect(readdirSync(images).filter((entry) => entry.startsWith('.layer-'))).toEqual([]);
      expect(readdirSync(join(images, name, 'site'))).toContain('plain.py');
    } finally {
      release();
      await mesh.close();
    }
  });
});

function pythonOf(): { implementation: string; version: string } {
  return { implementation: 'CPython', version: base.version };
}

async function startListener(): Promise<
  { place: string; connections(): number } & AsyncDisposable
> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    place: `127.0.0.1:${port}`,
    connections: () => count,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}
