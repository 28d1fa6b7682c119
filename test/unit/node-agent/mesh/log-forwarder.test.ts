import { describe, expect, it } from 'vitest';
import { createLogForwarder } from '../../../../node-agent/mesh/log-forwarder.ts';
import { logChunkBytesMax, logHeadBytes } from '../../../../protocol/wire/limits.ts';
import { ref } from '../core/core-bench.ts';

const mib = 1024 * 1024;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function createForwarder(change: { logBytesMax?: number; liveBytesPerSecond?: number } = {}) {
  return createLogForwarder({ logBytesMax: 64 * mib, liveBytesPerSecond: mib, ...change });
}

/** Output of one attempt in pieces of a quarter MiB, from `offset` on. */
function flood(logs: ReturnType<typeof createForwarder>, bytes: number, offset = 0): void {
  const piece = new Uint8Array(mib / 4);
  for (let at = offset; at < offset + bytes; at += piece.length) {
    logs.append(ref(0), { offset: at, bytes: piece });
  }
}

describe('a log forwarder', () => {
  it('sends each byte once', () => {
    const logs = createForwarder();
    logs.append(ref(0), { offset: 0, bytes: text('one ') });
    logs.append(ref(1), { offset: 0, bytes: text('other') });
    expect(logs.takeLive(0)).toEqual({
      kind: 'log',
      chunks: [
        { ...ref(0), offset: 0, bytes: text('one ') },
        { ...ref(1), offset: 0, bytes: text('other') },
      ],
    });
    expect(logs.takeLive(0)).toBeUndefined();
    expect(logs.hasUnsent).toBe(false);
    logs.append(ref(0), { offset: 4, bytes: text('two') });
    const [rest] = logs.takeRest([ref(0)])?.chunks ?? [];
    expect(rest).toMatchObject({ ...ref(0), offset: 4 });
    expect(String(rest?.bytes)).toBe('two');
  });

  it('cuts chunks and messages to what the coordinator takes', () => {
    const logs = createForwarder();
    logs.append(ref(0), { offset: 0, bytes: new Uint8Array(3 * mib) });
    const sizes: number[] = [];
    for (let message = logs.takeRest([ref(0)]); message; message = logs.takeRest([ref(0)])) {
      sizes.push(message.chunks.reduce((sum, { bytes }) => sum + bytes.length, 0));
      for (const { bytes } of message.chunks)
        expect(bytes.length).toBeLessThanOrEqual(logChunkBytesMax);
    }
    expect(sizes).toEqual([mib, mib, mib]);
  });

  it('sends a flood’s head at once, then so much a second, and its rest before the report', () => {
    const logs = createForwarder({ liveBytesPerSecond: mib / 2 });
    flood(logs, 4 * mib);
    const takeAll = (now: number): number => {
      let bytes = 0;
      for (let message = logs.takeLive(now); message; message = logs.takeLive(now)) {
        for (const chunk of message.chunks) bytes += chunk.bytes.length;
      }
      return bytes;
    };
    expect(takeAll(5_000)).toBe(logHeadBytes + mib / 2);
    expect(takeAll(5_900)).toBe(0);
    expect(takeAll(6_100)).toBe(mib / 2);
    let rest = 0;
    for (let message = logs.takeRest([ref(0)]); message; message = logs.takeRest([ref(0)])) {
      for (const chunk of message.chunks) rest += chunk.bytes.length;
    }
    expect(rest).toBe(2 * mib);
  });

  it('starts a new session from what the coordinator has of each attempt', () => {
    const logs = createForwarder();
    logs.append(ref(0), { offset: 0, bytes: text('abcdef') });
    logs.append(ref(1), { offset: 0, bytes: text('xyz') });
    logs.takeLive(0);
    logs.resume([{ ...ref(0), offset: 4 }]);
    expect(logs.takeLive(0)?.chunks).toEqual([
      { ...ref(0), offset: 4, bytes: text('ef') },
      { ...ref(1), offset: 0, bytes: text('xyz') },
    ]);
  });

  it('forgets what was acknowledged', () => {
    const logs = createForwarder();
    logs.append(ref(0), { offset: 0, bytes: text('abc') });
    logs.forget([ref(0)]);
    logs.resume([]);
    expect(logs.takeLive(0)).toBeUndefined();
  });

  it('drops what was sent when memory is short, never what was not', () => {
    const logs = createForwarder({ logBytesMax: 2 * mib });
    flood(logs, mib);
    logs.takeRest([ref(0)]);
    logs.append(ref(1), { offset: 0, bytes: new Uint8Array(mib + 1) });
    logs.append(ref(2), { offset: 0, bytes: text('last') });
    logs.resume([]);
    const attempts = logs.takeRest([ref(0), ref(2)])?.chunks.map(({ index }) => index);
    expect(attempts).toEqual([2]);
  });
});
