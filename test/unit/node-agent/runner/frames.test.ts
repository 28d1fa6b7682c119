import { describe, expect, it } from 'vitest';
import type { HarnessFrame } from '../../../../node-agent/runner/frames.ts';
import { HarnessFrameError, HarnessFrameReader } from '../../../../node-agent/runner/frames.ts';
import { nextBelow, seedRandom } from '../../../../protocol/base/random.ts';

function frame(kind: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(1 + body.length, 0);
  head.write(kind, 4, 'latin1');
  return Buffer.concat([head, body]);
}

function done(options: { status: number; flags?: number; seconds?: number; body: Buffer }): Buffer {
  const head = Buffer.alloc(22);
  head.writeUInt32BE(7, 0);
  head.writeUInt8(options.status, 4);
  head.writeUInt8(options.flags ?? 0, 5);
  head.writeDoubleBE(options.seconds ?? 0.5, 6);
  head.writeBigUInt64BE(1000n, 14);
  return frame('D', Buffer.concat([head, options.body]));
}

function read(bytes: Buffer, pieceBytes = bytes.length): HarnessFrame[] {
  const reader = new HarnessFrameReader();
  const frames: HarnessFrame[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    frames.push(...reader.push(bytes.subarray(at, at + pieceBytes)));
  }
  return frames;
}

const success = done({ status: 0, body: Buffer.from('J12') });

describe('frames from the harness', () => {
  it('are the same however the bytes are cut', () => {
    const part = frame('P', Buffer.concat([Buffer.from([0, 0, 0, 7]), Buffer.alloc(300, 'x')]));
    const bytes = Buffer.concat([frame('R', Buffer.from('{}')), part, success]);
    const whole = read(bytes);
    expect(whole.map((one) => one.kind)).toEqual(['ready', 'part', 'done']);
    for (const size of [1, 2, 3, 7, 100]) expect(read(bytes, size)).toEqual(whole);
  });

  it('tell how a task ended', () => {
    expect(read(success)).toEqual([
      {
        kind: 'done',
        task: 7,
        runtimeMs: 500,
        peakMemoryBytes: 1000,
        wroteOutput: false,
        outcome: { kind: 'success', payload: Buffer.from('J12') },
      },
    ]);
    const failure = { name: 'A', message: 'b', traceback: 'c' };
    const failed = done({ status: 1, flags: 1, body: Buffer.from(JSON.stringify(failure)) });
    expect(read(failed)[0]).toMatchObject({
      wroteOutput: true,
      outcome: { kind: 'exception', failure },
    });
    const inParts = done({ status: 0, flags: 2, body: Buffer.from('P') });
    expect(read(inParts)[0]).toMatchObject({ outcome: { kind: 'successInParts', tag: 0x50 } });
  });

  it.each<[string, Buffer]>([
    ['an unknown kind', frame('Z', Buffer.alloc(4))],
    ['no length', Buffer.alloc(8)],
    ['a length beyond the bound', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ['a blob reference as a result', done({ status: 0, body: Buffer.from('Babc') })],
    ['an empty result', done({ status: 0, body: Buffer.alloc(0) })],
    [
      'an inline result above the inline bound',
      done({ status: 0, body: Buffer.alloc(70_000, 'P') }),
    ],
    ['an unknown status', done({ status: 2, body: Buffer.from('J1') })],
    ['a run time that is no number', done({ status: 0, seconds: Number.NaN, body: success })],
    ['a negative run time', done({ status: 0, seconds: -1, body: success })],
    ['a failure that is not JSON', done({ status: 1, body: Buffer.from('{') })],
    ['a failure that is no object', done({ status: 1, body: Buffer.from('null') })],
    ['a failure nested a million deep', done({ status: 1, body: Buffer.alloc(1_000_000, '[') })],
    ['a short end of a task', frame('D', Buffer.alloc(5))],
    ['an empty part', frame('P', Buffer.alloc(4))],
  ])('refuse %s', (_, bytes) => {
    expect(() => read(bytes)).toThrow(HarnessFrameError);
  });

  it('keep texts in their bounds and of the right type', () => {
    const failure = { name: 'x'.repeat(1000), message: 5, traceback: ['no'] };
    const [one] = read(done({ status: 1, body: Buffer.from(JSON.stringify(failure)) }));
    expect(one).toMatchObject({
      outcome: { failure: { name: 'x'.repeat(200), message: '', traceback: '' } },
    });
  });

  it('throw nothing but their own error at random bytes', () => {
    const random = seedRandom(4);
    for (let round = 0; round < 2_000; round += 1) {
      const bytes = Buffer.from(success);
      for (let flips = 0; flips < 3; flips += 1) {
        bytes[nextBelow(random, bytes.length)] = nextBelow(random, 256);
      }
      try {
        read(bytes, 1 + nextBelow(random, 9));
      } catch (caught) {
        expect(caught).toBeInstanceOf(HarnessFrameError);
      }
    }
  });
});
