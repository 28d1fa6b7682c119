/**
 * The images that this coordinator made or brought in, in memory and on disk: every change is on
 * disk before anybody hears of it. There are few and they change rarely, so all are kept at hand.
 */
import { assert } from '../../protocol/base/assert.ts';
import type { ImageDigest, NamespaceName } from '../../protocol/wire/ids.ts';
import type { CatalogueImage, ImageName, ImageStore } from './image.ts';

/** The catalogue of one coordinator. */
export interface ImageCatalogue {
  /** All that are not removed, latest made first. */
  list(): readonly CatalogueImage[];
  /** By digest; undefined for one that was removed. */
  find(digest: ImageDigest): CatalogueImage | undefined;
  /** The latest entry of a request, a removed one too. */
  findRequest(requestKey: string): CatalogueImage | undefined;
  /** Makes or replaces an entry. Its names are taken from other images that bore them. */
  put(image: CatalogueImage): Promise<void>;
  /** Changes fields of an entry that is there. */
  update(
    digest: ImageDigest,
    changes: Partial<Omit<CatalogueImage, 'digest' | 'requestKey' | 'generation'>>,
  ): Promise<CatalogueImage>;
  /** Lets a namespace, or all with null, use an image under a name. */
  addName(digest: ImageDigest, name: ImageName): Promise<CatalogueImage>;
  /** Is told of every entry that changed, once it is on disk; returns how to stop. */
  onChange(listener: (image: CatalogueImage) => void): () => void;
}

/** Reads the catalogue. */
export async function openCatalogue(
  store: Pick<ImageStore, 'saveImage' | 'listImages'>,
): Promise<ImageCatalogue> {
  const images = new Map((await store.listImages()).map((image) => [image.digest, image]));
  const listeners = new Set<(image: CatalogueImage) => void>();
  // One change after another: two that begin at once must not both start from the same entry.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(change: () => Promise<Result>): Promise<Result> => {
    const next = last.then(change, change);
    last = next.catch(() => undefined);
    return next;
  };
  const save = async (image: CatalogueImage): Promise<CatalogueImage> => {
    await store.saveImage(image);
    images.set(image.digest, image);
    for (const listener of listeners) listener(image);
    return image;
  };
  const take = async (names: readonly ImageName[], owner: ImageDigest): Promise<void> => {
    for (const other of images.values()) {
      if (other.digest === owner) continue;
      const kept = other.names.filter((name) => !names.some((taken) => isSameName(name, taken)));
      if (kept.length < other.names.length) await save({ ...other, names: kept });
    }
  };
  const getImage = (digest: ImageDigest): CatalogueImage => {
    const image = images.get(digest);
    assert(image !== undefined, `image ${digest} is in the catalogue`);
    return image;
  };
  return {
    list: () => [...images.values()].filter(({ state }) => state !== 'removed').reverse(),
    find(digest) {
      const image = images.get(digest);
      return image?.state === 'removed' ? undefined : image;
    },
    findRequest: (requestKey) =>
      [...images.values()]
        .filter((image) => image.requestKey === requestKey)
        .sort((left, right) => right.generation - left.generation)[0],
    put: (image) =>
      inTurn(async () => {
        await take(image.names, image.digest);
        await save(image);
      }),
    update: (digest, changes) => inTurn(() => save({ ...getImage(digest), ...changes })),
    addName: (digest, name) =>
      inTurn(async () => {
        await take([name], digest);
        const image = getImage(digest);
        if (image.names.some((known) => isSameName(known, name))) return image;
        return save({ ...image, names: [...image.names, name] });
      }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** What a namespace may call an image; empty when it may not use it. */
export function namesFor(image: CatalogueImage, namespace: NamespaceName): string[] {
  return image.names
    .filter((name) => name.namespace === null || name.namespace === namespace)
    .map(({ name }) => name);
}

function isSameName(left: ImageName, right: ImageName): boolean {
  return left.name === right.name && left.namespace === right.namespace;
}
