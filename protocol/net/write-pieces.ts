/** Writes what comes through a stream to a file, many pieces at a time. */
import type { FileHandle } from 'node:fs/promises';
import { writtenTogetherBytes } from './limits.ts';

/**
 * Writes all of it; what has come before the source fails is written too. Pieces as they come through
 * libp2p are short: each by itself would cost a way through the thread pool.
 * @throws Error of the file system, or of the source.
 */
export async function writePieces(
  file: FileHandle,
  source: AsyncIterable<Uint8Array>,
): Promise<void> {
  let pieces: Uint8Array[] = [];
  let held = 0;
  const flush = async (): Promise<void> => {
    const taken = pieces;
    const size = held;
    pieces = [];
    held = 0;
    if (size === 0) return;
    const { bytesWritten } = await file.writev(taken);
    // A full disk takes a part, and says why when it is asked to take the rest.
    if (bytesWritten < size) await file.writeFile(Buffer.concat(taken).subarray(bytesWritten));
  };
  try {
    for await (const piece of source) {
      pieces.push(piece);
      held += piece.length;
      if (held >= writtenTogetherBytes) await flush();
    }
  } finally {
    await flush();
  }
}
