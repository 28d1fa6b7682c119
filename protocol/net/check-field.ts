/** Decoders of single fields: what a peer sent is `unknown` until one of these has looked at it. */
import { PerigeeError } from '../base/errors.ts';

/** A plain map as msgpack gives it. */
export type Fields = Readonly<Record<string, unknown>>;

/** Decodes a value that stands at `path`, or throws `frame_invalid` with the path. */
export type Check<Value> = (value: unknown, path: string) => Value;

/** What is wrong, where; the one error that decoders throw. */
export function invalidField(path: string, expected: string): PerigeeError {
  return new PerigeeError('frame_invalid', `${path} is not ${expected}.`, {
    fix: 'Update the peer, or report it: it sent a message that the protocol does not have.',
  });
}

/** A map. */
export function checkFields(value: unknown, path: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidField(path, 'a map');
  }
  if (ArrayBuffer.isView(value)) throw invalidField(path, 'a map');
  return value as Fields;
}

/** An integer within bounds; both ends belong to it. */
export function checkInteger(minimum: number, maximum = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, path) => {
    // msgpack may carry a 64-bit integer as a bigint when it is out of a double's exact range.
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
      throw invalidField(path, 'an integer');
    }
    if (value < minimum || value > maximum) {
      throw invalidField(path, `an integer from ${minimum} to ${maximum}`);
    }
    return value;
  };
}

/** A finite number within bounds. */
export function checkNumber(minimum: number, maximum: number): Check<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !(value >= minimum && value <= maximum)) {
      throw invalidField(path, `a number from ${minimum} to ${maximum}`);
    }
    return value;
  };
}

/** Text of at most so many UTF-16 units. */
export function checkText(charsMax: number, charsMin = 0): Check<string> {
  return (value, path) => {
    if (typeof value !== 'string') throw invalidField(path, 'text');
    if (value.length > charsMax || value.length < charsMin) {
      throw invalidField(path, `text of ${charsMin} to ${charsMax} characters`);
    }
    return value;
  };
}

/** Text of a form; `expected` says it in words. */
export function checkPattern(pattern: RegExp, expected: string): Check<string> {
  return (value, path) => {
    if (typeof value !== 'string' || !pattern.test(value)) throw invalidField(path, expected);
    return value;
  };
}

export const checkBoolean: Check<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw invalidField(path, 'true or false');
  return value;
};

/** Bytes of at most so many. */
export function checkBytes(bytesMax: number): Check<Uint8Array> {
  return (value, path) => {
    if (!(value instanceof Uint8Array)) throw invalidField(path, 'bytes');
    if (value.length > bytesMax) throw invalidField(path, `at most ${bytesMax} bytes`);
    return value;
  };
}

/** One of a list of words. */
export function checkOneOf<const Word extends string>(words: readonly Word[]): Check<Word> {
  return (value, path) => {
    const found = words.find((word) => word === value);
    if (found === undefined) throw invalidField(path, `one of ${words.join(', ')}`);
    return found;
  };
}

/** A list of at most so many. */
export function checkList<Item>(check: Check<Item>, countMax: number): Check<Item[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw invalidField(path, 'a list');
    if (value.length > countMax) throw invalidField(path, `a list of at most ${countMax}`);
    return value.map((item: unknown, index) => check(item, `${path}[${index}]`));
  };
}

/** The same, or null; a missing field is null, as an older peer would leave it. */
export function checkNullable<Value>(check: Check<Value>): Check<Value | null> {
  return (value, path) => (value === null || value === undefined ? null : check(value, path));
}
