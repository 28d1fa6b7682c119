/** Arguments and results: msgpack behind one tag byte (protocol/wire/payload.ts). */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { decodeValue, encode } from '../../protocol/wire/codec.ts';
import { payloadTags } from '../../protocol/wire/payload.ts';

/**
 * What can be an argument or a result. Python sees None, bool, int, float, text, bytes, datetime (UTC),
 * list and dict; its tuples come back as arrays, and whole numbers beyond 2^53 as bigints.
 */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Date
  | readonly Value[]
  | { readonly [key: string]: Value | undefined };

/** Deeper is an object that contains itself; the harness has the same bound. */
const depthMax = 500;

/**
 * The payload of a call.
 * @throws PerigeeError invalid_request naming the value that has no form in msgpack.
 */
export function encodeArguments(
  args: readonly Value[],
  kwargs: Readonly<Record<string, Value | undefined>>,
): Uint8Array {
  const pair = [
    args.map((value, index) => toWire(value, { path: `argument ${index}`, depth: 0 })),
    toWire(withoutUndefined(kwargs), { path: 'keyword arguments', depth: 0 }),
  ];
  const body = encode(pair);
  const payload = new Uint8Array(1 + body.length);
  payload[0] = payloadTags.msgpack;
  payload.set(body, 1);
  return payload;
}

/**
 * The value of a payload, tag first, that is not a blob reference.
 * @throws PerigeeError invalid_request for a pickle, frame_invalid for what cannot be decoded.
 */
export function decodePayload(payload: Uint8Array): unknown {
  const body = payload.subarray(1);
  switch (payload[0]) {
    case payloadTags.msgpack:
      return decodeValue(body);
    case payloadTags.json:
      return decodeJson(body);
    case payloadTags.pickle:
      throw new PerigeeError('invalid_request', 'The payload is a Python pickle.', {
        fix: 'Read it from Python, or make the function with resultFormat "msgpack" or "json".',
      });
    default:
      throw new PerigeeError('frame_invalid', 'The payload has an unknown tag.');
  }
}

function decodeJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8'));
  } catch (cause) {
    throw new PerigeeError('frame_invalid', 'The payload is not JSON.', { cause });
  }
}

interface Place {
  path: string;
  depth: number;
}

/** A copy that msgpack writes as Python should read it; typed callers pass `Value`, others anything. */
function toWire(value: unknown, place: Place): unknown {
  if (place.depth > depthMax) throw unfit(place, 'is nested too deep, or contains itself');
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'undefined':
      return null;
    case 'number':
      // Left alone, msgpackr sends whole numbers of more than 32 bits as floats.
      return Number.isSafeInteger(value) && Math.abs(value) > 0x7fffffff && !Object.is(value, -0)
        ? BigInt(value)
        : value;
    case 'bigint':
      if (BigInt.asIntN(64, value) === value || BigInt.asUintN(64, value) === value) return value;
      throw unfit(place, 'is an integer of more than 64 bits, which msgpack cannot hold');
    case 'object':
      return value === null ? null : objectToWire(value, place);
    default:
      throw unfit(place, `is a ${typeof value}, which msgpack has no form for`);
  }
}

function objectToWire(value: object, place: Place): unknown {
  const inside = (key: string | number): Place => ({
    // Long paths help nobody, and cost.
    path: place.depth < 8 ? `${place.path}[${JSON.stringify(key)}]` : place.path,
    depth: place.depth + 1,
  });
  if (Array.isArray(value)) return value.map((item, index) => toWire(item, inside(index)));
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw unfit(place, 'is not a valid date');
    return value;
  }
  if (value instanceof Uint8Array) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) {
    throw unfit(place, `is a ${value.constructor.name}, which msgpack has no form for`);
  }
  const entries: [string, unknown][] = Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [key, toWire(item, inside(key))]));
}

function withoutUndefined(kwargs: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(kwargs).filter(([, value]) => value !== undefined));
}

function unfit(place: Place, what: string): PerigeeError {
  return new PerigeeError('invalid_request', `${place.path} ${what}.`, {
    fix: 'Pass null, booleans, numbers, bigints, text, Uint8Array, Date, arrays and plain objects of them.',
  });
}
