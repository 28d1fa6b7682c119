/**
 * Frames between the runner and the harness in the sandbox: length (u32, big-endian), kind byte,
 * body. `harness.py` is the other end and lists the kinds. What comes from a sandbox is checked
 * here: user code shares the harness's process and may write whatever it likes.
 */

import {
  exceptionMessageCharsMax,
  exceptionNameCharsMax,
  inlineBytesMax,
  tracebackCharsMax,
} from '../../protocol/wire/limits.ts';
import type { Failure } from '../../protocol/wire/task.ts';

/** The harness writes parts of 256 KiB, and failures of at most 80,000 characters as escaped JSON. */
export const harnessFrameBytesMax = 1024 * 1024 + 64;

/** Set-up of a worker, as the harness reads it. */
export interface HarnessSetup {
  python: { implementation: string; version: string };
  functionKind: 'pickle' | 'source';
  functionEntry: string;
  functionName: string;
  functionPath: string;
  /** Put at the front of `sys.path`. */
  paths: string[];
  /** Of the modules and files that the group carries; null for none. */
  includeFolder: string | null;
  /** Behind those on `sys.path`: where the image itself says that it has modules. */
  imagePaths: string[];
  environment: Record<string, string>;
  /** Current directory at the start. */
  workFolder: string;
  taskIsolation: 'worker' | 'task';
  resultFormat: 'pickle' | 'json' | 'msgpack';
  resultBytesMax: number;
  inlineBytesMax: number;
  texts: { nameCharsMax: number; messageCharsMax: number; tracebackCharsMax: number };
  /**
   * How it finds what a task left behind: everything in its pid namespace, everything of its uid
   * (given to no one else), or its descendants.
   */
  sweep: 'namespace' | 'uid' | 'children';
  /** Folders emptied after each task of `taskIsolation` `task`. */
  wipe: string[];
  rlimits: Record<string, number>;
  parentDeathSignal: boolean;
  /** Waits for an acknowledgement after every task: where a pipe does not tell who wrote, and when. */
  acknowledgesAll: boolean;
  /** cBPF program that it applies to itself, base64; null when the launcher has. */
  seccomp: string | null;
  landlock: { read: string[]; write: string[]; network: boolean } | null;
}

/** A frame from the harness, checked. */
export type HarnessFrame =
  | { kind: 'ready' }
  | { kind: 'unloadable'; code: 'exception' | 'version_mismatch'; failure: Failure }
  | { kind: 'part'; task: number; bytes: Buffer }
  | {
      kind: 'done';
      task: number;
      runtimeMs: number;
      peakMemoryBytes: number;
      /** The task may have written output; the harness waits for an acknowledgement. */
      wroteOutput: boolean;
      outcome:
        | { kind: 'success'; payload: Buffer }
        | { kind: 'successInParts'; tag: number }
        | { kind: 'exception'; failure: Failure };
    };

/** Thrown for bytes that are no frame of the harness; ends the worker as `broke`. */
export class HarnessFrameError extends Error {
  override name = 'HarnessFrameError';
}

const textLimits = {
  nameCharsMax: exceptionNameCharsMax,
  messageCharsMax: exceptionMessageCharsMax,
  tracebackCharsMax,
};

/** The `texts` of every set-up. */
export const setupTexts = textLimits;

/** First frame of a worker. */
export function encodeSetup(setup: HarnessSetup): Buffer {
  return encodeFrame('I', Buffer.from(JSON.stringify(setup), 'utf8'));
}

/** A task with its payload (tag byte first) inline. */
export function encodeTask(task: number, payload: Uint8Array): Buffer {
  return encodeTaskFrame(task, 0, payload);
}

/** A task whose payload is in a file, by the path that the sandbox sees. */
export function encodeFileTask(task: number, tag: number, path: string): Buffer {
  return encodeTaskFrame(task, 1, Buffer.concat([Buffer.of(tag), Buffer.from(path, 'utf8')]));
}

/** Tells the harness that the output of its last task has been read. */
export function encodeAcknowledgement(): Buffer {
  return encodeFrame('A', Buffer.alloc(0));
}

export function encodeQuit(): Buffer {
  return encodeFrame('Q', Buffer.alloc(0));
}

/** Cuts a byte stream into frames. */
export class HarnessFrameReader {
  /** Bytes of a frame that is not complete yet. Joined only when it is: pieces are smaller than frames. */
  #pieces: Buffer[] = [];
  #piecesBytes = 0;

  /**
   * The frames that are complete with these bytes.
   * @throws HarnessFrameError when they are not the protocol.
   */
  *push(chunk: Buffer): Generator<HarnessFrame> {
    this.#pieces.push(chunk);
    this.#piecesBytes += chunk.length;
    while (this.#piecesBytes >= 4) {
      const size = this.#join(4).readUInt32BE(0);
      if (size === 0 || size > harnessFrameBytesMax) {
        throw new HarnessFrameError(`a frame of ${size} bytes`);
      }
      if (this.#piecesBytes < 4 + size) return;
      const bytes = this.#join(4 + size);
      const rest = bytes.subarray(4 + size);
      this.#pieces[0] = rest;
      this.#piecesBytes -= 4 + size;
      yield decodeFrame(bytes.subarray(4, 4 + size));
    }
  }

  /** The first piece, made at least so long. */
  #join(size: number): Buffer {
    const first = this.#pieces[0];
    if (first !== undefined && first.length >= size) return first;
    const joined = Buffer.concat(this.#pieces);
    this.#pieces = [joined];
    return joined;
  }
}

function encodeFrame(kind: string, body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + body.length);
  frame.writeUInt32BE(1 + body.length, 0);
  frame.write(kind, 4, 'latin1');
  frame.set(body, 5);
  return frame;
}

function encodeTaskFrame(task: number, how: 0 | 1, rest: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(10 + rest.length);
  frame.writeUInt32BE(6 + rest.length, 0);
  frame.write('T', 4, 'latin1');
  frame.writeUInt32BE(task, 5);
  frame.writeUInt8(how, 9);
  frame.set(rest, 10);
  return frame;
}

function decodeFrame(frame: Buffer): HarnessFrame {
  const kind = String.fromCharCode(frame[0] ?? 0);
  if (kind === 'R') return { kind: 'ready' };
  if (kind === 'U') return decodeUnloadable(frame.subarray(1));
  if (kind === 'P' && frame.length > 5) {
    return { kind: 'part', task: frame.readUInt32BE(1), bytes: frame.subarray(5) };
  }
  if (kind === 'D' && frame.length >= 23) return decodeDone(frame);
  throw new HarnessFrameError(`a frame of unknown kind ${JSON.stringify(kind)}`);
}

function decodeUnloadable(body: Buffer): HarnessFrame {
  const value = parseObject(body);
  const code = value['code'] === 'version_mismatch' ? 'version_mismatch' : 'exception';
  return { kind: 'unloadable', code, failure: failureOf(value) };
}

/** kind, u32 task, u8 status, u8 flags, f64 seconds, u64 peak bytes, payload or failure. */
function decodeDone(frame: Buffer): HarnessFrame {
  const flags = frame.readUInt8(6);
  const seconds = frame.readDoubleBE(7);
  const peakMemoryBytes = Number(frame.readBigUInt64BE(15));
  const body = frame.subarray(23);
  if (!(seconds >= 0) || seconds > 1e9) throw new HarnessFrameError('a run time that is none');
  if (peakMemoryBytes > Number.MAX_SAFE_INTEGER) throw new HarnessFrameError('a peak that is none');
  return {
    kind: 'done',
    task: frame.readUInt32BE(1),
    runtimeMs: seconds * 1000,
    peakMemoryBytes,
    wroteOutput: (flags & 1) !== 0,
    outcome: decodeOutcome(frame.readUInt8(5), (flags & 2) !== 0, body),
  };
}

function decodeOutcome(status: number, inParts: boolean, body: Buffer) {
  if (status === 1) return { kind: 'exception', failure: failureOf(parseObject(body)) } as const;
  const tag = body[0];
  // P, J, M: what a worker may return. A blob reference is the agent's to make.
  if (status !== 0 || (tag !== 0x50 && tag !== 0x4a && tag !== 0x4d)) {
    throw new HarnessFrameError('an outcome that is none');
  }
  if (inParts) return { kind: 'successInParts', tag } as const;
  if (body.length - 1 > inlineBytesMax) throw new HarnessFrameError('an inline result too large');
  return { kind: 'success', payload: body } as const;
}

function parseObject(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new HarnessFrameError('text that is not JSON');
  }
  if (typeof value !== 'object' || value === null) throw new HarnessFrameError('JSON of no object');
  return value as Record<string, unknown>;
}

function failureOf(value: Record<string, unknown>): Failure {
  return {
    name: textOf(value['name'], textLimits.nameCharsMax),
    message: textOf(value['message'], textLimits.messageCharsMax),
    traceback: textOf(value['traceback'], textLimits.tracebackCharsMax),
  };
}

function textOf(value: unknown, charsMax: number): string {
  return typeof value === 'string' ? value.slice(0, charsMax) : '';
}
