/** The catalogue's part of the store's twin in memory. */
import { assert } from '../../protocol/base/assert.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import type { CatalogueImage, ImageStore } from '../images/image.ts';

/** Images in order of their first saving, and what their builds printed. */
export interface ImageRecords {
  images: Map<ImageDigest, CatalogueImage>;
  imageLogs: Map<ImageDigest, Uint8Array>;
}

export function createMemoryImages(records: ImageRecords): ImageStore {
  const { images, imageLogs } = records;
  const logOf = (digest: ImageDigest): Uint8Array => imageLogs.get(digest) ?? new Uint8Array(0);
  return {
    async saveImage(image) {
      images.set(image.digest, structuredClone(image));
    },
    listImages: async () => [...images.values()].map((image) => structuredClone(image)),
    async appendImageLog(digest, { offset, bytes }) {
      assert(offset === logOf(digest).length, 'a build log has no gaps');
      imageLogs.set(digest, Buffer.concat([logOf(digest), bytes]));
    },
    readImageLog: async (digest, { offset, bytesMax }) =>
      logOf(digest).slice(offset, offset + bytesMax),
    async clearImageLog(digest) {
      imageLogs.delete(digest);
    },
  };
}
