/**
 * Which header blocks stay, whatever else comes: those that came first, and those that were read again
 * later, up to a share of the cache. A scan reads each header several times, but all at once, and so
 * takes no place from one that readers come back to.
 */
export interface PinnedHeaders {
  has(id: string): boolean;
  /** A header block has come to the disk. */
  add(id: string, bytes: number): void;
  /** It was read. */
  touch(id: string): void;
  /** It is gone from the disk. */
  remove(id: string): void;
}

/** Uses of other headers between two uses of one, from which on it counts as read again. */
const comeBackAfter = 16;

export function createPinnedHeaders(bytesMax: number): PinnedHeaders {
  /** Header blocks on disk. */
  const known = new Map<string, { bytes: number; usedAt: number }>();
  /** Those that stay; together at most `bytesMax`. */
  const pinned = new Map<string, number>();
  let pinnedBytes = 0;
  let uses = 0;
  let usedLast = '';

  const unpin = (id: string): void => {
    pinnedBytes -= pinned.get(id) ?? 0;
    pinned.delete(id);
  };
  const pin = (id: string, bytes: number): void => {
    pinned.set(id, bytes);
    pinnedBytes += bytes;
  };
  const findLeastRecent = (): string | undefined => {
    let found: string | undefined;
    let usedAt = Number.POSITIVE_INFINITY;
    for (const id of pinned.keys()) {
      const at = known.get(id)?.usedAt ?? 0;
      if (at >= usedAt) continue;
      found = id;
      usedAt = at;
    }
    return found;
  };

  return {
    has: (id) => pinned.has(id),
    add(id, bytes) {
      if (known.has(id)) return;
      uses += 1;
      usedLast = id;
      known.set(id, { bytes, usedAt: uses });
      if (pinnedBytes + bytes <= bytesMax) pin(id, bytes);
    },
    touch(id) {
      const header = known.get(id);
      if (header === undefined) return;
      if (id !== usedLast) uses += 1;
      usedLast = id;
      const cameBack = uses - header.usedAt > comeBackAfter;
      header.usedAt = uses;
      if (!cameBack || pinned.has(id) || header.bytes > bytesMax) return;
      while (pinnedBytes + header.bytes > bytesMax) {
        const oldest = findLeastRecent();
        if (oldest === undefined) return;
        unpin(oldest);
      }
      pin(id, header.bytes);
    },
    remove(id) {
      known.delete(id);
      unpin(id);
    },
  };
}
