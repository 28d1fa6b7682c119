/** Blobs for agents: functions and arguments of the namespaces they serve, results and outputs that they made. */

import { PerigeeError } from '../../protocol/base/errors.ts';
import type { BlobSource } from '../../protocol/net/blob-transfer.ts';
import { verifyBlob } from '../../protocol/net/blob-transfer.ts';
import type { BlobHash, NodeId } from '../../protocol/wire/ids.ts';
import { blobBytesMax } from '../../protocol/wire/limits.ts';
import type { BlobStore, Store } from '../store/port.ts';
import type { UploadRecords } from './upload-records.ts';

export interface NodeBlobDeps {
  store: Pick<Store, 'findNode' | 'hasUploaded' | 'mayReadBlob'>;
  uploads: UploadRecords;
  blobs: BlobStore;
  /** What is old and about to be referred to again must not go meanwhile. */
  touchBlob(hash: BlobHash): Promise<void>;
  /** Keeps room for what was accepted: results are, outputs have to fit beside it. */
  disk: { assertRoom(bytes: number): Promise<void> };
}

/** What one node may read and write. Nothing is remembered between requests: rights may change. */
export function createNodeBlobs(deps: NodeBlobDeps, node: NodeId): BlobSource {
  const { store, blobs, disk } = deps;
  const mayRead = async (hash: BlobHash): Promise<boolean> => {
    const known = await store.findNode(node);
    if (known === undefined) return false;
    if (known.namespaces === null) return true;
    for (const namespace of known.namespaces) {
      if (await store.mayReadBlob(namespace, hash)) return true;
    }
    return store.hasUploaded(node, hash);
  };
  return {
    async size(hash) {
      // The same answer for what is not there and what is not for this node.
      if (!(await mayRead(hash))) throw new PerigeeError('not_found', `There is no blob ${hash}.`);
      return blobs.size(hash);
    },
    read: (hash, offset) => blobs.read(hash, offset),
    async write(hash, bytes, { sizeBytes, isOutput }) {
      if ((await store.findNode(node)) === undefined) {
        throw new PerigeeError('forbidden', 'Only nodes of this mesh may put blobs.');
      }
      await deps.touchBlob(hash);
      const isThere = await blobs.has(hash);
      if (isOutput && !isThere) await disk.assertRoom(sizeBytes);
      if (isThere) {
        // Read to the end all the same: who names a hash without having its bytes gains nothing.
        for await (const chunk of verifyBlob(bytes, { hash, sizeBytes })) void chunk;
      } else {
        // It looks at each byte once itself: hashing costs as much as the cipher.
        await blobs.write(hash, bytes, { sizeBytes, bytesMax: blobBytesMax });
      }
      await deps.uploads.record({ node, hash });
    },
  };
}
