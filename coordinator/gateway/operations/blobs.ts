/** Blobs: put by a namespace, read by that namespace and no other. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { BlobHash, NamespaceName } from '../../../protocol/wire/ids.ts';
import { isBlobHash } from '../../../protocol/wire/ids.ts';
import { blobBytesMax } from '../../../protocol/wire/limits.ts';
import { readOwnNamespace, requireWriter } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readIntegerOr, readText, refused } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import { getNamespace } from './namespaces.ts';

/**
 * Takes a blob. Bytes of a blob that is here already are read and checked all the same: whoever
 * names a hash must show that they have the bytes, or hashes alone would open others' blobs.
 * @throws PerigeeError invalid_request, too_large, disk_full, forbidden
 */
export async function putBlob(
  context: Context,
  input: Input,
  upload: { bytes: AsyncIterable<Uint8Array>; sizeBytes: number | null },
): Promise<{ hash: BlobHash; created: boolean }> {
  requireWriter(context.caller);
  const namespace = readOwnNamespace(context.caller, input);
  const hash = readHash(input);
  const { store, blobs, disk, clock } = context.deps;
  if (upload.sizeBytes !== null && upload.sizeBytes > blobBytesMax) {
    throw new PerigeeError(
      'too_large',
      `The blob has ${upload.sizeBytes} bytes; the limit is ${blobBytesMax}.`,
    );
  }
  await getNamespace(context, namespace);
  if (await isReadableBlob(context, namespace, hash)) return { hash, created: false };
  await disk.assertRoom(upload.sizeBytes ?? 0);
  const created = !(await blobs.has(hash));
  await blobs.write(hash, upload.bytes, { bytesMax: blobBytesMax });
  await store.grantBlob(namespace, hash, clock.nowMs());
  return { hash, created };
}

/** The size of a blob that the namespace may read; null when there is none. */
export async function findBlob(
  context: Context,
  input: Input,
): Promise<{ sizeBytes: number | null }> {
  const namespace = readOwnNamespace(context.caller, input);
  const hash = readHash(input);
  const isThere = await isReadableBlob(context, namespace, hash);
  return { sizeBytes: isThere ? await context.deps.blobs.size(hash) : null };
}

/**
 * A blob's bytes from `offset` on.
 * @throws PerigeeError not_found, invalid_request
 */
export async function getBlob(
  context: Context,
  input: Input,
): Promise<{ sizeBytes: number; offset: number; bytes: AsyncIterable<Uint8Array> }> {
  const { sizeBytes } = await findBlob(context, input);
  const hash = readHash(input);
  if (sizeBytes === null) {
    throw new PerigeeError('not_found', `There is no blob ${hash} in this namespace.`, {
      fix: 'Put it first; blobs of other namespaces are not seen.',
    });
  }
  const offset = readIntegerOr(input, 'offset', { min: 0, max: sizeBytes, fallback: 0 });
  return { sizeBytes, offset, bytes: context.deps.blobs.read(hash, offset) };
}

/** Whether a namespace may refer to a blob: it is here, and theirs. */
export async function isReadableBlob(
  services: Services,
  namespace: NamespaceName,
  hash: BlobHash,
): Promise<boolean> {
  const { store, blobs, retention } = services.deps;
  // First: what is about to be used must not be removed for its age in between.
  await retention.touchBlob(hash);
  return (await store.mayReadBlob(namespace, hash)) && (await blobs.has(hash));
}

function readHash(input: Input): BlobHash {
  const hash = readText(input, 'hash', 200);
  if (isBlobHash(hash)) return hash;
  throw refused('hash', 'must be a SHA-256, 64 lower-case hexadecimal digits', hash);
}
