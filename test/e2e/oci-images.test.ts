/** Images out of a real registry, with everything that goes wrong there. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PulledImage } from '../../coordinator/images/oci/pull-image.ts';
import { pullImage, removeUnfinishedPulls } from '../../coordinator/images/oci/pull-image.ts';
import { findOciReference } from '../../coordinator/images/oci/reference.ts';
import type { RegistrySettings, ResolvedImage } from '../../coordinator/images/oci/registry.ts';
import { resolveImage } from '../../coordinator/images/oci/registry.ts';
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import type { Registry } from './registry.ts';
import { password, pushImage, startRegistry, writeAuthFile } from './registry.ts';

const isRoot = process.getuid?.() === 0;
let folder = '';
let registry: Registry;
let rootfs = '';
const signal = new AbortController().signal;
const settings = (): RegistrySettings => ({
  authFile: join(folder, 'auth.json'),
  insecure: [],
  allowed: [],
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-oci-'));
  registry = await startRegistry(join(folder, 'registry'));
  writeAuthFile(join(folder, 'auth.json'), [registry.host], password);
  const options = { arch: process.arch, onSkipped: () => undefined };
  const found = await findImages(perigeeHome(process.env), options);
  rootfs = found.find((image) => image.python.version.startsWith('2.7'))?.rootfs ?? '';
  pushImage(registry, { folder, from: rootfs, name: 'team/py:one' });
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function resolve(name: string, given = settings()): Promise<ResolvedImage> {
  const reference = findOciReference(`${registry.host}/${name}`);
  if (reference === undefined) throw new Error(`${name} is no reference`);
  return resolveImage(reference, given, { arch: 'x64', signal });
}

async function pull(
  image: ResolvedImage,
  options: { images?: string; onOutput?: (text: string) => void; signal?: AbortSignal } = {},
): Promise<PulledImage> {
  return await pullImage({
    image,
    folder: options.images ?? join(folder, 'images'),
    settings: settings(),
    isRoot,
    signal: options.signal ?? signal,
    onOutput: options.onOutput ?? (() => undefined),
  });
}

describe('an image of a registry', () => {
  it('is unpacked as everybody’s to read and nobody’s to write, with its Python found', async () => {
    const hostsBefore = readFileSync('/etc/hosts', 'utf8');
    const image = await resolve('team/py:one');
    let log = '';
    const pulled = await pull(image, {
      onOutput: (text) => {
        log += text;
      },
    });
    expect(pulled.python).toMatchObject({ implementation: 'CPython', path: '/usr/bin/python2.7' });
    expect(pulled.python.version).toMatch(/^2\.7\.\d+$/);
    expect(log).toMatch(/Pulling 127.*\nGetting image source signatures\nCopying blob/);
    const [found] = await findImages(folder, { arch: 'x64', onSkipped: () => undefined });
    expect(found).toMatchObject({ digest: image.digest, pythonPath: '/usr/bin/python2.7' });
    const at = (path: string) => join(found?.rootfs ?? '', path);
    expect(statSync(at('usr/bin/elevate')).mode & 0o7777).toBe(0o755);
    expect(statSync(at('etc/open')).mode & 0o7777).toBe(0o644);
    expect(lstatSync(at('tmp')).isDirectory()).toBe(true);
    expect(lstatSync(at('in')).isDirectory()).toBe(true);
    expect(lstatSync(at('etc/hosts')).isFile()).toBe(true);
    if (isRoot) expect(statSync(at('usr/bin/elevate')).uid).toBe(0);
    expect(readFileSync('/etc/hosts', 'utf8')).toBe(hostsBefore);
    expect(readdirSync(join(folder, 'images'))).toEqual([image.digest.slice(7, 39)]);
  });

  it('is one digest although its tag moves, by its digest the old one stays', async () => {
    pushImage(registry, { folder, from: '', name: 'team/moves:tag', withPython: false });
    const before = await resolve('team/moves:tag');
    rmSync(join(folder, 'layout-team-moves-tag'), { recursive: true });
    rmSync(join(folder, 'layout-team-moves-tag-rootfs'), { recursive: true });
    const other = { folder, from: '', name: 'team/moves:tag', withPython: false, filler: 'y' };
    pushImage(registry, other);
    const after = await resolve('team/moves:tag');
    expect(after.manifest).not.toBe(before.manifest);
    expect(after.digest).not.toBe(before.digest);
    const kept = await resolve(`team/moves@${before.manifest}`);
    expect(kept.digest).toBe(before.digest);
  });

  it('is refused for a wrong password, for none, and when it is not there', async () => {
    const wrong = join(folder, 'wrong.json');
    writeAuthFile(wrong, [registry.host], 'wrong');
    const none = join(folder, 'none.json');
    writeFileSync(none, '{}');
    for (const authFile of [wrong, none]) {
      await expect(resolve('team/py:one', { ...settings(), authFile })).rejects.toMatchObject({
        code: 'registry_denied',
      });
    }
    await expect(resolve('team/nothing:one')).rejects.toMatchObject({ code: 'image_unknown' });
    await expect(resolve('team/py:other')).rejects.toMatchObject({ code: 'image_unknown' });
    const allowed = ['registry.example'];
    await expect(resolve('team/py:one', { ...settings(), allowed })).rejects.toMatchObject({
      code: 'forbidden',
    });
    const nobody = findOciReference('127.0.0.1:1/team/py:one');
    if (nobody === undefined) throw new Error('no reference');
    await expect(resolveImage(nobody, settings(), { arch: 'x64', signal })).rejects.toMatchObject({
      code: 'registry_unreachable',
    });
  });

  it('is refused for another processor, by the names of both', async () => {
    const arm = { folder, from: '', name: 'team/arm:one', withPython: false };
    pushImage(registry, { ...arm, architecture: 'arm64' });
    await expect(resolve('team/arm:one')).rejects.toMatchObject({
      code: 'image_invalid',
      message: expect.stringMatching(/linux\/arm64.*linux\/amd64/),
    });
  });

  it('is refused without a Python, and leaves nothing', async () => {
    const images = join(folder, 'images-bare');
    const bare = pull(await resolve('team/moves:tag'), { images });
    await expect(bare).rejects.toMatchObject({ code: 'image_invalid' });
    expect(readdirSync(images)).toEqual([]);
  });

  it('is refused when a layer is cut, and leaves nothing', async () => {
    const image = await resolve('team/py:one');
    const copy = join(folder, 'damaged');
    cpSync(registry.folder, join(copy, 'saved'), { recursive: true });
    const blobs = execFileSync('find', [registry.folder, '-name', 'data', '-size', '+1M'])
      .toString()
      .trim()
      .split('\n');
    expect(blobs.length).toBeGreaterThan(0);
    for (const blob of blobs) truncateSync(blob, statSync(blob).size - 1_000);
    const images = join(folder, 'images-cut');
    await expect(pull(image, { images })).rejects.toMatchObject({ code: 'image_invalid' });
    expect(readdirSync(images)).toEqual([]);
    cpSync(join(copy, 'saved'), registry.folder, { recursive: true });
  });

  it.runIf(isRoot)('says so when the disk is full, and leaves nothing', async () => {
    const image = await resolve('team/py:one');
    const small = join(folder, 'small');
    for (const size of ['4m', '40m']) {
      mkdirSync(small, { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', small]);
      try {
        const images = join(small, 'images');
        await expect(pull(image, { images })).rejects.toMatchObject({ code: 'disk_full' });
        expect(readdirSync(images)).toEqual([]);
      } finally {
        execFileSync('umount', [small]);
      }
    }
  });

  it('leaves nothing when it is given up, or when the coordinator died meanwhile', async () => {
    const image = await resolve('team/py:one');
    const images = join(folder, 'images-ended');
    const stop = new AbortController();
    const pulling = pull(image, {
      images,
      signal: stop.signal,
      onOutput: (text) => {
        if (text.includes('Unpacking')) stop.abort();
      },
    });
    await expect(pulling).rejects.toMatchObject({ name: 'AbortError' });
    expect(readdirSync(images)).toEqual([]);
    // Of a process that is gone: no pid is as large.
    mkdirSync(join(images, '.importing-0123-99999999', 'bundle'), { recursive: true });
    await removeUnfinishedPulls(images);
    expect(readdirSync(images)).toEqual([]);
    expect(existsSync(images)).toBe(true);
  });
});

describe('a name', () => {
  it.each([
    ['perigee/geospatial:py2.7', undefined],
    ['ubuntu', undefined],
    ['us.gcr.io/dl-ci-cd/images/tasks/public/geospatial/geospatial-public:latest', undefined],
    ['registry.example/../x', undefined],
    ['registry.example/a b', undefined],
    ['-registry.example/a;rm', undefined],
    ['registry.example/a', { repository: 'registry.example/a', tag: 'latest', digest: null }],
    ['localhost:5000/a/b:c', { registry: 'localhost:5000', tag: 'c' }],
  ])('%s is a registry’s or not', (name, expected) => {
    if (expected === undefined) expect(findOciReference(name)).toBeUndefined();
    else expect(findOciReference(name)).toMatchObject(expected);
  });
});
