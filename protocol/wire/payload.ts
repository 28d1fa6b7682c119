/**
 * A payload is an argument list or a result as every hop carries it: one byte that says how it is
 * encoded, then the bytes. Coordinator and agent never look behind the first byte, but for a blob
 * reference, which they resolve.
 *
 * Argument payloads hold the pair (positional arguments, keyword arguments).
 */
import { assert } from '../base/assert.ts';
import { PerigeeError } from '../base/errors.ts';
import type { BlobHash } from './ids.ts';
import { isBlobHash } from './ids.ts';

/** First byte of a payload. */
export const payloadTags = {
  /** Python pickle. */
  pickle: 0x50,
  /** UTF-8 JSON. */
  json: 0x4a,
  /** msgpack. */
  msgpack: 0x4d,
  /** A reference: the tag of the referred payload, 32 bytes of SHA-256, u64 big-endian size. */
  blob: 0x42,
} as const;

const blobPayloadBytes = 42;

/** A payload that is not inline: the blob holds the bytes behind the tag. */
export interface BlobReference {
  tag: number;
  hash: BlobHash;
  /** Of the blob, without the tag. */
  sizeBytes: number;
}

/** The payload that refers to a blob. */
export function encodeBlobReference(reference: BlobReference): Uint8Array {
  const bytes = new Uint8Array(blobPayloadBytes);
  bytes[0] = payloadTags.blob;
  bytes[1] = reference.tag;
  bytes.set(Buffer.from(reference.hash, 'hex'), 2);
  new DataView(bytes.buffer).setBigUint64(34, BigInt(reference.sizeBytes));
  return bytes;
}

/**
 * The reference in a payload; undefined when the payload is inline.
 * @throws PerigeeError frame_invalid when a reference is malformed.
 */
export function findBlobReference(payload: Uint8Array): BlobReference | undefined {
  if (payload[0] !== payloadTags.blob) return undefined;
  const tag = payload[1];
  if (payload.length !== blobPayloadBytes || tag === undefined || tag === payloadTags.blob) {
    throw new PerigeeError('frame_invalid', 'A blob reference in a payload is malformed.');
  }
  const hash = Buffer.from(payload.buffer, payload.byteOffset + 2, 32).toString('hex');
  assert(isBlobHash(hash), 'thirty-two bytes are a hash');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  return { tag, hash, sizeBytes: Number(view.getBigUint64(34)) };
}

/** Whether a payload's first byte is one of the tags. */
export function isPayload(payload: Uint8Array): boolean {
  const tag = payload[0];
  return (
    tag === payloadTags.pickle ||
    tag === payloadTags.json ||
    tag === payloadTags.msgpack ||
    tag === payloadTags.blob
  );
}
