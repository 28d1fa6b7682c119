import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { streamReadBufferBytesMax } from '../../../../protocol/net/limits.ts';
import { writeBytes } from '../../../../protocol/net/stream-bytes.ts';
import { createStreamHold } from '../../../../protocol/net/stream-hold.ts';
import type { HostPair } from './hosts.ts';
import { createHostPair } from './hosts.ts';

describe('a stream hold', () => {
  let pair: HostPair;
  beforeEach(async () => {
    pair = await createHostPair();
  });
  afterEach(async () => {
    await pair[Symbol.asyncDispose]();
  });

  it('survives a pause from within a resume, however much the peer sends', async () => {
    const { near, far } = await pair.openStream();
    const sizeBytes = 1.25 * streamReadBufferBytesMax;
    const hold = createStreamHold(far);
    let seen = 0;
    const done = Promise.withResolvers<void>();
    far.addEventListener('message', (event) => {
      seen += event.data.byteLength;
      // From the second time on this is called within `resume`, where libp2p would forget it.
      hold.pause();
      void stopsGrowing(() => far.readBufferLength).then(() => hold.resume());
      if (seen === sizeBytes) done.resolve();
    });
    far.addEventListener('close', () => done.reject(new Error(`closed after ${seen} bytes`)));
    const chunk = new Uint8Array(64 * 1024);
    const sent = writeBytes(near, Array(sizeBytes / chunk.length).fill(chunk));
    await Promise.all([sent, done.promise]);
    expect(seen).toBe(sizeBytes);
  });
});

/** Resolves once a number has not grown for a while: the sender has no window left. */
async function stopsGrowing(read: () => number): Promise<void> {
  let last = -1;
  for (let still = 0; still < 3; still += 1) {
    await new Promise((wake) => setTimeout(wake, 10));
    if (read() > last) still = 0;
    last = read();
  }
}
