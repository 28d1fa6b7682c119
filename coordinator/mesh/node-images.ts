/** Images for agents that lack them: described, or packed, of what lies on this machine. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { ArchiveStore } from '../../protocol/images/archive-store.ts';
import type { ImageSource } from '../../protocol/images/image-transfer.ts';
import type { ImageDigest, NodeId } from '../../protocol/wire/ids.ts';
import type { ImageCatalogue } from '../images/catalogue.ts';
import { namesFor } from '../images/catalogue.ts';
import type { Store } from '../store/port.ts';

export interface NodeImageDeps {
  store: Pick<Store, 'findNode'>;
  archives: ArchiveStore;
  catalogue: Pick<ImageCatalogue, 'find'>;
}

/** What one node may have: images of set-up, and those of the namespaces that it serves. */
export function createNodeImages(deps: NodeImageDeps, node: NodeId): ImageSource {
  const { store, archives, catalogue } = deps;
  const check = async (digest: ImageDigest): Promise<void> => {
    const known = await store.findNode(node);
    if (known === undefined) {
      throw new PerigeeError('forbidden', 'Only nodes of this mesh may have its images.');
    }
    const image = catalogue.find(digest);
    const isItsOwn =
      image === undefined ||
      known.namespaces === null ||
      known.namespaces.some((namespace) => namesFor(image, namespace).length > 0);
    // The same answer for what is not there and what is not for this node.
    if (!isItsOwn || (image !== undefined && image.state !== 'ready')) {
      throw new PerigeeError('not_found', `There is no image ${digest}.`);
    }
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
