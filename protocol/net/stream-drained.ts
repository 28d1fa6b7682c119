/**
 * When a libp2p stream may be written to again. `Stream.onDrain` cannot be used for it: in libp2p 3.3
 * its promise, once resolved, is never made anew, so that from the second time on it answers at once
 * and a sender fills its memory with what a slow peer has not taken.
 */
import type { Stream } from '@libp2p/interface';
import { PerigeeError } from '../base/errors.ts';

/**
 * Resolves when nothing written to the stream waits any more.
 * @throws PerigeeError unreachable when the stream closes before, or when none of it leaves for `stallMsMax`.
 */
export function streamDrained(
  stream: Stream,
  options: { stallMsMax?: number } = {},
): Promise<void> {
  if (isDrained(stream)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const { stallMsMax } = options;
    const timer =
      stallMsMax === undefined
        ? undefined
        : setTimeout(() => fail('The peer takes nothing any more.'), stallMsMax);
    let leftBytes = stream.writeBufferLength;
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
      if (isDrained(stream)) {
        finish();
        resolve();
      } else if (stream.writeBufferLength < leftBytes) {
        leftBytes = stream.writeBufferLength;
        timer?.refresh();
      }
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
