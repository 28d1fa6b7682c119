/** What builds print: kept on disk up to a bound, and pushed to those who watch. */
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import type { SignalFlag } from '../gateway/signal-flag.ts';
import { createSignalFlag } from '../gateway/signal-flag.ts';
import type { ImageStore } from './image.ts';

/** Kept of one build; pip prints less than a hundredth of it when all goes well. */
export const buildLogBytesMax = 1024 * 1024;

const cutText = '\n[perigee: the rest of the log was cut]\n';
/** What is read of the store at a time. */
const pageBytes = 256 * 1024;
/** A follower looks again after so long even when nothing woke it. */
const recheckMs = 5_000;

/** The logs of all builds. */
export interface BuildLogs {
  /** Begins a log anew. */
  begin(digest: ImageDigest): Promise<void>;
  /** Adds to it; resolves when it is on disk. */
  append(digest: ImageDigest, bytes: Uint8Array): Promise<void>;
  /** Wakes followers: the build is over. */
  end(digest: ImageDigest): void;
  /** The log from `offset` on; with `isOpen`, further as long as that says true. */
  read(
    digest: ImageDigest,
    options: { offset: number; isOpen: () => boolean; signal: AbortSignal },
  ): AsyncGenerator<{ offset: number; bytes: Uint8Array }, void, undefined>;
}

export function createBuildLogs(
  store: Pick<ImageStore, 'appendImageLog' | 'readImageLog' | 'clearImageLog'>,
): BuildLogs {
  const sizes = new Map<ImageDigest, number>();
  const followers = new Map<ImageDigest, Set<SignalFlag>>();
  const wake = (digest: ImageDigest): void => {
    for (const flag of followers.get(digest) ?? []) flag.set();
  };
  return {
    async begin(digest) {
      await store.clearImageLog(digest);
      sizes.set(digest, 0);
    },
    async append(digest, bytes) {
      const offset = sizes.get(digest) ?? 0;
      const left = buildLogBytesMax - offset;
      if (left <= 0 || bytes.length === 0) return;
      const kept =
        bytes.length <= left
          ? bytes
          : Buffer.concat([bytes.subarray(0, left), Buffer.from(cutText)]);
      sizes.set(digest, offset + kept.length);
      await store.appendImageLog(digest, { offset, bytes: kept });
      wake(digest);
    },
    end: wake,
    async *read(digest, { offset, isOpen, signal }) {
      const flag = createSignalFlag();
      const others = followers.get(digest) ?? new Set<SignalFlag>();
      followers.set(digest, others.add(flag));
      try {
        let position = offset;
        while (!signal.aborted) {
          // Asked before the read: what is written between the two is read in the next round.
          const wasOpen = isOpen();
          const bytes = await store.readImageLog(digest, { offset: position, bytesMax: pageBytes });
          if (bytes.length > 0) {
            yield { offset: position, bytes };
            position += bytes.length;
          } else if (wasOpen) await flag.wait({ timeoutMs: recheckMs, signal });
          else return;
        }
      } finally {
        others.delete(flag);
        if (others.size === 0 && followers.get(digest) === others) followers.delete(digest);
      }
    },
  };
}
