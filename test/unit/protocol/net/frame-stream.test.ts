import type { Stream } from '@libp2p/interface';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { FrameStream, FrameStreamSettings } from '../../../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../../../protocol/net/frame-stream.ts';
import type { HostPair } from './hosts.ts';
import { createHostPair } from './hosts.ts';

/** One end with everything that it heard. */
interface Ear {
  frames: FrameStream;
  messages: unknown[];
  closed: Promise<Error | undefined>;
  heard(count: number): Promise<unknown[]>;
}

function listen(stream: Stream, settings: Partial<FrameStreamSettings> = {}): Ear {
  const messages: unknown[] = [];
  let waiting: { count: number; resolve(): void } | undefined;
  const { promise: closed, resolve: onClose } = Promise.withResolvers<Error | undefined>();
  const frames = createFrameStream(stream, {
    onMessage(message) {
      messages.push(message);
      if (waiting !== undefined && messages.length >= waiting.count) waiting.resolve();
    },
    onClose,
    ...settings,
  });
  return {
    frames,
    messages,
    closed,
    async heard(count) {
      if (messages.length < count) {
        await new Promise<void>((resolve) => {
          waiting = { count, resolve };
        });
      }
      return messages;
    },
  };
}

/** Counts the writes that reach libp2p. */
function countSends(stream: Stream): () => number {
  let count = 0;
  const send = stream.send.bind(stream);
  stream.send = (data) => {
    count += 1;
    return send(data);
  };
  return () => count;
}

describe('frame stream', () => {
  let pair: HostPair;
  let near: Stream;
  let far: Stream;
  beforeEach(async () => {
    pair = await createHostPair();
    ({ near, far } = await pair.openStream());
  });
  afterEach(async () => {
    await pair[Symbol.asyncDispose]();
  });

  it('carries messages both ways in order', async () => {
    const one = listen(near);
    const other = listen(far);
    one.frames.send({ kind: 'hello', bytes: new Uint8Array([1, 2, 3]), text: 'ü' });
    one.frames.send([1, null, true]);
    other.frames.send({ kind: 'welcome' });
    expect(await other.heard(2)).toEqual([
      { kind: 'hello', bytes: Buffer.from([1, 2, 3]), text: 'ü' },
      [1, null, true],
    ]);
    expect(await one.heard(1)).toEqual([{ kind: 'welcome' }]);
  });

  it('writes once for all messages of one turn', async () => {
    const sends = countSends(near);
    const one = listen(near);
    const other = listen(far);
    for (let number = 0; number < 100; number += 1) one.frames.send({ number });
    expect(sends()).toBe(0);
    await other.heard(100);
    expect(sends()).toBe(1);
    expect(other.messages.at(-1)).toEqual({ number: 99 });
  });

  it('carries messages of many times the window', async () => {
    const one = listen(near);
    const other = listen(far);
    const bytes = Buffer.alloc(5 * 1024 ** 2, 7);
    for (let number = 0; number < 6; number += 1) one.frames.send({ number, bytes });
    const heard = await other.heard(6);
    expect(heard.at(-1)).toEqual({ number: 5, bytes });
    await one.frames.drained();
    expect(one.frames.queuedBytes).toBe(0);
  });

  it('tells the sender that the peer is behind, and when it is not any more', async () => {
    const one = listen(near);
    const other = listen(far);
    other.frames.pause();
    const bytes = Buffer.alloc(1024 ** 2);
    const { promise: held, resolve } = Promise.withResolvers<void>();
    const fill = (): void => {
      if (!one.frames.send({ bytes })) resolve();
      else setImmediate(fill);
    };
    fill();
    await held;
    expect(one.frames.queuedBytes).toBeGreaterThan(0);
    other.frames.resume();
    await one.frames.drained();
    expect(one.frames.queuedBytes).toBe(0);
    expect(one.frames.send({ last: true })).toBe(true);
    const isLast = (message: unknown): boolean =>
      typeof message === 'object' && message !== null && 'last' in message;
    await expect.poll(() => other.messages.some(isLast)).toBe(true);
  });

  it('closes a stream whose peer is behind by more than the bound', async () => {
    const one = listen(near, { queuedBytesMax: 2 * 1024 ** 2 });
    const other = listen(far);
    other.frames.pause();
    const bytes = Buffer.alloc(1024 ** 2);
    const fill = (): void => {
      one.frames.send({ bytes });
      if (one.frames.isOpen) setImmediate(fill);
    };
    fill();
    expect(await one.closed).toMatchObject({ code: 'unreachable' });
    expect(one.frames.send({ late: true })).toBe(false);
  });

  it('closes on a frame over the limit, before it is read', async () => {
    const other = listen(far, { frameBytesMax: 1_000 });
    const one = listen(near);
    one.frames.send({ bytes: Buffer.alloc(2_000) });
    expect(await other.closed).toMatchObject({ code: 'frame_invalid' });
    expect(other.messages).toEqual([]);
    expect(await one.closed).toBeInstanceOf(Error);
  });

  it('refuses to send what the peer would refuse', () => {
    const one = listen(near, { frameBytesMax: 1_000 });
    expect(() => one.frames.send({ bytes: Buffer.alloc(2_000) })).toThrow(PerigeeError);
    expect(one.frames.isOpen).toBe(true);
  });

  it('closes on bytes that are not msgpack', async () => {
    const other = listen(far);
    near.send(new Uint8Array([0, 0, 0, 2, 0xc1, 0xc1]));
    expect(await other.closed).toMatchObject({ code: 'frame_invalid' });
  });

  it.each([
    { what: 'are not msgpack', bytes: [0, 0, 0, 2, 0xc1, 0xc1] },
    { what: 'announce a frame over the limit', bytes: [0xff, 0xff, 0xff, 0xff, 1, 2] },
  ])('leaves the last word to an owner that wants it when bytes $what', async ({ bytes }) => {
    const refusals: PerigeeError[] = [];
    const other = listen(far, {
      onInvalid(error) {
        refusals.push(error);
        other.frames.send({ kind: 'refused', code: error.code });
        void other.frames.close();
      },
    });
    const one = listen(near);
    // What follows garbage is not read, however well-formed it is.
    near.send(new Uint8Array([...bytes, 0, 0, 0, 1, 0x80]));
    expect(await one.heard(1)).toEqual([{ kind: 'refused', code: 'frame_invalid' }]);
    await Promise.all([one.closed, other.closed]);
    expect(refusals).toHaveLength(1);
    expect(other.messages).toEqual([]);
  });

  it('closes with the error of an owner that refuses a message', async () => {
    const refusal = new PerigeeError('frame_invalid', 'nonsense');
    const other = listen(far, {
      onMessage() {
        throw refusal;
      },
    });
    const one = listen(near);
    one.frames.send({});
    expect(await other.closed).toBe(refusal);
  });

  it('sends what is queued before it closes, and tells both ends once', async () => {
    const one = listen(near);
    const other = listen(far);
    one.frames.send({ kind: 'goodbye' });
    await one.frames.close();
    await one.frames.close();
    expect(await other.heard(1)).toEqual([{ kind: 'goodbye' }]);
    expect(await other.closed).toBeUndefined();
    expect(await one.closed).toBeUndefined();
    expect([one.frames.isOpen, other.frames.isOpen]).toEqual([false, false]);
  });

  it('hears of a connection that breaks', async () => {
    const one = listen(near);
    const other = listen(far);
    await pair.client.stop();
    await other.closed;
    expect(other.frames.isOpen).toBe(false);
    await one.closed;
  });
});
