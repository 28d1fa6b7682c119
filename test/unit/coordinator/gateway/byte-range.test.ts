import { describe, expect, it } from 'vitest';
import { answerPart } from '../../../../coordinator/gateway/http/byte-range.ts';

const file = { sizeBytes: 100, etag: '"abc"' };
const part = (start: number, length: number) => ({ kind: 'part', range: { start, length } });

describe('a request for a part of a file', () => {
  it.each([
    ['bytes=0-9', part(0, 10)],
    ['bytes=90-', part(90, 10)],
    ['bytes=90-1000', part(90, 10)],
    ['bytes=-10', part(90, 10)],
    ['bytes=-1000', part(0, 100)],
    ['bytes=99-99', part(99, 1)],
    ['bytes=100-', { kind: 'beyond' }],
    ['bytes=-0', { kind: 'beyond' }],
    ['bytes=9-3', { kind: 'whole' }],
    ['bytes=-', { kind: 'whole' }],
    ['bytes=0-1,5-6', { kind: 'whole' }],
    ['items=0-1', { kind: 'whole' }],
    [undefined, { kind: 'whole' }],
  ])('%s is answered by what it names', (range, expected) => {
    expect(answerPart({ range }, file)).toEqual(expected);
  });

  it('is answered by the whole when it was meant for another version', () => {
    expect(answerPart({ range: 'bytes=0-9', ifRange: '"abc"' }, file)).toEqual(part(0, 10));
    expect(answerPart({ range: 'bytes=0-9', ifRange: '"x"' }, file)).toEqual({ kind: 'whole' });
  });

  it('is answered by nothing when the client has it', () => {
    for (const ifNoneMatch of ['"abc"', 'W/"abc"', '"x", "abc"', '*']) {
      expect(answerPart({ ifNoneMatch, range: 'bytes=0-9' }, file)).toEqual({ kind: 'unchanged' });
    }
    expect(answerPart({ ifNoneMatch: '"x"' }, file)).toEqual({ kind: 'whole' });
  });

  it('of an empty file is beyond it', () => {
    expect(answerPart({ range: 'bytes=0-' }, { ...file, sizeBytes: 0 })).toEqual({
      kind: 'beyond',
    });
  });
});
