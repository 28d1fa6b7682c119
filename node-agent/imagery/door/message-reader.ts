/** Cuts a connection's bytes into messages, each behind its length (u32, big-endian). */
import { messageBytesMax } from './request.ts';

const headBytes = 4;

export class MessageReader {
  #held: Buffer = Buffer.alloc(0);

  /** Adds what came; look at `isBroken` before the next `shift`. */
  push(bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
  }

  /** The next whole message; undefined while none is there. */
  shift(): Buffer | undefined {
    if (this.#held.length < headBytes) return undefined;
    const end = headBytes + this.#held.readUInt32BE(0);
    if (this.#held.length < end) return undefined;
    const message = this.#held.subarray(headBytes, end);
    this.#held = this.#held.subarray(end);
    return message;
  }

  /** Whether the next message, if its head is here, is beyond the bound. */
  get isBroken(): boolean {
    return this.#held.length >= headBytes && this.#held.readUInt32BE(0) > messageBytesMax;
  }
}

export function encodeMessage(value: object): Buffer {
  const body = Buffer.from(JSON.stringify(value));
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}
