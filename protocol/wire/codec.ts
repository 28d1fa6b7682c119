/** The one place that knows msgpack. Bytes stay bytes, maps are plain objects, nothing is shared. */
import { Packr } from 'msgpackr';
import { PerigeeError } from '../base/errors.ts';

// useRecords off: records need state that both ends share, and a reconnect would lose it.
const packr = new Packr({ useRecords: false, moreTypes: false, int64AsType: 'number' });

// Users' values keep whole numbers beyond 2^53 whole, as bigints; messages of ours have none.
// Assigned afterwards: msgpackr reads 'auto', and its types do not have it.
const valuePackr = Object.assign(new Packr({ useRecords: false, moreTypes: false }), {
  int64AsType: 'auto',
});

/** The msgpack of a plain value; the bytes are the caller's own. */
export function encode(value: unknown): Uint8Array {
  return packr.pack(value);
}

/**
 * The value of msgpack bytes.
 * @throws PerigeeError frame_invalid when they are not one msgpack value.
 */
export function decode(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes);
  } catch (cause) {
    throw new PerigeeError('frame_invalid', 'A frame is not msgpack.', { cause });
  }
}

/**
 * A user's value: as `decode`, but whole numbers that a double cannot hold become bigints.
 * @throws PerigeeError frame_invalid when they are not one msgpack value.
 */
export function decodeValue(bytes: Uint8Array): unknown {
  try {
    return valuePackr.unpack(bytes);
  } catch (cause) {
    throw new PerigeeError('frame_invalid', 'A value is not msgpack.', { cause });
  }
}
