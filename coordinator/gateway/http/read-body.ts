/** Reads bounded bodies, and guards unbounded ones against clients that stand still. */
import type { IncomingMessage } from 'node:http';
import { PerigeeError } from '../../../protocol/base/errors.ts';

/**
 * Of a body that is refused, so much is read and thrown away: a client that writes all before it reads
 * would else see a broken connection in place of the answer.
 */
export const discardBytesMax = 64 * 1024 * 1024;

/**
 * The whole body. By events: it stays possible to answer a body that comes too slowly, which a
 * broken-off iteration, destroying the socket, would not allow.
 * @throws PerigeeError too_large, timed_out, invalid_request when the client went away in between
 */
export function readBody(
  message: IncomingMessage,
  options: { bytesMax: number; timeoutMs: number },
): Promise<Buffer> {
  const { bytesMax, timeoutMs } = options;
  const declared = declaredBytes(message);
  if (declared !== null && declared > bytesMax + discardBytesMax) {
    return Promise.reject(tooLarge(bytesMax));
  }
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  let chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => settle(slow('The body did not arrive in time.')), timeoutMs);
  const onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes <= bytesMax) chunks.push(chunk);
    else chunks = [];
    if (bytes > bytesMax + discardBytesMax) settle(tooLarge(bytesMax));
  };
  const onEnd = (): void => settle(bytes > bytesMax ? tooLarge(bytesMax) : null);
  const onClose = (): void => settle(brokenOff());
  const settle = (error: PerigeeError | null): void => {
    clearTimeout(timer);
    message.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
    const only = chunks[0];
    if (error !== null) reject(error);
    else resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, bytes));
  };
  message.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  return promise;
}

/**
 * The body as it comes.
 * @throws PerigeeError timed_out when no byte has come for `idleMs`, invalid_request when the client went away
 */
export async function* streamBody(
  message: IncomingMessage,
  options: { idleMs: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  // Left undestroyed by a reader that breaks off, so that the refusal can be answered.
  const chunks = message.iterator({ destroyOnReturn: false });
  try {
    for (;;) {
      const next = await nextWithin(chunks, options.idleMs);
      if (next.done === true) return;
      yield next.value as Buffer;
    }
  } finally {
    // Lets go of the message, so that what is left of it can be read by others; it waits for a chunk that
    // may never come.
    void chunks.return?.().catch(() => undefined);
  }
}

async function nextWithin(
  chunks: AsyncIterator<unknown>,
  idleMs: number,
): Promise<IteratorResult<unknown>> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(slow('The upload stood still for too long.')), idleMs);
  const next = chunks.next().catch((cause: unknown) => {
    throw brokenOff(cause);
  });
  // When the clock wins, nobody waits for the other any more.
  next.catch(() => undefined);
  try {
    return await Promise.race([next, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Reads what is left of a body that need not have come, so that a client that writes all before it reads
 * gets its answer, and the connection can go on. What is longer than the bound, or stands still, is cut off.
 */
export async function discardBody(
  message: IncomingMessage,
  options: { bytesMax: number; idleMs: number },
): Promise<void> {
  if (message.readableEnded || message.destroyed) return;
  let bytes = 0;
  const idle = setTimeout(() => message.destroy(), options.idleMs);
  message.on('data', (chunk: Buffer) => {
    idle.refresh();
    bytes += chunk.length;
    if (bytes > options.bytesMax) message.destroy();
  });
  await new Promise<void>((resolve) => {
    message.once('end', resolve).once('close', resolve).once('error', resolve);
  });
  clearTimeout(idle);
}

/** What `Content-Length` says; null when it says nothing. */
export function declaredBytes(message: IncomingMessage): number | null {
  const header = message.headers['content-length'];
  return header === undefined ? null : Number(header);
}

function tooLarge(bytesMax: number): PerigeeError {
  return new PerigeeError('too_large', `The body is over the limit of ${bytesMax} bytes.`, {
    details: { bytesMax },
  });
}

function slow(message: string): PerigeeError {
  return new PerigeeError('timed_out', message, { fix: 'Check the line, and send it again.' });
}

function brokenOff(cause?: unknown): PerigeeError {
  return new PerigeeError('invalid_request', 'The body ended before its time.', { cause });
}
