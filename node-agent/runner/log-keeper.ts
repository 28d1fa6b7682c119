/**
 * The output of one task on its way to the coordinator, bounded. The start is passed on at once;
 * after it, as much as a steady allowance pays for, while the rest waits in a buffer that keeps the
 * newest bytes. A task that writes faster than that loses the middle, never the end, and the agent
 * holds no more than the buffer whatever a task writes.
 */
import { logChunkBytesMax, logHeadBytes, logTailBytes } from '../../protocol/wire/limits.ts';

/** Passed on per second after the start: live enough for people, harmless to the mesh. */
const allowanceBytesPerSecond = 1024 * 1024;
/** Saved up in quiet times, so that a burst of ordinary size is passed on at once. */
const allowanceBytesMax = 1024 * 1024;

export class LogKeeper {
  readonly #emit: (offset: number, bytes: Buffer) => void;
  /** All bytes written so far, the cut ones too. */
  #totalBytes = 0;
  /** Newest bytes not passed on, oldest first; at most `logTailBytes` in all. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #allowanceBytes = allowanceBytesMax;
  #paidAtMs: number;

  constructor(emit: (offset: number, bytes: Buffer) => void, nowMs: number) {
    this.#emit = emit;
    this.#paidAtMs = nowMs;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Whether `pass` has something to do later. */
  get isWaiting(): boolean {
    return this.#waitingBytes > 0;
  }

  /** Takes output; keeps what it is given, which must not change afterwards. */
  write(bytes: Buffer, nowMs: number): void {
    const headLeft = Math.max(0, logHeadBytes - this.#totalBytes);
    const head = bytes.subarray(0, headLeft);
    const rest = bytes.subarray(headLeft);
    this.#pass(this.#totalBytes, head);
    this.#totalBytes += bytes.length;
    if (rest.length === 0) return;
    this.#waiting.push(rest);
    this.#waitingBytes += rest.length;
    this.pass(nowMs);
    this.#drop();
  }

  /** Passes on what the allowance pays for, oldest first. */
  pass(nowMs: number): void {
    const earned = ((nowMs - this.#paidAtMs) * allowanceBytesPerSecond) / 1000;
    this.#allowanceBytes = Math.min(allowanceBytesMax, this.#allowanceBytes + earned);
    this.#paidAtMs = nowMs;
    let first = this.#waiting[0];
    while (first !== undefined && this.#allowanceBytes >= 1) {
      const size = Math.min(first.length, Math.floor(this.#allowanceBytes));
      const offset = this.#totalBytes - this.#waitingBytes;
      this.#allowanceBytes -= size;
      this.#take(size);
      this.#pass(offset, first.subarray(0, size));
      first = this.#waiting[0];
    }
  }

  /** The task has ended: passes on everything that is kept. */
  end(): void {
    let first = this.#waiting[0];
    while (first !== undefined) {
      const offset = this.#totalBytes - this.#waitingBytes;
      this.#take(first.length);
      this.#pass(offset, first);
      first = this.#waiting[0];
    }
  }

  /** Removes the oldest bytes that wait. */
  #take(size: number): void {
    const first = this.#waiting[0];
    if (first === undefined) return;
    this.#waitingBytes -= size;
    if (size === first.length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(size);
  }

  #drop(): void {
    while (this.#waitingBytes > logTailBytes) {
      const over = this.#waitingBytes - logTailBytes;
      this.#take(Math.min(over, this.#waiting[0]?.length ?? over));
    }
  }

  #pass(offset: number, bytes: Buffer): void {
    for (let start = 0; start < bytes.length; start += logChunkBytesMax) {
      this.#emit(offset + start, bytes.subarray(start, start + logChunkBytesMax));
    }
  }
}
