/**
 * The images of one node of a mesh: what it lacks comes from the nodes that the coordinator names, or
 * from the coordinator; what it has it gives to other nodes.
 */
import { existsSync, utimesSync } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { createArchiveStore } from '../../protocol/images/archive-store.ts';
import type { ImageSource } from '../../protocol/images/image-transfer.ts';
import { imageProtocol, serveImage } from '../../protocol/images/image-transfer.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import type { NodeImage } from '../../protocol/wire/task.ts';
import type { PeerFacts, Peers } from '../mesh/peers.ts';
import type { FoundImage } from './find-images.ts';
import { findImages } from './find-images.ts';
import { createImageEviction, requireRoom } from './image-eviction.ts';
import type { ImageHolder } from './image-fetcher.ts';
import { createImageFetcher, fetchedMark } from './image-fetcher.ts';
import { createImageUses } from './image-uses.ts';

export interface MeshImagesDeps {
  host: Pick<MeshHost, 'open'>;
  peers: Pick<Peers, 'locate' | 'open' | 'serve'>;
  /** Hears of all images that are here, after one has come or gone. */
  onChanged(images: NodeImage[]): void;
  /** Hears of each image that is not here any more. */
  onLost(digest: ImageDigest): void;
  /** Whether tasks of this agent wait for an image, or run in it. */
  isWanted(digest: ImageDigest): boolean;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface MeshImages {
  /** As nodes tell the coordinator of them. */
  list(): NodeImage[];
  find(digest: ImageDigest): FoundImage | undefined;
  /**
   * An image for a sandbox, which no agent of this machine removes until `release`; undefined when
   * it is not here, or not any more.
   */
  use(digest: ImageDigest): FoundImage | undefined;
  /** A sandbox of `use` has ended. */
  release(image: FoundImage): void;
  /**
   * Brings an image, and what it lies on, to this machine.
   * @throws PerigeeError not_found, unreachable, disk_full, image_invalid
   */
  fetch(digest: ImageDigest): Promise<void>;
  /** Gives images to other nodes from now on. */
  serve(): Promise<void>;
  close(): Promise<void>;
}

/** Packing and sending take a disk's and a line's time: more at once make each one slower. */
const streamsMax = 16;
/** Other agents of this machine and people change the folder, too. */
const lookMs = 60_000;

/** The images of `<home>/images`, of which `found` were there at start. */
export function createMeshImages(
  deps: MeshImagesDeps,
  settings: {
    home: string;
    /** The coordinator's multiaddr. */
    address: string;
    found: readonly FoundImage[];
    archivesBytesMax: number;
    /** Of images that came over the mesh. */
    imagesBytesMax: number;
    /** Left free on the disk, as far as unused images can go for it. */
    diskFreeBytesMin: number;
  },
): MeshImages {
  const { host, peers, log } = deps;
  const folder = join(settings.home, 'images');
  const images = new Map(settings.found.map((image) => [image.digest, image]));
  const archives = createArchiveStore({ folder, bytesMax: settings.archivesBytesMax });
  const uses = createImageUses(folder, (name, { message }) =>
    log.warn({ folder: name, error: message }, 'Other agents cannot be told of a use.'),
  );
  const closing = new AbortController();
  const readFreeBytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  };
  const eviction = createImageEviction(
    { uses, archives, isWanted: deps.isWanted, readFreeBytes, log },
    {
      folder,
      bytesMax: settings.imagesBytesMax,
      freeBytesMin: settings.diskFreeBytesMin,
      signal: closing.signal,
    },
  );
  /** What comes now, and what it lies on: a base must not push its own layer out. */
  const coming = new Map<ImageDigest, number>();
  const makeRoom = async (bytes: number): Promise<void> => {
    const gone = await eviction.makeRoom({ bytes, keep: new Set(coming.keys()) });
    if (gone.length > 0) await rescan();
  };
  const keeping = async (digest: ImageDigest, work: () => Promise<void>): Promise<void> => {
    coming.set(digest, (coming.get(digest) ?? 0) + 1);
    try {
      await work();
    } finally {
      const count = (coming.get(digest) ?? 0) - 1;
      if (count > 0) coming.set(digest, count);
      else coming.delete(digest);
    }
  };
  const fetcher = createImageFetcher(
    {
      async makeRoom(bytes) {
        await makeRoom(bytes);
        requireRoom({ freeBytes: await readFreeBytes(), bytes });
      },
      coordinator: {
        name: 'the coordinator',
        isTrusted: true,
        open: (signal) => host.open(settings.address, imageProtocol, { signal }),
      },
      locate: (digest, signal) => locateHolders(peers, { digest, signal }),
      archives,
      log,
    },
    { folder },
  );
  const list = (): NodeImage[] =>
    [...images.values()].map(({ digest, names, python, arch, sizeBytes }) => ({
      digest,
      names,
      python,
      arch,
      sizeBytes,
    }));
  const skipped = new Map<string, string>();
  const rescan = async (): Promise<void> => {
    const onSkipped = (name: string, reason: string): void => {
      // The folder is looked through every minute: once is enough.
      if (skipped.get(name) !== reason) {
        log.warn({ folder: name, reason }, 'An image is passed over.');
      }
      skipped.set(name, reason);
    };
    const before = JSON.stringify(list());
    const found = await findImages(settings.home, { arch: process.arch, onSkipped });
    const lost = [...images.keys()].filter((digest) => !found.some((one) => one.digest === digest));
    images.clear();
    for (const image of found) images.set(image.digest, image);
    for (const digest of lost) deps.onLost(digest);
    if (JSON.stringify(list()) !== before) deps.onChanged(list());
  };
  /** The folders of an image that may be removed while nobody uses them. */
  const removable = (image: FoundImage): string[] => {
    const folders = new Set([image.digest.slice(7, 39), basename(dirname(image.rootfs))]);
    return [...folders].filter((name) => existsSync(join(folder, name, fetchedMark)));
  };
  const touch = (folders: readonly string[]): void => {
    const now = new Date();
    for (const name of folders) {
      try {
        utimesSync(join(folder, name, fetchedMark), now, now);
      } catch (caught) {
        // Only the order in which images go hangs on it.
        log.warn({ folder: name, error: toError(caught).message }, 'A use cannot be noted.');
      }
    }
  };
  /** What each use began with: marks may come and go meanwhile. */
  const inUse = new Map<FoundImage, string[][]>();
  const release = (image: FoundImage): void => {
    const [folders = [], ...others] = inUse.get(image) ?? [];
    if (others.length === 0) inUse.delete(image);
    else inUse.set(image, others);
    uses.end(folders);
    touch(folders.filter((name) => existsSync(join(folder, name, fetchedMark))));
  };
  // One after another: an older listing must not follow a newer one.
  let looking: Promise<void> = Promise.resolve();
  const look = (): void => {
    looking = looking
      .then(async () => {
        await uses.refresh();
        await rescan();
        if (existsSync(folder)) await makeRoom(0);
      })
      .catch((caught: unknown) => {
        if (closing.signal.aborted) return;
        log.warn({ error: toError(caught).message }, 'The images cannot be looked through.');
      });
  };
  looking = eviction.recover().catch((caught: unknown) => {
    if (closing.signal.aborted) return;
    log.warn({ error: toError(caught).message }, 'What was half removed stays for now.');
  });
  const timer = setInterval(look, lookMs);
  timer.unref();

  return {
    list,
    find: (digest) => images.get(digest),
    use(digest) {
      const image = images.get(digest);
      if (image === undefined) return undefined;
      const folders = removable(image);
      uses.begin(folders);
      inUse.set(image, [...(inUse.get(image) ?? []), folders]);
      const parts = image.sitePath === null ? [image.rootfs] : [image.rootfs, image.sitePath];
      // Only what lies in this folder can have been removed to make room.
      if (parts.every((part) => !part.startsWith(`${folder}/`) || existsSync(part))) {
        touch(folders);
        return image;
      }
      release(image);
      images.delete(digest);
      return undefined;
    },
    release,
    async fetch(digest) {
      await keeping(digest, async () => {
        await fetcher.fetch(digest);
        const { base } = await describeFolder(folder, digest);
        if (base !== null) await keeping(base, () => fetcher.fetch(base));
        await rescan();
      });
      if (!images.has(digest)) {
        const why = skipped.get(digest.slice(7, 39)) ?? 'nobody knows why';
        const message = `The image ${digest} cannot be used here: ${why}`;
        throw new PerigeeError('image_invalid', message);
      }
    },
    serve: () =>
      peers.serve(
        imageProtocol,
        (stream, peer) => serveImage(stream, createPeerImages({ folder, archives, peer })),
        { streamsMax },
      ),
    async close() {
      clearInterval(timer);
      closing.abort();
      await Promise.all([fetcher.close(), archives.close(), looking]);
      uses.close();
    },
  };
}

async function locateHolders(
  peers: Pick<Peers, 'locate' | 'open'>,
  wanted: { digest: ImageDigest; signal: AbortSignal },
): Promise<ImageHolder[]> {
  const nodes = await peers.locate({ images: [wanted.digest] }, wanted.signal);
  return nodes
    .filter((node) => node.images.includes(wanted.digest) && node.addresses.length > 0)
    .map((node) => ({
      name: node.node,
      // One that works for some namespaces must not decide what those of others run in.
      isTrusted: node.namespaces === null,
      open: (signal) => peers.open(node, imageProtocol, signal),
    }));
}

/**
 * What one peer may have from this node. Whose a made image is only the coordinator knows, so that a
 * node that works for some namespaces alone gets only the images of set-up here, and others there.
 */
function createPeerImages(from: {
  folder: string;
  archives: ImageSource;
  peer: PeerFacts;
}): ImageSource {
  const { folder, archives, peer } = from;
  const check = async (digest: ImageDigest): Promise<void> => {
    if (peer.namespaces === null || (await describeFolder(folder, digest)).isOfSetup) return;
    throw new PerigeeError('not_found', `There is no image ${digest} here.`);
  };
  return {
    async describe(digest) {
      await check(digest);
      return await archives.describe(digest);
    },
    async archive(digest) {
      await check(digest);
      return await archives.archive(digest);
    },
    read: (digest, archive, offset) => archives.read(digest, archive, offset),
  };
}

/** What the node must know of an image that it cannot run perhaps. */
async function describeFolder(
  folder: string,
  digest: ImageDigest,
): Promise<{ base: ImageDigest | null; isOfSetup: boolean }> {
  try {
    const text = await readFile(join(folder, digest.slice(7, 39), 'image.json'), 'utf8');
    const { base, kind } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const isLayer = typeof base === 'string' && /^sha256:[0-9a-f]{64}$/.test(base);
    return { base: isLayer ? (base as ImageDigest) : null, isOfSetup: !isLayer && kind !== 'oci' };
  } catch (caught) {
    const message = `The image ${digest} cannot be read: ${toError(caught).message}`;
    throw new PerigeeError('not_found', message, { cause: caught });
  }
}
