/**
 * The images of one node of a mesh: what it lacks comes from the nodes that the coordinator names, or
 * from the coordinator; what it has it gives to other nodes.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
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
import type { ImageHolder } from './image-fetcher.ts';
import { createImageFetcher } from './image-fetcher.ts';

export interface MeshImagesDeps {
  host: Pick<MeshHost, 'open'>;
  peers: Pick<Peers, 'locate' | 'open' | 'serve'>;
  /** Hears of all images that are here, after one has come. */
  onChanged(images: NodeImage[]): void;
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

/** The images of `<home>/images`, of which `found` were there at start. */
export function createMeshImages(
  deps: MeshImagesDeps,
  settings: {
    home: string;
    /** The coordinator's multiaddr. */
    address: string;
    found: readonly FoundImage[];
    archivesBytesMax: number;
  },
): MeshImages {
  const { host, peers, log } = deps;
  const folder = join(settings.home, 'images');
  const images = new Map(settings.found.map((image) => [image.digest, image]));
  const archives = createArchiveStore({ folder, bytesMax: settings.archivesBytesMax });
  const fetcher = createImageFetcher(
    {
      coordinator: {
        name: 'the coordinator',
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
  /** Why images in the folder cannot be used, by the folders' names. */
  const skipped = new Map<string, string>();
  const rescan = async (): Promise<void> => {
    const onSkipped = (name: string, reason: string): void => {
      skipped.set(name, reason);
      log.warn({ folder: name, reason }, 'An image is passed over.');
    };
    for (const image of await findImages(settings.home, { arch: process.arch, onSkipped })) {
      images.set(image.digest, image);
    }
  };

  return {
    list,
    find: (digest) => images.get(digest),
    async fetch(digest) {
      await fetcher.fetch(digest);
      const { base } = await describeFolder(folder, digest);
      if (base !== null) await fetcher.fetch(base);
      await rescan();
      if (!images.has(digest)) {
        const why = skipped.get(digest.slice(7, 39)) ?? 'nobody knows why';
        const message = `The image ${digest} cannot be used here: ${why}`;
        throw new PerigeeError('image_invalid', message);
      }
      deps.onChanged(list());
    },
    serve: () =>
      peers.serve(
        imageProtocol,
        (stream, peer) => serveImage(stream, createPeerImages({ folder, archives, peer })),
        { streamsMax },
      ),
    async close() {
      await Promise.all([fetcher.close(), archives.close()]);
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
  return {
    async archive(digest) {
      if (peer.namespaces !== null && !(await describeFolder(folder, digest)).isOfSetup) {
        throw new PerigeeError('not_found', `There is no image ${digest} here.`);
      }
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
