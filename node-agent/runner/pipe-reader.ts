/**
 * The reading end of a named pipe from a worker. Its output comes by one, since user code may open
 * `/dev/stdout`, which a socket (what Node gives as a pipe) refuses; its results by another, since
 * the two must be read in step, now and not at the event loop's next turn.
 */
import { execFile } from 'node:child_process';
import { chownSync, closeSync, constants, openSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { promisify } from 'node:util';
import type { SlotIdentity } from './slot-identity.ts';

/** What a full pipe holds, and so the most that one read can take. */
const readBytesMax = 64 * 1024;
/** Of results: the harness widens their pipe when one is large. */
export const resultReadBytes = 256 * 1024;
/** Of output in one period: a flood at 100 MB/s costs the agent a few percent of a core, no more. */
export const floodBytesMax = 1024 * 1024;
const periodMs = 10;

export class PipeReader {
  readonly #socket: Socket;
  readonly #fd: number;
  readonly #onBytes: (bytes: Buffer) => void;
  readonly #periodBytesMax: number;
  readonly #drainBuffer = Buffer.allocUnsafe(readBytesMax);
  #periodBytes = 0;
  #pause: NodeJS.Timeout | null = null;
  #ended = false;
  /** Resolves when every writer is gone and all has been read, or when it was closed. */
  readonly ended: Promise<void>;

  constructor(
    fd: number,
    onBytes: (bytes: Buffer) => void,
    options: { periodBytesMax: number; readBytes?: number },
  ) {
    this.#fd = fd;
    this.#onBytes = onBytes;
    this.#periodBytesMax = options.periodBytesMax;
    const buffer = Buffer.allocUnsafe(options.readBytes ?? readBytesMax);
    this.#socket = new Socket({
      fd,
      readable: true,
      writable: false,
      onread: {
        buffer,
        callback: (size) => this.#read(Buffer.from(buffer.subarray(0, size))),
      },
    });
    this.ended = new Promise((resolve) => {
      this.#socket.once('close', () => {
        this.#ended = true;
        if (this.#pause !== null) clearTimeout(this.#pause);
        resolve();
      });
    });
    this.#socket.on('end', () => this.#socket.destroy());
    // Its end is what matters, and 'close' tells it.
    this.#socket.on('error', () => {});
    this.#socket.resume();
  }

  /** Takes what is in the pipe now, up to a bound, before it returns. */
  drain(bytesMax = readBytesMax): void {
    let left = bytesMax;
    while (!this.#ended && left > 0) {
      let size: number;
      try {
        size = readSync(this.#fd, this.#drainBuffer, 0, Math.min(left, readBytesMax), null);
      } catch {
        // EAGAIN: it is empty.
        return;
      }
      if (size === 0) return;
      left -= size;
      this.#onBytes(Buffer.from(this.#drainBuffer.subarray(0, size)));
    }
  }

  /** Gives up on writers that never leave. */
  close(): void {
    this.drain();
    this.#socket.destroy();
  }

  #read(bytes: Buffer): boolean {
    this.#onBytes(bytes);
    this.#periodBytes += bytes.length;
    if (this.#periodBytes < this.#periodBytesMax || this.#pause !== null)
      return this.#pause === null;
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#periodBytes = 0;
      this.#socket.resume();
    }, periodMs);
    return false;
  }
}

/** The two ends of a named pipe. The caller closes the writing end once a child has it. */
export interface PipeEnds {
  readFd: number;
  writeFd: number;
}

/**
 * Makes named pipes that a slot's user may open by name.
 * @throws Error of the file system.
 */
export async function makePipes(
  paths: readonly string[],
  identity: SlotIdentity | null,
): Promise<void> {
  await promisify(execFile)('mkfifo', ['-m', '600', ...paths]);
  if (identity !== null) {
    for (const path of paths) chownSync(path, identity.uid, identity.gid);
  }
}

/**
 * Opens both ends, the reading one first and without blocking.
 * @throws Error of the file system.
 */
export function openPipe(path: string): PipeEnds {
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    // Blocking: the flag belongs to the open pipe, and user code would get EAGAIN from print.
    return { readFd, writeFd: openSync(path, constants.O_WRONLY) };
  } catch (caught) {
    closeSync(readFd);
    throw caught;
  }
}
