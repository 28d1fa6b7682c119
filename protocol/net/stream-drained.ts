/**
 * When a libp2p stream may be written to again. `Stream.onDrain` cannot be used for it: in libp2p 3.3
 * its promise, once resolved, is never made anew, so that from the second time on it answers at once
 * and a sender fills its memory with what a slow peer has not taken.
 */
import type { Stream } from '@libp2p/interface';
import { PerigeeError } from '../base/errors.ts';

/**
 * Resolves when nothing written to the stream waits any more.
 * @throws PerigeeError unreachable when the stream closes before, or when `waitMsMax` runs out.
 */
export function streamDrained(stream: Stream, options: { waitMsMax?: number } = {}): Promise<void> {
  if (isDrained(stream)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const { waitMsMax } = options;
    const timer =
      waitMsMax === undefined
        ? undefined
        : setTimeout(() => fail('The peer takes nothing any more.'), waitMsMax);
    const finish = (): void => {
      clearTimeout(timer);
      stream.removeEventListener('drain', onDrain);
      stream.removeEventListener('idle', check);
      stream.removeEventListener('close', onClose);
    };
    const fail = (message: string): void => {
      finish();
      reject(new PerigeeError('unreachable', message));
    };
    const check = (): void => {
      if (!isDrained(stream)) return;
      finish();
      resolve();
    };
    // The stream writes on in a microtask of its own, queued by an earlier listener.
    const onDrain = (): void => queueMicrotask(check);
    const onClose = (): void => fail('The stream closed before the peer took everything.');
    stream.addEventListener('drain', onDrain);
    stream.addEventListener('idle', check);
    stream.addEventListener('close', onClose);
    if (stream.status !== 'open') onClose();
  });
}

function isDrained(stream: Stream): boolean {
  return stream.status === 'open' && !stream.writableNeedsDrain && stream.writeBufferLength === 0;
}
