/** Reads bounded bodies, and guards unbounded ones against clients that stand still. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { PerigeeError } from '../../../protocol/base/errors.ts';

/**
 * Of a body that is refused, so much is read and thrown away: a client that writes all before it reads
 * would else see a broken connection in place of the answer.
 */
export const discardBytesMax = 64 * 1024 * 1024;

/**
 * The whole body.
 * @throws PerigeeError too_large, timed_out, invalid_request when the client went away in between
 */
export async function readBody(
  message: IncomingMessage,
  options: { bytesMax: number; timeoutMs: number },
): Promise<Buffer> {
  const { bytesMax, timeoutMs } = options;
  const declared = declaredBytes(message);
  if (declared !== null && declared > bytesMax + discardBytesMax) throw tooLarge(bytesMax);
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(
    () => message.destroy(new PerigeeError('timed_out', 'The body did not arrive in time.')),
    timeoutMs,
  );
  try {
    for await (const chunk of message) {
      const part = chunk as Buffer;
      bytes += part.length;
      if (bytes <= bytesMax) chunks.push(part);
      else chunks.length = 0;
      if (bytes > bytesMax + discardBytesMax) break;
    }
  } catch (cause) {
    if (cause instanceof PerigeeError) throw cause;
    throw new PerigeeError('invalid_request', 'The body ended before its time.', { cause });
  } finally {
    clearTimeout(timer);
  }
  if (bytes > bytesMax) throw tooLarge(bytesMax);
  const only = chunks[0];
  return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, bytes);
}

/** The body as it comes; broken off when no byte has come for `idleMs`. */
export async function* streamBody(
  message: IncomingMessage,
  options: { idleMs: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const giveUp = (): void => {
    message.destroy(new PerigeeError('timed_out', 'The upload stood still for too long.'));
  };
  let timer = setTimeout(giveUp, options.idleMs);
  try {
    for await (const chunk of message) {
      clearTimeout(timer);
      yield chunk as Buffer;
      timer = setTimeout(giveUp, options.idleMs);
    }
  } catch (cause) {
    if (cause instanceof PerigeeError) throw cause;
    throw new PerigeeError('invalid_request', 'The upload ended before its time.', { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** Reads what is left of a body, within the bound, so that the connection can go on. */
export async function discardBody(message: IncomingMessage): Promise<void> {
  if (message.readableEnded || message.destroyed) return;
  let bytes = 0;
  message.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > discardBytesMax) message.destroy();
  });
  await Promise.race([once(message, 'end'), once(message, 'close')]);
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
