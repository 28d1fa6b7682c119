import { describe, expect, it } from 'vitest';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import {
  encodeBlobReference,
  findBlobReference,
  isPayload,
  payloadTags,
} from '../../../../protocol/wire/payload.ts';

const hash = 'ab'.repeat(32) as BlobHash;

describe('a payload', () => {
  it('carries a blob reference with the tag, hash and size of what it refers to', () => {
    const reference = { tag: payloadTags.pickle, hash, sizeBytes: 5_000_000_000 };
    expect(findBlobReference(encodeBlobReference(reference))).toEqual(reference);
  });

  it('is inline when its tag is not that of a reference', () => {
    expect(findBlobReference(Uint8Array.from([payloadTags.json, 1]))).toBeUndefined();
    expect(isPayload(Uint8Array.from([payloadTags.msgpack]))).toBe(true);
  });

  it('is refused when a reference is cut short or refers to a reference', () => {
    const reference = encodeBlobReference({ tag: payloadTags.json, hash, sizeBytes: 1 });
    expect(() => findBlobReference(reference.subarray(0, 41))).toThrow(/malformed/);
    expect(() =>
      findBlobReference(encodeBlobReference({ tag: payloadTags.blob, hash, sizeBytes: 1 })),
    ).toThrow(/malformed/);
    expect(isPayload(new Uint8Array(0))).toBe(false);
    expect(isPayload(Uint8Array.from([0]))).toBe(false);
  });
});
