/** Images over real libp2p streams between real folders, with holders that cut, lie or are away. */
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FetcherDeps, ImageHolder } from '../../../../node-agent/images/image-fetcher.ts';
import { createImageFetcher } from '../../../../node-agent/images/image-fetcher.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { ArchiveStore } from '../../../../protocol/images/archive-store.ts';
import { createArchiveStore } from '../../../../protocol/images/archive-store.ts';
import type { ImageSource } from '../../../../protocol/images/image-transfer.ts';
import { serveImage } from '../../../../protocol/images/image-transfer.ts';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';
import type { HostPair } from '../../protocol/net/hosts.ts';
import { createHostPair } from '../../protocol/net/hosts.ts';

const digest = `sha256:${'7a'.repeat(32)}` as ImageDigest;
const short = digest.slice(7, 39);
let folder = '';
let pair: HostPair;
let origin: ArchiveStore;
let opened: Promise<unknown> = Promise.resolve();
/** What was read of each holder: its name and the offset. */
let reads: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-fetch-'));
  pair = await createHostPair();
  reads = [];
  const image = join(folder, 'origin', short);
  mkdirSync(join(image, 'rootfs/bin'), { recursive: true });
  writeFileSync(join(image, 'image.json'), '{}');
  writeFileSync(join(image, 'rootfs/bin/python'), randomBytes(3_000_000));
  origin = createArchiveStore({ folder: join(folder, 'origin'), bytesMax: 1e9 });
});
afterEach(async () => {
  await pair[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const holder = (name: string, source: ImageSource, isTrusted = true): ImageHolder => ({
  name,
  isTrusted,
  async open() {
    // The pair tells its streams apart by their order alone.
    const opening = opened.then(() => pair.openStream());
    opened = opening;
    const { near, far } = await opening;
    void serveImage(far, {
      describe: source.describe,
      archive: source.archive,
      read(asked, archive, offset) {
        reads.push(`${name} ${offset}`);
        return source.read(asked, archive, offset);
      },
    });
    return near;
  },
});
const away: ImageHolder = {
  name: 'away',
  isTrusted: true,
  open: () => Promise.reject(new PerigeeError('unreachable')),
};

function fetcher(
  nodes: ImageHolder[],
  coordinator = holder('coordinator', origin),
  name = 'here',
  makeRoom: FetcherDeps['makeRoom'] = async () => undefined,
) {
  const images = join(folder, name);
  const archives = createArchiveStore({ folder: images, bytesMax: 1e9 });
  const log = { info: () => undefined, warn: () => undefined };
  const deps = { coordinator, locate: async () => nodes, archives, makeRoom, log };
  return { images, archives, ...createImageFetcher(deps, { folder: images }) };
}

const python = (images: string): Buffer => readFileSync(join(images, short, 'rootfs/bin/python'));
const original = (): Buffer => python(join(folder, 'origin'));

/** Ends the stream after so many bytes. */
const cutting = (bytesMax: number): ImageSource => ({
  describe: origin.describe,
  archive: origin.archive,
  async *read(asked, archive, offset) {
    let left = bytesMax;
    for await (const chunk of origin.read(asked, archive, offset)) {
      if (chunk.length > left) throw new Error('cut');
      left -= chunk.length;
      yield chunk;
    }
  },
});
const lying: ImageSource = {
  describe: (asked) => origin.describe(asked),
  archive: (asked) => origin.archive(asked),
  async *read(asked, archive, offset) {
    for await (const chunk of origin.read(asked, archive, offset)) {
      yield new Uint8Array(chunk.length);
    }
  },
};

/** Another image that goes by the same digest. */
function createOther(name: string): ArchiveStore {
  const image = join(folder, name, short);
  mkdirSync(join(image, 'rootfs/bin'), { recursive: true });
  writeFileSync(join(image, 'image.json'), '{}');
  writeFileSync(join(image, 'rootfs/bin/python'), randomBytes(3_000_000));
  return createArchiveStore({ folder: join(folder, name), bytesMax: 1e9 });
}

describe('an image that a node lacks', () => {
  it('comes from a node that has it, and the coordinator only says what it is', async () => {
    const here = fetcher([holder('peer', origin)]);
    await Promise.all([here.fetch(digest), here.fetch(digest)]);
    expect(python(here.images).equals(original())).toBe(true);
    expect(reads).toEqual(['peer 0']);
    expect(readdirSync(here.images).sort()).toEqual(['.archives', `.lock-${short}`, short]);
    // It serves what it got without packing it, and the next one takes it from there.
    const next = fetcher([holder('here', here.archives)], undefined, 'next');
    await next.fetch(digest);
    expect(python(next.images).equals(original())).toBe(true);
    expect(reads).toEqual(['peer 0', 'here 0']);
  });

  it('goes on where it was cut, from the next one who has the same file', async () => {
    const here = fetcher([holder('cutting', cutting(1_000_000)), away, holder('peer', origin)]);
    await here.fetch(digest);
    expect(python(here.images).equals(original())).toBe(true);
    const [first, second, ...others] = reads;
    expect([first, others]).toEqual(['cutting 0', []]);
    const offset = Number(second?.split(' ')[1]);
    expect(second).toMatch(/^peer /);
    expect(offset).toBeGreaterThan(500_000);
  });

  it('goes on in a later run, also while the coordinator is away', async () => {
    const first = fetcher([holder('cutting', cutting(1_000_000))], holder('c', cutting(0)));
    await expect(first.fetch(digest)).rejects.toMatchObject({ code: 'unreachable' });
    await first.close();
    expect(existsSync(join(first.images, short))).toBe(false);
    expect(statSync(join(first.images, `.fetching-${short}`, 'archive.part')).size).toBeGreaterThan(
      500_000,
    );
    const second = fetcher([holder('peer', origin)], away);
    await second.fetch(digest);
    expect(python(second.images).equals(original())).toBe(true);
    expect(reads.at(-1)).toMatch(/^peer [1-9]/);
  });

  it('is not taken from one who lies; the next one is asked from the start', async () => {
    const here = fetcher([holder('lying', lying), holder('peer', origin)]);
    await here.fetch(digest);
    expect(python(here.images).equals(original())).toBe(true);
    expect(reads).toEqual(['lying 0', 'peer 0']);
  });

  it('is not taken from one who has another image by its name, nor a cut file as the whole', async () => {
    const other = createOther('other');
    /** A sound archive, and not of this image. */
    const impostor: ImageSource = {
      ...other,
      async archive(asked) {
        const { contentHash, contentBytes } = await origin.describe(asked);
        return { ...(await other.archive(asked)), contentHash, contentBytes };
      },
    };
    /** Says that the first half is all there is. */
    const halving: ImageSource = {
      ...origin,
      async archive(asked) {
        const archive = await origin.archive(asked);
        return { ...archive, archiveHash: '0'.repeat(64), archiveBytes: 1_000_000 };
      },
      async *read(asked, archive, offset) {
        let left = 1_000_000;
        for await (const chunk of origin.read(asked, archive, offset)) {
          yield chunk.subarray(0, left);
          left -= Math.min(left, chunk.length);
          if (left === 0) return;
        }
      },
    };
    const nodes = [holder('impostor', impostor), holder('halving', halving)];
    const here = fetcher([...nodes, holder('peer', origin)]);
    await here.fetch(digest);
    expect(python(here.images).equals(original())).toBe(true);
    expect(reads).toEqual(['impostor 0', 'halving 0', 'peer 0']);
  });

  it('that the coordinator lacks is what nodes that work for everyone agree on', async () => {
    const nobody = holder('coordinator', createArchiveStore({ folder: '/nowhere', bytesMax: 1 }));
    const here = fetcher([holder('one', origin), holder('two', origin)], nobody);
    await here.fetch(digest);
    expect(python(here.images).equals(original())).toBe(true);

    const untrusted = fetcher([holder('one', origin, false)], nobody, 'untrusted');
    await expect(untrusted.fetch(digest)).rejects.toMatchObject({ code: 'not_found' });
    const liar = holder('liar', createOther('liar'));
    const torn = fetcher([holder('one', origin), liar], nobody, 'torn');
    await expect(torn.fetch(digest)).rejects.toMatchObject({ code: 'image_invalid' });
  });

  it('is asked for in one go where nobody but the coordinator has it', async () => {
    const describe = (): never => {
      throw new Error('The image is read once more than it need be.');
    };
    const here = fetcher([], holder('coordinator', { ...origin, describe }));
    await here.fetch(digest);
    expect(python(here.images).equals(original())).toBe(true);
    expect(reads).toEqual(['coordinator 0']);
  });

  it('is known by what the coordinator once said when its files are gone from there', async () => {
    await origin.describe(digest);
    const peer = createArchiveStore({ folder: join(folder, 'peer'), bytesMax: 1e9 });
    cpSync(join(folder, 'origin', short), join(folder, 'peer', short), {
      recursive: true,
      preserveTimestamps: true,
    });
    const before = original();
    rmSync(join(folder, 'origin', short), { recursive: true });
    const here = fetcher([holder('peer', peer, false)]);
    await here.fetch(digest);
    expect(python(here.images).equals(before)).toBe(true);
  });

  it('leaves nothing where there is no room for it, and takes none before that is known', async () => {
    const full = async (): Promise<void> => {
      throw new PerigeeError('disk_full', 'There is no room.');
    };
    const here = fetcher([holder('peer', origin)], undefined, 'full', full);
    await expect(here.fetch(digest)).rejects.toMatchObject({ code: 'disk_full' });
    expect(readdirSync(here.images)).toEqual([`.lock-${short}`]);
  });

  it('is on the disk before it has its name', async () => {
    const here = fetcher([holder('peer', origin)]);
    const programs = join(folder, 'programs');
    mkdirSync(programs);
    const seen = join(folder, 'seen');
    const place = join(here.images, short);
    // The real one, and what it found.
    const lines = ['#!/bin/sh', `{ ls -A "$2"; ls -d ${place}; } >${seen} 2>&1`, 'exec sync "$@"'];
    const path = process.env['PATH'] ?? '';
    lines.splice(1, 0, `PATH='${path}' LC_ALL=C`);
    writeFileSync(join(programs, 'sync'), `${lines.join('\n')}\n`, { mode: 0o755 });
    process.env['PATH'] = `${programs}:${path}`;
    try {
      await here.fetch(digest);
    } finally {
      process.env['PATH'] = path;
    }
    const found = readFileSync(seen, 'utf8').split('\n');
    expect(found.slice(0, 3)).toEqual(['.fetched.json', 'image.json', 'rootfs']);
    expect(found[3]).toContain('No such file');
    expect(existsSync(place)).toBe(true);
  });

  it('is brought again where a power cut left its name and no content', async () => {
    const here = fetcher([holder('peer', origin)]);
    mkdirSync(join(here.images, short, 'rootfs'), { recursive: true });
    writeFileSync(join(here.images, short, 'image.json'), '');
    await here.fetch(digest);
    expect(python(here.images).equals(original())).toBe(true);
    expect(readdirSync(here.images).sort()).toEqual(['.archives', `.lock-${short}`, short]);
    await here.fetch(digest);
    expect(reads).toEqual(['peer 0']);
  });

  it('is refused by name when the coordinator does not know it', async () => {
    const other = `sha256:${'00'.repeat(32)}` as ImageDigest;
    const here = fetcher([holder('peer', origin)]);
    await expect(here.fetch(other)).rejects.toMatchObject({ code: 'not_found' });
    expect(reads).toEqual([]);
  });

  it('is brought once for two agents of one machine', async () => {
    const one = fetcher([holder('peer', origin)]);
    const two = fetcher([holder('peer', origin)]);
    await Promise.all([one.fetch(digest), two.fetch(digest)]);
    expect(reads).toEqual(['peer 0']);
  });
});
