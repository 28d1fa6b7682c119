import { describe, expect, it } from 'vitest';
import { encodeBlock, indexBlock, payloadAt, sliceBlock } from '../../../../protocol/wire/block.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);

describe('a block', () => {
  const payloads = [bytes(0x50, 1, 2), bytes(), bytes(0x4a), bytes(0x50, 9, 9, 9, 9)];
  const block = encodeBlock(payloads);

  it('gives back each payload that was put in', () => {
    const offsets = indexBlock(block, payloads.length);
    payloads.forEach((payload, index) => {
      expect(payloadAt(block, offsets, index)).toEqual(payload);
    });
  });

  it('cuts a run that is itself a block', () => {
    const offsets = indexBlock(block, payloads.length);
    const run = sliceBlock(block, offsets, { lo: 1, count: 2 });
    expect(run).toEqual(encodeBlock(payloads.slice(1, 3)));
  });

  it('refuses a count that is not the number of its payloads', () => {
    expect(() => indexBlock(block, 3)).toThrow(/exactly 3/);
    expect(() => indexBlock(block, 5)).toThrow(/exactly 5/);
  });

  it('refuses a length that runs past its end', () => {
    const broken = block.slice(0, block.length - 1);
    expect(() => indexBlock(broken, payloads.length)).toThrow(/exactly 4/);
  });
});
