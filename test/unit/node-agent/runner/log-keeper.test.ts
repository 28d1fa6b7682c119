import { beforeEach, describe, expect, it } from 'vitest';
import { LogKeeper } from '../../../../node-agent/runner/log-keeper.ts';
import { logChunkBytesMax, logHeadBytes, logTailBytes } from '../../../../protocol/wire/limits.ts';

const mib = 1024 * 1024;

describe('a log keeper', () => {
  let passed: { offset: number; bytes: Buffer }[];
  let keeper: LogKeeper;

  beforeEach(() => {
    passed = [];
    keeper = new LogKeeper((offset, bytes) => passed.push({ offset, bytes }), 0);
  });

  const passedBytes = () => passed.reduce((sum, piece) => sum + piece.bytes.length, 0);

  it('passes the start on at once, with offsets, in pieces of bounded size', () => {
    keeper.write(Buffer.alloc(logHeadBytes, 'a'), 0);
    expect(passedBytes()).toBe(logHeadBytes);
    expect(Math.max(...passed.map((piece) => piece.bytes.length))).toBe(logChunkBytesMax);
    expect(passed[1]?.offset).toBe(logChunkBytesMax);
  });

  it('passes a burst on, then holds back and passes on with time', () => {
    keeper.write(Buffer.alloc(logHeadBytes + 3 * mib), 0);
    expect(passedBytes()).toBe(logHeadBytes + 1 * mib);
    expect(keeper.isWaiting).toBe(true);
    keeper.pass(500);
    expect(passedBytes()).toBe(logHeadBytes + 1.5 * mib);
    keeper.pass(60_000);
    expect(passedBytes()).toBe(logHeadBytes + 2.5 * mib);
  });

  it('never holds more than the end that is kept, and never loses the end', () => {
    const line = Buffer.alloc(64 * 1024, 'x');
    for (let written = 0; written < 64 * mib; written += line.length) keeper.write(line, 0);
    keeper.write(Buffer.from('the end'), 0);
    keeper.end();
    expect(keeper.totalBytes).toBe(64 * mib + 7);
    expect(passedBytes()).toBe(logHeadBytes + 1 * mib + logTailBytes);
    const last = passed.at(-1);
    expect(last?.bytes.toString().endsWith('the end')).toBe(true);
    expect((last?.offset ?? 0) + (last?.bytes.length ?? 0)).toBe(keeper.totalBytes);
  });

  it('passes every byte on once, in order, with true offsets, when nothing is cut', () => {
    const source = Buffer.from(Array.from({ length: 3 * mib }, (_, index) => index % 251));
    for (let at = 0, now = 0; at < source.length; at += 10_007, now += 7) {
      keeper.write(source.subarray(at, at + 10_007), now);
    }
    keeper.end();
    const whole = Buffer.concat(passed.map((piece) => piece.bytes));
    expect(whole.equals(source)).toBe(true);
    let offset = 0;
    for (const piece of passed) {
      expect(piece.offset).toBe(offset);
      offset += piece.bytes.length;
    }
  });
});
