import { describe, expect, it } from 'vitest';
import { decodePayload, encodeArguments, type Value } from '../../../../sdk/ts/value.ts';

const roundTrip = (value: Value): unknown => {
  const decoded = decodePayload(encodeArguments([value], {}));
  return Array.isArray(decoded) ? decoded[0] : undefined;
};

describe('a value', () => {
  const date = new Date('2019-07-01T10:20:30.250Z');
  it.each<[string, Value]>([
    ['null', null],
    ['a boolean', true],
    ['text', 'Zürich 東京 🛰'],
    ['a float', -2.25],
    ['a whole number of more than 32 bits', 9_007_199_254_740_991],
    ['an integer beyond 2^53', 18_446_744_073_709_551_615n],
    ['a date', date],
    ['nested arrays and objects', { scenes: [{ id: 'LC08', cloud: null }], empty: [] }],
  ])('goes there and back as it is: %s', (_, value) => {
    expect(roundTrip(value)).toEqual([value]);
  });

  it('of bytes stays bytes', () => {
    const [bytes] = roundTrip(Uint8Array.of(0, 255, 7)) as [Uint8Array];
    expect([...bytes]).toEqual([0, 255, 7]);
  });

  it('is sent as an integer when it is whole, however large', () => {
    // 0xd3 is msgpack's 64-bit integer, 0xcb its float.
    expect(encodeArguments([2 ** 40], {})).toContain(0xd3);
    expect(encodeArguments([-(2 ** 40)], {})).toContain(0xd3);
    expect(encodeArguments([2 ** 40], {})).not.toContain(0xcb);
    expect(encodeArguments([0.5], {})).toContain(0xcb);
  });

  it('that is undefined is left out of keyword arguments, and null elsewhere', () => {
    const decoded = decodePayload(encodeArguments([{ a: undefined }], { x: undefined, y: 1 }));
    expect(decoded).toEqual([[{ a: null }], { y: 1 }]);
  });

  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  it.each<[string, unknown, string]>([
    ['a Map', { a: [new Map()] }, 'argument 0["a"][0] is a Map'],
    ['a class instance', new (class Scene {})(), 'argument 0 is a Scene'],
    ['a function', () => 1, 'argument 0 is a function'],
    ['a symbol', [Symbol('s')], 'argument 0[0] is a symbol'],
    ['an integer of more than 64 bits', 2n ** 64n, 'argument 0 is an integer of more than 64'],
    ['an invalid date', new Date(Number.NaN), 'argument 0 is not a valid date'],
    ['an object that contains itself', cyclic, 'is nested too deep, or contains itself'],
  ])('that msgpack has no form for is refused with its path: %s', (_, value, message) => {
    expect(() => encodeArguments([value as Value], {})).toThrow(message);
  });
});

describe('a payload', () => {
  it('of JSON is read too', () => {
    expect(decodePayload(Buffer.from('J{"a": [1, null]}'))).toEqual({ a: [1, null] });
    expect(() => decodePayload(Buffer.from('J{'))).toThrow('not JSON');
  });

  it('of Python is refused with what to do', () => {
    expect(() => decodePayload(Buffer.from('Pxyz'))).toThrow(
      expect.objectContaining({
        code: 'invalid_request',
        fix: expect.stringContaining('resultFormat'),
      }),
    );
  });

  it('of nothing we know is malformed', () => {
    for (const bytes of [Uint8Array.of(), Uint8Array.of(1, 2), Uint8Array.of(0x4d)]) {
      expect(() => decodePayload(bytes)).toThrow(
        expect.objectContaining({ code: 'frame_invalid' }),
      );
    }
  });
});
