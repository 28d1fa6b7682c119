/** A connection's bytes as messages behind their length (u32, big-endian) and as runs of raw bytes. */
import type { Socket } from 'node:net';
import { PerigeeError } from '../../protocol/base/errors.ts';

const headBytes = 4;

export class ConnectionReader {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  /** Nothing is read of the connection but what is asked for, and so its sender waits. */
  constructor(connection: Socket) {
    this.#source = connection[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /**
   * The next message; undefined when the connection has ended before one began.
   * @throws PerigeeError too_large, unreachable when it ends within one
   */
  async readMessage(bytesMax: number): Promise<Buffer | undefined> {
    const head = await this.#take(headBytes);
    if (head === undefined) return undefined;
    const size = head.readUInt32BE(0);
    if (size > bytesMax) {
      throw new PerigeeError('too_large', `A message of ${size} bytes is over ${bytesMax}.`);
    }
    const body = await this.#take(size);
    if (body === undefined) throw ended();
    return body;
  }

  /**
   * Exactly so many bytes, in pieces.
   * @throws PerigeeError unreachable when the connection ends before that
   */
  async *readBytes(sizeBytes: number): AsyncGenerator<Buffer, void, undefined> {
    let left = sizeBytes;
    while (left > 0) {
      if (this.#held.length === 0 && !(await this.#fill())) throw ended();
      const piece = this.#held.subarray(0, left);
      this.#held = this.#held.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  /** Reads to the end, so that a sender who is still writing comes to read what it was answered. */
  async discard(): Promise<void> {
    while ((await this.#source.next()).done !== true);
  }

  async #take(size: number): Promise<Buffer | undefined> {
    while (this.#held.length < size) {
      if (await this.#fill()) continue;
      if (this.#held.length > 0) throw ended();
      return undefined;
    }
    const taken = this.#held.subarray(0, size);
    this.#held = this.#held.subarray(size);
    return taken;
  }

  async #fill(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done === true) return false;
    this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
    return true;
  }
}

function ended(): PerigeeError {
  return new PerigeeError('unreachable', 'The task closed the connection within an output.');
}
