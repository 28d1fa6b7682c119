/**
 * msgpack messages over a libp2p stream. Everything sent in one turn of the event loop leaves in
 * one write: a send costs about 30 µs of CPU whatever its size.
 *
 * `message` events, not async iteration: iteration costs a promise per chunk and does not hold the
 * sender back either.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { PerigeeError, toError } from '../base/errors.ts';
import { decode, encode } from '../wire/codec.ts';
import { createFrameReader } from '../wire/frames.ts';
import { frameBytesMax } from '../wire/limits.ts';
import { frameQueueBytesMax } from './limits.ts';
import { streamDrained } from './stream-drained.ts';
import { createStreamHold } from './stream-hold.ts';

const headerBytes = 4;

/** What a stream of frames tells its owner. */
export interface FrameStreamSettings {
  /** A decoded, not yet checked message. What it throws closes the stream with that error. */
  onMessage(message: unknown): void;
  /**
   * Bytes came that are no frame; nothing more is read, so this is the moment to say so and close.
   * Without it the stream is closed at once.
   */
  onInvalid?(error: PerigeeError): void;
  /** Once, whichever end closed it; undefined when it was closed in order. */
  onClose(error: Error | undefined): void;
  /** Longest frame taken, in bytes; `frameBytesMax` by default. */
  frameBytesMax?: number;
  /** Bytes that may wait for the peer; `frameQueueBytesMax` by default. */
  queuedBytesMax?: number;
}

/** One long-lived conversation with a peer. */
export interface FrameStream {
  /** False once the stream is closed. */
  readonly isOpen: boolean;
  /** Bytes that wait for the peer to take them. */
  readonly queuedBytes: number;
  /**
   * Queues a message for the next write; dropped when the stream is closed. False when the peer is
   * behind: hold what can wait until `drained` resolves. Beyond the bound the stream is closed.
   */
  send(message: unknown): boolean;
  /** Resolves when nothing waits any more, or the stream is closed. */
  drained(): Promise<void>;
  /** Holds the peer back: nothing is read, at most one window arrives. */
  pause(): void;
  resume(): void;
  /** Writes what is queued, closes, and does not wait for ever; idempotent. */
  close(): Promise<void>;
  /** Closes at once. */
  abort(error: Error): void;
}

/** How long `close` waits for a peer to take what is queued. */
const closeMsMax = 1_000;

/** Talks frames over a stream that is open. */
export function createFrameStream(stream: Stream, settings: FrameStreamSettings): FrameStream {
  const reader = createFrameReader(settings.frameBytesMax ?? frameBytesMax);
  const hold = createStreamHold(stream);
  const sizeMax = settings.frameBytesMax ?? frameBytesMax;
  const queueMax = settings.queuedBytesMax ?? frameQueueBytesMax;
  let queue: Uint8Array[] = [];
  let queueBytes = 0;
  let flushing = false;
  let waitsForDrain = false;
  let open = true;
  let waiters: (() => void)[] = [];

  const release = (): void => {
    const released = waiters;
    waiters = [];
    for (const resolve of released) resolve();
  };
  const finish = (error: Error | undefined): void => {
    if (!open) return;
    open = false;
    queue = [];
    queueBytes = 0;
    stream.removeEventListener('message', onData);
    release();
    settings.onClose(error);
  };
  const fail = (error: Error): void => {
    if (!open) return;
    stream.abort(error);
    finish(error);
  };
  const onData = (event: StreamMessageEvent): void => {
    try {
      const { data } = event;
      if (data instanceof Uint8Array) readChunk(data);
      else for (const chunk of data) readChunk(chunk);
    } catch (caught) {
      const error = toError(caught);
      const isInvalid = error instanceof PerigeeError && error.code === 'frame_invalid';
      if (isInvalid && settings.onInvalid !== undefined && open) {
        // Behind bytes that are no frame nothing can be told apart any more.
        stream.removeEventListener('message', onData);
        settings.onInvalid(error);
      } else fail(error);
    }
  };
  const readChunk = (chunk: Uint8Array): void => {
    for (const body of reader.push(chunk)) {
      if (!open) return;
      settings.onMessage(decode(body));
    }
  };
  const flush = (): void => {
    flushing = false;
    if (!open || waitsForDrain || queue.length === 0) return;
    const only = queue[0];
    const bytes =
      queue.length === 1 && only !== undefined ? only : Buffer.concat(queue, queueBytes);
    queue = [];
    queueBytes = 0;
    try {
      if (stream.send(bytes)) release();
      else holdUntilDrained();
    } catch (caught) {
      fail(toError(caught));
    }
  };
  const holdUntilDrained = (): void => {
    waitsForDrain = true;
    streamDrained(stream).then(
      () => {
        waitsForDrain = false;
        flush();
        if (!waitsForDrain) release();
      },
      // The stream's own `close` event says why.
      () => release(),
    );
  };
  const waitingBytes = (): number => queueBytes + stream.writeBufferLength;

  stream.addEventListener('message', onData);
  stream.addEventListener('close', (event: StreamCloseEvent) => finish(event.error));
  stream.addEventListener('remoteCloseWrite', () => {
    // Neither side has anything to say to a peer that will not answer.
    if (!open) return;
    finish(undefined);
    stream.close({ signal: AbortSignal.timeout(closeMsMax) }).catch((caught: unknown) => {
      stream.abort(toError(caught));
    });
  });

  return {
    get isOpen() {
      return open;
    },
    get queuedBytes() {
      return waitingBytes();
    },
    send(message) {
      if (!open) return false;
      const frame = encodeMessage(message, sizeMax);
      queue.push(frame);
      queueBytes += frame.length;
      if (waitingBytes() > queueMax) {
        fail(
          new PerigeeError('unreachable', `The peer is behind by more than ${queueMax} bytes.`, {
            fix: 'Check the line to it; it may come back afresh.',
          }),
        );
        return false;
      }
      if (!flushing && !waitsForDrain) {
        flushing = true;
        queueMicrotask(flush);
      }
      return !waitsForDrain;
    },
    drained() {
      if (!open || (!waitsForDrain && queue.length === 0)) return Promise.resolve();
      return new Promise((resolve) => waiters.push(resolve));
    },
    pause: () => {
      if (open) hold.pause();
    },
    resume: () => {
      if (open) hold.resume();
    },
    async close() {
      if (!open) return;
      flush();
      // The peer may answer to the last frame no more: what it still says is of no use here.
      stream.removeEventListener('message', onData);
      try {
        await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
      } catch (caught) {
        stream.abort(toError(caught));
      }
      finish(undefined);
    },
    abort: fail,
  };
}

function encodeMessage(message: unknown, sizeMax: number): Uint8Array {
  const body = encode(message);
  if (body.length > sizeMax) {
    throw new PerigeeError('too_large', `A message of ${body.length} bytes is over ${sizeMax}.`);
  }
  const frame = Buffer.allocUnsafe(headerBytes + body.length);
  frame.writeUInt32BE(body.length, 0);
  frame.set(body, headerBytes);
  return frame;
}
