/** The end of a download's stream: closed in order when all was read, broken off when not. */
import type { Stream } from '@libp2p/interface';
import { PerigeeError, toError } from '../base/errors.ts';

/** How long a stream may take to be closed in order. */
export const closeMsMax = 5_000;

/** Passes bytes of a stream through; closes the stream behind the last one, aborts it when nobody reads on. */
export async function* closing(
  stream: Stream,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let isWhole = false;
  try {
    yield* bytes;
    isWhole = true;
  } finally {
    if (isWhole) {
      await stream.close({ signal: AbortSignal.timeout(closeMsMax) }).catch((caught: unknown) => {
        stream.abort(toError(caught));
      });
    } else stream.abort(new PerigeeError('unreachable', 'The download was given up.'));
  }
}
