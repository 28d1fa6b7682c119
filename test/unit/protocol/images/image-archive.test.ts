/** Packing and unpacking of images, with the real child process and real files. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packArchive, unpackArchive } from '../../../../protocol/images/image-archive.ts';
import { packImage } from '../../../../protocol/images/pack-image.ts';
import { unpackImage } from '../../../../protocol/images/unpack-image.ts';

let folder = '';
const signal = new AbortController().signal;
const at = (...names: string[]): string => join(folder, ...names);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-archive-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function makeImage(name: string): string {
  const image = at(name);
  mkdirSync(join(image, 'rootfs/usr/bin'), { recursive: true });
  mkdirSync(join(image, 'rootfs/tmp'));
  mkdirSync(join(image, '.own'));
  writeFileSync(join(image, '.own/secret'), 'of this machine');
  writeFileSync(join(image, 'image.json'), '{}');
  writeFileSync(join(image, 'rootfs/usr/bin/python'), 'p'.repeat(700_000));
  writeFileSync(join(image, 'rootfs/empty'), '');
  writeFileSync(join(image, 'rootfs/tanúsítvány.crt'), 'ő');
  writeFileSync(join(image, 'rootfs', `${'long'.repeat(40)}.txt`), 'l');
  linkSync(join(image, 'rootfs/usr/bin/python'), join(image, 'rootfs/usr/bin/python2'));
  symlinkSync('usr/bin', join(image, 'rootfs/bin'));
  symlinkSync('/etc/shadow', join(image, 'rootfs/absolute'));
  chmodSync(join(image, 'rootfs/usr/bin/python'), 0o4755);
  chmodSync(join(image, 'rootfs/tmp'), 0o1777);
  utimesSync(join(image, 'rootfs/usr/bin/python'), 1_500_000_000.7, 1_500_000_000.7);
  utimesSync(join(image, 'rootfs/empty'), 1_400_000_000, 1_400_000_000);
  return image;
}

async function hashOf(image: string): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of packImage(image)) digest.update(chunk);
  return digest.digest('hex');
}

describe('an image on its way', () => {
  it('arrives with its links, modes and times, less set-uid bits and what is this machine’s own', async () => {
    const image = makeImage('one');
    const archive = at('one.tar.zst');
    const packed = await packArchive({ folder: image, archive }, signal);
    expect(packed.archiveBytes).toBe(statSync(archive).size);
    expect(packed.archiveHash).toBe(
      createHash('sha256').update(readFileSync(archive)).digest('hex'),
    );
    await unpackArchive({ archive, folder: at('two'), ...packed }, signal);
    const two = at('two', 'rootfs');
    const python = statSync(join(two, 'usr/bin/python'));
    expect(python.mode & 0o7777).toBe(0o755);
    expect(python.ino).toBe(statSync(join(two, 'usr/bin/python2')).ino);
    expect(python.mtimeMs).toBe(1_500_000_000_000);
    expect(statSync(join(two, 'tmp')).mode & 0o7777).toBe(0o1777);
    expect(readlinkSync(join(two, 'bin'))).toBe('usr/bin');
    expect(readlinkSync(join(two, 'absolute'))).toBe('/etc/shadow');
    expect(readFileSync(join(two, 'tanúsítvány.crt'), 'utf8')).toBe('ő');
    expect(readFileSync(join(two, `${'long'.repeat(40)}.txt`), 'utf8')).toBe('l');
    expect(lstatSync(join(two, 'empty')).size).toBe(0);
    expect(existsSync(at('two', '.own'))).toBe(false);
  });

  it('has the same bytes when it is packed again, here or where it arrived', async () => {
    const image = makeImage('one');
    const first = await packArchive({ folder: image, archive: at('a') }, signal);
    const second = await packArchive({ folder: image, archive: at('b') }, signal);
    expect(second).toEqual(first);
    await unpackArchive({ archive: at('a'), folder: at('two'), ...first }, signal);
    expect(await hashOf(at('two'))).toBe(first.contentHash);
  });

  it('is refused before anything is written when a byte is wrong or missing', async () => {
    const archive = at('a');
    const packed = await packArchive({ folder: makeImage('one'), archive }, signal);
    const wrong = { archive, folder: at('two'), ...packed, contentHash: '0'.repeat(64) };
    await expect(unpackArchive(wrong, signal)).rejects.toMatchObject({ code: 'image_invalid' });
    const small = { archive, folder: at('two'), ...packed, contentBytes: 1_000 };
    await expect(unpackArchive(small, signal)).rejects.toMatchObject({ code: 'image_invalid' });
    truncateSync(archive, Math.floor(packed.archiveBytes / 2));
    const cut = { archive, folder: at('two'), ...packed };
    await expect(unpackArchive(cut, signal)).rejects.toMatchObject({ code: 'image_invalid' });
    expect(existsSync(at('two'))).toBe(false);
  });

  it.each([
    ['a path that leads outside', { name: '../evil' }],
    ['an absolute path', { name: '/evil' }],
    ['a path through a link', { name: 'link/evil' }],
    ['a device', { name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }],
    ['a link to what is not in it', { name: 'hard', type: 'link', linkname: '../../etc/passwd' }],
  ] as const)('cannot bring %s', async (_, header) => {
    const tar = pack();
    tar.entry({ name: 'link', type: 'symlink', linkname: folder });
    if ('type' in header) tar.entry({ ...header });
    else tar.entry({ ...header }, 'x');
    tar.finalize();
    mkdirSync(at('into'));
    await expect(unpackImage(tar as AsyncIterable<Uint8Array>, at('into'))).rejects.toMatchObject({
      code: 'image_invalid',
    });
    expect(existsSync(at('evil'))).toBe(false);
  });

  it('ends its packer when the caller gives up', async () => {
    const stop = new AbortController();
    const packing = packArchive({ folder: makeImage('one'), archive: at('a') }, stop.signal);
    stop.abort();
    await expect(packing).rejects.toMatchObject({ name: 'AbortError' });
    expect(existsSync(at('a'))).toBe(false);
  });
});
