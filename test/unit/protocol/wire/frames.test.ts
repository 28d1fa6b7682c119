import { describe, expect, it } from 'vitest';
import { nextBelow, seedRandom } from '../../../../protocol/base/random.ts';
import { createFrameReader, encodeFrame } from '../../../../protocol/wire/frames.ts';

describe('a frame reader', () => {
  it('gives the same bodies however the bytes are cut', () => {
    const random = seedRandom(7);
    for (let round = 0; round < 200; round += 1) {
      const bodies = Array.from({ length: 1 + nextBelow(random, 6) }, () =>
        Uint8Array.from({ length: nextBelow(random, 40) }, () => nextBelow(random, 256)),
      );
      const stream = Buffer.concat(bodies.map(encodeFrame));
      const reader = createFrameReader(64);
      const read: Uint8Array[] = [];
      let position = 0;
      while (position < stream.length) {
        const end = Math.min(stream.length, position + 1 + nextBelow(random, 9));
        for (const body of reader.push(stream.subarray(position, end)))
          read.push(Uint8Array.from(body));
        position = end;
      }
      expect(read).toEqual(bodies);
      expect(reader.rest().length).toBe(0);
    }
  });

  it('refuses a frame over the bound before its body arrives', () => {
    const reader = createFrameReader(10);
    expect(() => reader.push(Uint8Array.from([0, 0, 0, 11]))).toThrow(/over the limit of 10/);
  });
});
