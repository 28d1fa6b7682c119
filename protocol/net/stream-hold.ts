/**
 * Holds a libp2p stream back and lets it go on. `Stream.resume` hands out what was read meanwhile and
 * only then tells the muxer (libp2p 3.3): a `pause` that a listener calls in between would be undone
 * for the muxer alone, which goes on granting window until the paused stream's buffer overflows and
 * the stream is reset. So such a pause waits until the resume is through.
 */
import type { Stream } from '@libp2p/interface';
import { toError } from '../base/errors.ts';

/** Whether a stream is to be read. */
export interface StreamHold {
  readonly isPaused: boolean;
  /** Idempotent; of no effect on a stream that is closed. */
  pause(): void;
  /** Idempotent; of no effect on a stream that is closed. */
  resume(): void;
}

/** The only one to pause and resume this stream. */
export function createStreamHold(stream: Stream): StreamHold {
  let isPaused = false;
  let resuming = false;
  const apply = (): void => {
    if (stream.readStatus === 'readable') stream.pause();
  };
  return {
    get isPaused() {
      return isPaused;
    },
    pause() {
      if (isPaused) return;
      isPaused = true;
      if (!resuming) apply();
    },
    resume() {
      if (!isPaused) return;
      isPaused = false;
      if (resuming) return;
      resuming = true;
      try {
        if (stream.readStatus === 'paused') stream.resume();
      } catch (caught) {
        // Everything that was read has been handed out; the line has died, and takes no window any more.
        stream.abort(toError(caught));
      } finally {
        resuming = false;
      }
      if (isPaused) apply();
    },
  };
}
