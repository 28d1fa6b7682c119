import { describe, expect, it } from 'vitest';
import { collect, durationSeconds, wholeNumber } from '../../../../sdk/cli/options.ts';

describe('options', () => {
  it.each([
    ['90', 90],
    ['90s', 90],
    ['15m', 900],
    ['2h', 7_200],
    ['30d', 2_592_000],
    ['1w', 604_800],
  ])('reads the duration %s', (text, seconds) => expect(durationSeconds(text)).toBe(seconds));

  it.each(['', 'h', '1.5h', '-1s', '1y', '1h30m'])('refuses the duration "%s"', (text) => {
    expect(() => durationSeconds(text)).toThrow('is not a duration');
  });

  it('reads whole numbers within their bounds only', () => {
    const read = wholeNumber(1, 10);
    expect(read('10')).toBe(10);
    for (const text of ['0', '11', '1.5', '1e1', '', ' 1', '0x1']) {
      expect(() => read(text)).toThrow('is not a whole number from 1 to 10.');
    }
  });

  it('collects what is given more than once, in order', () => {
    expect(collect('b', collect('a', undefined))).toEqual(['a', 'b']);
  });
});
