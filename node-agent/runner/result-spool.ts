/** One large result as it comes from its worker, a part at a time: held in memory while it may be, else in a file. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { toError } from '../../protocol/base/errors.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { HarnessFrameError } from './frames.ts';
import type { HeldResults } from './held-results.ts';

export interface ResultSpoolOptions {
  /** Its name, and its file if it needs one. */
  path: string;
  bytesMax: number;
  /** Null: every result goes into a file. */
  held: HeldResults | null;
}

export class ResultSpool {
  readonly path: string;
  readonly #bytesMax: number;
  readonly #held: HeldResults | null;
  /** Hashed as it comes: to read it again for that would cost as much as to write it. */
  readonly #digest = createHash('sha256');
  /** In memory; null once it has a file. */
  #pieces: Buffer[] | null;
  #fd: number | null = null;
  #sizeBytes = 0;
  /** Why it could not be kept, for its task's failure; later parts are dropped. */
  #failure: string | null = null;

  constructor({ path, bytesMax, held }: ResultSpoolOptions) {
    this.path = path;
    this.#bytesMax = bytesMax;
    this.#held = held;
    this.#pieces = held === null ? null : [];
  }

  get failure(): string | null {
    return this.#failure;
  }

  /** @throws HarnessFrameError beyond the bound, which the harness keeps too. */
  write(bytes: Buffer): void {
    const before = this.#sizeBytes;
    if (before + bytes.length > this.#bytesMax) {
      throw new HarnessFrameError('a result beyond its bound');
    }
    if (this.#pieces !== null && this.#held?.reserve(bytes.length, before) !== true) this.#spill();
    this.#sizeBytes += bytes.length;
    if (this.#failure !== null) return;
    this.#digest.update(bytes);
    if (this.#pieces === null) this.#writeFile(bytes);
    else this.#pieces.push(bytes);
  }

  /** It is whole. */
  finish(): void {
    this.#close();
    if (this.#failure !== null) {
      this.discard();
      return;
    }
    const hash = this.#digest.digest('hex') as BlobHash;
    const sizeBytes = this.#sizeBytes;
    const pieces = this.#pieces;
    this.#held?.keep(
      this.path,
      pieces === null
        ? { kind: 'file', hash, sizeBytes }
        : { kind: 'memory', hash, sizeBytes, pieces },
    );
  }

  discard(): void {
    this.#close();
    if (this.#pieces !== null) this.#held?.release(this.#sizeBytes);
    else rmSync(this.path, { force: true });
    this.#pieces = null;
  }

  #spill(): void {
    const pieces = this.#pieces ?? [];
    this.#pieces = null;
    this.#held?.release(this.#sizeBytes);
    for (const piece of pieces) this.#writeFile(piece);
  }

  #writeFile(bytes: Buffer): void {
    if (this.#failure !== null) return;
    try {
      this.#fd ??= openSync(this.path, 'wx', 0o600);
      for (let rest = bytes; rest.length > 0; ) rest = rest.subarray(writeSync(this.#fd, rest));
    } catch (caught) {
      this.#failure = describeFailure(toError(caught));
    }
  }

  #close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

/** The machine is to blame and not the function, which the one who reads it cannot know. */
function describeFailure(error: Error): string {
  const code = 'code' in error ? error.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') {
    return `This node could not store the task's result: ${error.message}`;
  }
  return (
    `The disk of this node is full, so that the task's result could not be stored: ${error.message}. ` +
    "Free disk below its agent's data folder, or return less from one task."
  );
}
