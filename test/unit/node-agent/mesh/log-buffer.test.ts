import { describe, expect, it } from 'vitest';
import { createLogBuffer } from '../../../../node-agent/mesh/log-buffer.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** What a reader of everything kept sees, gaps as `offset:`. */
function readAll(buffer: ReturnType<typeof createLogBuffer>): string {
  let text = '';
  let offset = 0;
  for (let piece = buffer.find(offset, 1_000_000); piece !== undefined; ) {
    if (piece.offset > offset) text += ` …${piece.offset}:`;
    text += new TextDecoder().decode(piece.bytes);
    offset = piece.offset + piece.bytes.length;
    piece = buffer.find(offset, 1_000_000);
  }
  return text;
}

/** Pieces of `size` letters, a new letter for each. */
function fill(buffer: ReturnType<typeof createLogBuffer>, count: number, size: number): void {
  for (let index = 0; index < count; index += 1) {
    const letter = String.fromCharCode(97 + index);
    buffer.append({ offset: index * size, bytes: bytes(letter.repeat(size)) });
  }
}

describe('a log buffer', () => {
  it('keeps everything while it fits', () => {
    const buffer = createLogBuffer({ headBytes: 10, tailBytes: 10 });
    buffer.append({ offset: 0, bytes: bytes('hello ') });
    buffer.append({ offset: 6, bytes: bytes('world') });
    expect(readAll(buffer)).toBe('hello world');
    expect(buffer.endOffset).toBe(11);
  });

  it('keeps the head and the tail of a long output, and drops between', () => {
    const size = 5_000;
    const buffer = createLogBuffer({ headBytes: size, tailBytes: 2 * size });
    fill(buffer, 8, size);
    const shown = readAll(buffer).replace(/([a-z])\1+/g, '$1');
    expect(shown).toBe('a …30000:gh');
    expect(buffer.heldBytes).toBe(3 * size);
    expect(buffer.endOffset).toBe(8 * size);
  });

  it('answers from any offset, at most as much as was asked for', () => {
    const buffer = createLogBuffer({ headBytes: 100, tailBytes: 100 });
    buffer.append({ offset: 0, bytes: bytes('0123456789') });
    expect(buffer.find(3, 4)).toEqual({ offset: 3, bytes: bytes('3456') });
    expect(buffer.find(10, 4)).toBeUndefined();
  });

  it('takes a gap that its source left', () => {
    const buffer = createLogBuffer({ headBytes: 100, tailBytes: 100 });
    buffer.append({ offset: 0, bytes: bytes('ab') });
    buffer.append({ offset: 10, bytes: bytes('cd') });
    expect(readAll(buffer)).toBe('ab …10:cd');
    expect(buffer.endOffset).toBe(12);
  });

  it('ignores output that it has already', () => {
    const buffer = createLogBuffer({ headBytes: 100, tailBytes: 100 });
    buffer.append({ offset: 0, bytes: bytes('abc') });
    buffer.append({ offset: 1, bytes: bytes('xx') });
    expect(readAll(buffer)).toBe('abc');
  });

  it('goes on dropping from the middle after its sent part was dropped', () => {
    const size = 5_000;
    const buffer = createLogBuffer({ headBytes: 2 * size, tailBytes: 2 * size });
    fill(buffer, 4, size);
    buffer.dropBelow(size);
    expect(buffer.heldBytes).toBe(3 * size);
    for (let index = 4; index < 8; index += 1) {
      buffer.append({ offset: index * size, bytes: bytes('z'.repeat(size)) });
    }
    expect(buffer.heldBytes).toBe(3 * size);
  });
});
