/**
 * The reading end of a worker's stdout and stderr: a named pipe, since user code may open
 * `/dev/stdout`, which a socket (what Node gives as a pipe) refuses.
 */
import { execFile } from 'node:child_process';
import { chownSync, closeSync, constants, openSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { promisify } from 'node:util';
import type { SlotIdentity } from './slot-identity.ts';

/** What a full pipe holds, and so the most that one read can take. */
const readBytesMax = 64 * 1024;
/** Read of one worker in one period: a flood at 100 MB/s costs the agent a few percent of a core, no more. */
const periodBytesMax = 1024 * 1024;
const periodMs = 10;

export class OutputPipe {
  readonly #socket: Socket;
  readonly #fd: number;
  readonly #onBytes: (bytes: Buffer) => void;
  readonly #drainBuffer = Buffer.allocUnsafe(readBytesMax);
  #periodBytes = 0;
  #pause: NodeJS.Timeout | null = null;
  #ended = false;
  /** Resolves when every writer is gone and all has been read, or when it was closed. */
  readonly ended: Promise<void>;

  constructor(fd: number, onBytes: (bytes: Buffer) => void) {
    this.#fd = fd;
    this.#onBytes = onBytes;
    const buffer = Buffer.allocUnsafe(readBytesMax);
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

  /** Takes what is in the pipe now, up to the capacity of a pipe, before it returns. */
  drain(): void {
    let left = readBytesMax;
    while (!this.#ended && left > 0) {
      let size: number;
      try {
        size = readSync(this.#fd, this.#drainBuffer, 0, left, null);
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
    if (this.#periodBytes < periodBytesMax || this.#pause !== null) return this.#pause === null;
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#periodBytes = 0;
      this.#socket.resume();
    }, periodMs);
    return false;
  }
}

/** The two ends of a new named pipe. The caller closes the writing end once a child has it. */
export interface OutputEnds {
  readFd: number;
  writeFd: number;
}

/**
 * Makes the pipe and opens both ends, the reading one first and without blocking.
 * @throws Error of the file system.
 */
export async function createOutputPipe(
  path: string,
  identity: SlotIdentity | null,
): Promise<OutputEnds> {
  await promisify(execFile)('mkfifo', ['-m', '600', path]);
  if (identity !== null) chownSync(path, identity.uid, identity.gid);
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    // Blocking: the flag belongs to the open pipe, and user code would get EAGAIN from print.
    return { readFd, writeFd: openSync(path, constants.O_WRONLY) };
  } catch (caught) {
    closeSync(readFd);
    throw caught;
  }
}
