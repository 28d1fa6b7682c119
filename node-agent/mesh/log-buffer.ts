/**
 * The output of one attempt as the agent keeps it until its report is acknowledged: the first
 * `headBytes` and the last `tailBytes`; what lies between is dropped as it leaves the tail.
 */

/** A piece of output; `offset` counts all bytes of the attempt, dropped ones too. */
export interface LogPiece {
  offset: number;
  bytes: Uint8Array;
}

export interface LogBuffer {
  /** All bytes of output so far. */
  readonly endOffset: number;
  /** Bytes in memory. */
  readonly heldBytes: number;
  append(piece: LogPiece): void;
  /** Kept output at or behind `offset`, at most `bytesMax` of it in one run; undefined when there is none. */
  find(offset: number, bytesMax: number): LogPiece | undefined;
  /** Drops what lies below an offset: the coordinator has it. */
  dropBelow(offset: number): void;
}

/** Below this, pieces are joined: a byte at a time would cost an object each. */
const joinBytes = 4 * 1024;

/** An empty buffer. */
export function createLogBuffer(bounds: { headBytes: number; tailBytes: number }): LogBuffer {
  let pieces: LogPiece[] = [];
  let endOffset = 0;
  let heldBytes = 0;
  /** Index of the first piece behind the head; only those are ever dropped for room. */
  let tailStart = 0;

  const trim = (): void => {
    while (tailStart < pieces.length) {
      const piece = pieces[tailStart];
      if (piece === undefined || piece.offset >= bounds.headBytes) break;
      tailStart += 1;
    }
    let dropped = 0;
    for (let at = tailStart; at < pieces.length; at += 1) {
      const piece = pieces[at];
      if (piece === undefined) break;
      if (piece.offset + piece.bytes.length > endOffset - bounds.tailBytes) break;
      heldBytes -= piece.bytes.length;
      dropped += 1;
    }
    if (dropped > 0) pieces.splice(tailStart, dropped);
  };

  return {
    get endOffset() {
      return endOffset;
    },
    get heldBytes() {
      return heldBytes;
    },
    append(piece) {
      if (piece.bytes.length === 0 || piece.offset < endOffset) return;
      const last = pieces.at(-1);
      const isNext = last !== undefined && last.offset + last.bytes.length === piece.offset;
      if (isNext && last.bytes.length + piece.bytes.length <= joinBytes) {
        last.bytes = Buffer.concat([last.bytes, piece.bytes]);
      } else pieces.push({ offset: piece.offset, bytes: piece.bytes });
      endOffset = piece.offset + piece.bytes.length;
      heldBytes += piece.bytes.length;
      trim();
    },
    find(offset, bytesMax) {
      for (const piece of pieces) {
        const end = piece.offset + piece.bytes.length;
        if (end <= offset) continue;
        const start = Math.max(offset - piece.offset, 0);
        const bytes = piece.bytes.subarray(start, start + bytesMax);
        return { offset: piece.offset + start, bytes };
      }
      return undefined;
    },
    dropBelow(offset) {
      const kept = pieces.filter((piece) => piece.offset + piece.bytes.length > offset);
      tailStart = Math.max(tailStart - (pieces.length - kept.length), 0);
      pieces = kept;
      heldBytes = kept.reduce((sum, piece) => sum + piece.bytes.length, 0);
    },
  };
}
