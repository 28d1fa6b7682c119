/** Which images go from a real folder to make room, and which never do. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createImageEviction, requireRoom } from '../../../../node-agent/images/image-eviction.ts';
import { fetchedMark } from '../../../../node-agent/images/image-fetcher.ts';
import type { ImageUses } from '../../../../node-agent/images/image-uses.ts';
import { createImageUses } from '../../../../node-agent/images/image-uses.ts';
import { createArchiveStore } from '../../../../protocol/images/archive-store.ts';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';

const digestOf = (name: string): ImageDigest => `sha256:${name.repeat(32)}` as ImageDigest;
const shortOf = (name: string): string => name.repeat(16);

let folder = '';
let uses: ImageUses;
const nothing = new Set<ImageDigest>();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-eviction-'));
  uses = createImageUses(folder);
});
afterEach(() => {
  uses.close();
  rmSync(folder, { recursive: true, force: true });
});

/** An image of 100 bytes that was used so many seconds after another; null for one of set-up. */
function makeImage(name: string, usedAt: number | null, base?: string): void {
  const image = join(folder, shortOf(name));
  mkdirSync(join(image, 'rootfs'), { recursive: true });
  const fields = {
    digest: digestOf(name),
    ...(base === undefined ? {} : { base: digestOf(base) }),
  };
  writeFileSync(join(image, 'image.json'), JSON.stringify(fields));
  if (usedAt === null) return;
  writeFileSync(join(image, fetchedMark), JSON.stringify({ contentBytes: 100 }));
  utimesSync(join(image, fetchedMark), 1e9 + usedAt, 1e9 + usedAt);
}

function eviction(options: { bytesMax?: number; freeBytes?: number; wanted?: string[] } = {}) {
  const { bytesMax = 1e9, freeBytes = 1e9, wanted = [] } = options;
  const archives = createArchiveStore({ folder, bytesMax: 1e9 });
  return createImageEviction(
    {
      uses,
      archives,
      isWanted: (digest) => wanted.some((name) => digest === digestOf(name)),
      // Each image that went has freed its bytes.
      readFreeBytes: async () => freeBytes + 100 * (3 - left().length),
      log: { info: () => undefined, warn: () => undefined },
    },
    { folder, bytesMax, freeBytesMin: 50, signal: new AbortController().signal },
  );
}

const left = (): string[] =>
  readdirSync(folder)
    .filter((name) => !name.startsWith('.'))
    .map((name) => name.slice(0, 2));

describe('room for images', () => {
  beforeEach(() => {
    makeImage('0a', 1);
    makeImage('0b', 3);
    makeImage('0c', 2);
  });

  it('is made of those unused for longest, and of no more than it takes', async () => {
    expect(await eviction({ bytesMax: 300 }).makeRoom({ bytes: 0, keep: nothing })).toEqual([]);
    const gone = await eviction({ bytesMax: 300 }).makeRoom({ bytes: 150, keep: nothing });
    expect(gone).toEqual([digestOf('0a'), digestOf('0c')]);
    expect(left()).toEqual(['0b']);
  });

  it('is made until the disk has enough, too', async () => {
    const gone = await eviction({ freeBytes: 100 }).makeRoom({ bytes: 100, keep: nothing });
    expect(gone).toEqual([digestOf('0a')]);
  });

  it('is never made of what is in use, waited for, kept, or of set-up', async () => {
    makeImage('0d', null);
    const other = createImageUses(folder);
    other.begin([shortOf('0a')]);
    other.begin([shortOf('0a')]);
    other.end([shortOf('0a')]);
    const keep = new Set([digestOf('0b')]);
    const small = eviction({ bytesMax: 0, wanted: ['0c'] });
    expect(await small.makeRoom({ bytes: 0, keep })).toEqual([]);
    other.end([shortOf('0a')]);
    expect(await small.makeRoom({ bytes: 0, keep })).toEqual([digestOf('0a')]);
    expect(left()).toEqual(['0b', '0c', '0d']);
  });

  it('is made of a base only when nothing lies on it any more', async () => {
    makeImage('0d', 9, '0a');
    const gone = await eviction({ bytesMax: 0 }).makeRoom({ bytes: 0, keep: nothing });
    expect(gone).toEqual(['0c', '0b', '0d', '0a'].map(digestOf));
  });

  it('is made of what an agent used that was killed', async () => {
    mkdirSync(join(folder, '.uses'));
    const mark = createOtherMark();
    writeFileSync(join(folder, '.uses', `${shortOf('0a')}.${mark}`), '');
    const gone = await eviction({ bytesMax: 200 }).makeRoom({ bytes: 0, keep: nothing });
    expect(gone).toEqual([digestOf('0a')]);
    expect(readdirSync(join(folder, '.uses'))).toEqual([]);
  });

  it('stays what a crash half removed until the next start, which removes it', async () => {
    mkdirSync(join(folder, `.removing-${shortOf('0f')}`, 'rootfs'), { recursive: true });
    await eviction().recover();
    expect(existsSync(join(folder, `.removing-${shortOf('0f')}`))).toBe(false);
    expect(left()).toHaveLength(3);
  });
});

/** The mark of an agent of this machine that is no more: this pid, but started at another time. */
function createOtherMark(): string {
  const own = createImageUses(folder);
  own.begin(['x']);
  const [file = ''] = readdirSync(join(folder, '.uses'));
  own.end(['x']);
  return file.slice(2).replace(/-\d+-(\d+)$/, '-1-$1');
}

it('says how much is missing when nothing more can go', () => {
  expect(() => requireRoom({ freeBytes: 10, bytes: 10 })).not.toThrow();
  expect(() => requireRoom({ freeBytes: 1e6, bytes: 3e6 })).toThrow('needs 3 MB of disk');
});
