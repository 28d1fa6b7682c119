import { describe, expect, it } from 'vitest';
import { findInstant, readInterval } from '../../../../coordinator/stac/instants.ts';

const ms = (text: string): number => Date.parse(text);

describe('an instant', () => {
  it.each([
    ['2001-07-10T12:00:00Z', '2001-07-10T12:00:00Z'],
    ['2001-07-10t12:00:00.123456z', '2001-07-10T12:00:00.123Z'],
    ['2001-07-10T12:00:00.5+02:00', '2001-07-10T10:00:00.500Z'],
    ['2001-07-10T23:30:00-01:30', '2001-07-11T01:00:00Z'],
    ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00Z'],
  ])('%s is %s', (text, same) => {
    expect(findInstant(text)).toBe(ms(same));
  });

  it.each([
    '2001-07-10',
    '2001-07-10T12:00:00',
    '2001-13-10T12:00:00Z',
    '2001-02-29T12:00:00Z',
    '2001-07-10T24:00:00Z',
    '2001-07-10 12:00:00Z',
    '2001-07-10T12:00:00+0200',
    'yesterday',
    '',
  ])('is not "%s"', (text) => {
    expect(findInstant(text)).toBeUndefined();
  });
});

describe('the datetime of a search', () => {
  it.each([
    ['2001-07-10T12:00:00Z', '2001-07-10T12:00:00Z', '2001-07-10T12:00:00Z'],
    ['2001', '2001-01-01T00:00:00Z', '2001-12-31T23:59:59.999Z'],
    ['2001-02', '2001-02-01T00:00:00Z', '2001-02-28T23:59:59.999Z'],
    ['2001-12-31', '2001-12-31T00:00:00Z', '2001-12-31T23:59:59.999Z'],
    ['2001-07/2001-08', '2001-07-01T00:00:00Z', '2001-08-31T23:59:59.999Z'],
    ['2001-07-10T12:00:00Z/2002', '2001-07-10T12:00:00Z', '2002-12-31T23:59:59.999Z'],
    ['../2001-07', null, '2001-07-31T23:59:59.999Z'],
    ['/2001-07', null, '2001-07-31T23:59:59.999Z'],
    ['2001-07/..', '2001-07-01T00:00:00Z', null],
    ['2001-07/', '2001-07-01T00:00:00Z', null],
  ])('%s is from %s to %s', (text, start, end) => {
    expect(readInterval(text)).toEqual({
      startMs: start === null ? null : ms(start),
      endMs: end === null ? null : ms(end),
    });
  });

  it.each(['/', '../..', '2002/2001', '2001/2002/2003', 'soon', '2001-02-30', '2001-1'])(
    'is refused when it is "%s"',
    (text) => {
      expect(() => readInterval(text)).toThrow(
        expect.objectContaining({ code: 'invalid_request', details: { field: 'datetime' } }),
      );
    },
  );
});
