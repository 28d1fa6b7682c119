import { describe, expect, it } from 'vitest';
import {
  countOf,
  formatBytes,
  formatCount,
  formatSeconds,
  formatTime,
} from '../../../../../sdk/cli/output/units.ts';

describe('units', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [200 * 1024 ** 2, '200 MiB'],
    [2 ** 31, '2.0 GiB'],
  ])('shows %d bytes as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it.each([
    [0.0004, '0 ms'],
    [0.85, '850 ms'],
    [4.04, '4.0 s'],
    [59.4, '59 s'],
    [60, '1 min'],
    [245, '4 min 5 s'],
    [3 * 3600 + 125, '3 h 2 min'],
    [2 * 86_400 + 4 * 3600, '2 d 4 h'],
  ])('shows %d s as %s', (seconds, text) => expect(formatSeconds(seconds)).toBe(text));

  it('groups digits and counts nouns', () => {
    expect(formatCount(41_210)).toBe('41,210');
    expect(formatCount(999)).toBe('999');
    expect(countOf(1, 'task')).toBe('1 task');
    expect(countOf(1_000, 'task')).toBe('1,000 tasks');
  });

  it('tells times relative to a person and as they are to a program', () => {
    const at = '2026-01-01T00:00:00.000Z';
    const nowMs = Date.parse('2026-01-01T00:03:10Z');
    expect(formatTime(at, { isRelative: true, nowMs })).toBe('3 min ago');
    expect(formatTime(at, { isRelative: false, nowMs })).toBe(at);
    expect(formatTime('2026-01-03T00:04:00Z', { isRelative: true, nowMs })).toBe('in 2 d');
    expect(formatTime(null, { isRelative: true, nowMs })).toBe('-');
  });
});
