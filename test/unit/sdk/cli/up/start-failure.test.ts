import { describe, expect, it } from 'vitest';
import {
  describeStartFailure,
  isWorthRestarting,
  renderLogLine,
} from '../../../../../sdk/cli/up/start-failure.ts';

describe('describeStartFailure', () => {
  it('takes the code, the words and the fix that the coordinator gave', () => {
    const lines = [
      'noise',
      '{"level":60,"code":"data_locked","msg":"Held by 12.","fix":"Stop 12."}',
    ];
    const error = describeStartFailure(lines, 'exited with status 6');
    expect(error).toMatchObject({ code: 'data_locked', message: 'Held by 12.', fix: 'Stop 12.' });
    expect(isWorthRestarting(error)).toBe(false);
  });

  it('quotes what it cannot read', () => {
    const error = describeStartFailure(
      ['Segmentation fault', '{"code":"unheard_of"}'],
      'was killed by SIGSEGV',
    );
    expect(error.code).toBe('internal');
    expect(error.message).toContain('was killed by SIGSEGV before it was ready.');
    expect(error.message).toContain('Segmentation fault');
    expect(isWorthRestarting(error)).toBe(true);
  });
});

describe('renderLogLine', () => {
  it('shows what is at the level or above, with its fields', () => {
    const line = '{"level":40,"time":1,"pid":2,"msg":"disk is filling","free":12}';
    expect(renderLogLine(line, 40)).toBe('coordinator: disk is filling {"free":12}');
    expect(renderLogLine(line, 50)).toBeUndefined();
  });

  it('passes on what is no log line, but nothing empty', () => {
    expect(renderLogLine('panic!', 60)).toBe('coordinator: panic!');
    expect(renderLogLine('  ', 10)).toBeUndefined();
  });
});
