import { describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { BatchNumber, NodeId } from '../../../../protocol/wire/ids.ts';
import type { OutcomeRecord } from '../../../../protocol/wire/outcome-record.ts';
import {
  createOutcomeRecordReader,
  encodeHeartbeat,
  encodeOutcomeRecord,
  recordStatuses,
} from '../../../../protocol/wire/outcome-record.ts';

const success: OutcomeRecord = {
  kind: 'outcome',
  outcomeNumber: 2 ** 40 + 7,
  batch: 123_456 as BatchNumber,
  index: 4_999,
  status: 'success',
  attempt: 2,
  runtimeSeconds: 0.125,
  peakMemoryBytes: 2 ** 33,
  logBytes: 17,
  failure: null,
  result: Buffer.from('P42'),
};
const failure: OutcomeRecord = {
  ...success,
  status: 'oom',
  failure: {
    exception: 'MemoryLimit',
    message: 'over 2 Gi — killed',
    traceback: '',
    logTail: 'naïve\n',
    node: '12D3KooWnode' as NodeId,
  },
  result: null,
};

describe('a completion record', () => {
  it('is laid out as docs/api.md says', () => {
    const bytes = Buffer.from(encodeOutcomeRecord(success));
    expect(bytes.toString('hex')).toBe(
      [
        '00000036',
        '00',
        '0000010000000007',
        '0001e240',
        '1387',
        '00',
        '0002',
        '3fc0000000000000',
        '0000000200000000',
        '0000000000000011',
        '00000000',
        '01',
        '00000003',
        '503432',
      ].join(''),
    );
    expect(Buffer.from(encodeHeartbeat(5)).toString('hex')).toBe('00000009010000000000000005');
    expect(recordStatuses.indexOf('lost')).toBe(7);
  });

  it('comes back from any cut of its bytes', () => {
    const bytes = Buffer.concat([
      encodeOutcomeRecord(success),
      encodeHeartbeat(9),
      encodeOutcomeRecord(failure),
    ]);
    const expected = [success, { kind: 'heartbeat', outcomeNumber: 9 }, failure];
    for (let size = 1; size <= bytes.length; size += 1) {
      const reader = createOutcomeRecordReader();
      const records = [];
      for (let start = 0; start < bytes.length; start += size) {
        records.push(...reader.push(bytes.subarray(start, start + size)));
      }
      expect(records).toEqual(expected);
    }
  });

  it.each([
    ['another kind', Buffer.from('00000009020000000000000005', 'hex')],
    ['a length beyond reason', Buffer.from('ffffffff', 'hex')],
    ['a heartbeat that is too short', Buffer.from('000000080100000000000005', 'hex')],
    ['parts that are longer than the whole', cutShort()],
  ])('that is garbage is refused: %s', (_what, bytes) => {
    expect(() => createOutcomeRecordReader().push(bytes)).toThrow(PerigeeError);
  });
});

function cutShort(): Buffer {
  const bytes = Buffer.from(encodeOutcomeRecord(failure));
  bytes.writeUInt32BE(10_000, 46);
  return bytes;
}
