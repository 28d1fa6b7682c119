import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isImageThere, putFolderInPlace } from '../../../../protocol/images/put-in-place.ts';

let folder = '';
const { signal } = new AbortController();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-place-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function makeImage(name: string, description: string): string {
  const image = join(folder, name);
  mkdirSync(join(image, 'rootfs'), { recursive: true });
  writeFileSync(join(image, 'image.json'), description);
  return image;
}
const describedAs = (image: string): string => readFileSync(join(image, 'image.json'), 'utf8');

describe('a finished image', () => {
  it('takes a free name', async () => {
    const ready = makeImage('ready', '{"new": true}');
    const final = join(folder, 'final');
    expect(await isImageThere(final)).toBe(false);
    await putFolderInPlace(ready, final, signal);
    expect(await isImageThere(final)).toBe(true);
    expect(readdirSync(folder)).toEqual(['final']);
  });

  it('takes the place of what a power cut left, with content and without', async () => {
    for (const left of ['', '\0\0\0\0']) {
      const final = makeImage('final', left);
      expect(await isImageThere(final)).toBe(false);
      await putFolderInPlace(makeImage('ready', '{"new": true}'), final, signal);
      expect(describedAs(final)).toBe('{"new": true}');
      expect(readdirSync(folder)).toEqual(['final']);
      rmSync(final, { recursive: true });
    }
  });

  it('leaves a sound one in its place, and all as it was when the disk cannot be synced', async () => {
    const ready = makeImage('ready', '{"new": true}');
    const final = makeImage('final', '{"old": true}');
    await putFolderInPlace(ready, final, signal);
    expect(describedAs(final)).toBe('{"old": true}');
    await expect(
      putFolderInPlace(join(folder, 'none'), join(folder, 'free'), signal),
    ).rejects.toMatchObject({ code: 'data_unwritable' });
    expect(existsSync(join(folder, 'free'))).toBe(false);
  });
});
