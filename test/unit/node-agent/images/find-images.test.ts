import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findImages } from '../../../../node-agent/images/find-images.ts';

let home = '';
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'perigee-images-test-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const document = {
  name: 'perigee/python:py3.11',
  names: ['perigee/python:py3.11', 'python'],
  digest: `sha256:${'a'.repeat(64)}`,
  python: { implementation: 'CPython', version: '3.11.2', path: '/usr/bin/python3' },
  arch: 'x64',
  packages: {},
  sizeBytes: 12,
};

async function addImage(folder: string, content: unknown, options = { rootfs: true }) {
  await mkdir(join(home, 'images', folder, options.rootfs ? 'rootfs' : ''), { recursive: true });
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  await writeFile(join(home, 'images', folder, 'image.json'), text);
}

async function find() {
  const skipped: string[] = [];
  const images = await findImages(home, {
    arch: 'x64',
    onSkipped: (folder, reason) => skipped.push(`${folder}: ${reason}`),
  });
  return { images, skipped };
}

describe('findImages', () => {
  it('reads a layer with its base’s interpreter, and passes over one whose base is not here', async () => {
    await addImage('a', document);
    const layer = { ...document, names: [], digest: `sha256:${'e'.repeat(64)}` };
    await addImage('b', { ...layer, base: document.digest });
    await mkdir(join(home, 'images/b/site'));
    await addImage('c', {
      ...layer,
      digest: `sha256:${'f'.repeat(64)}`,
      base: `sha256:${'9'.repeat(64)}`,
    });
    await mkdir(join(home, 'images/c/site'));
    const { images, skipped } = await find();
    expect(images.find(({ digest }) => digest === layer.digest)).toMatchObject({
      names: [],
      rootfs: join(home, 'images/a/rootfs'),
      sitePath: join(home, 'images/b/site'),
    });
    expect(images).toHaveLength(2);
    expect(JSON.stringify(skipped)).toContain(`its base sha256:${'9'.repeat(64)} is not here`);
  });

  it('reads an image with its names and places', async () => {
    await addImage('a', document);
    expect(await find()).toEqual({
      images: [
        {
          digest: document.digest,
          names: ['perigee/python:py3.11', 'python'],
          python: { implementation: 'CPython', version: '3.11.2' },
          arch: 'x64',
          sizeBytes: 12,
          rootfs: join(home, 'images/a/rootfs'),
          sitePath: null,
          pythonPath: '/usr/bin/python3',
        },
      ],
      skipped: [],
    });
  });

  it('finds none where set-up has not been', async () => {
    expect(await find()).toEqual({ images: [], skipped: [] });
  });

  it('passes over what is damaged, unfinished or for another processor, and says why', async () => {
    await addImage('arm', { ...document, arch: 'arm64' });
    await addImage('broken', '{');
    await addImage('digest', { ...document, digest: 'sha256:1' });
    await addImage('empty', document, { rootfs: false });
    await addImage('python', { ...document, python: null });
    await addImage('.building', document);
    const { images, skipped } = await find();
    expect(images).toEqual([]);
    expect(skipped.map((line) => line.split(':')[0])).toEqual([
      'arm',
      'broken',
      'digest',
      'empty',
      'python',
    ]);
    expect(skipped[0]).toBe('arm: it is for arm64, this machine is x64');
  });
});
