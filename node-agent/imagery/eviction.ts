/**
 * Which cached piece goes next: S3-FIFO, by bytes. New pieces wait in a small queue and enter the
 * main one only when they were used again, so that a scan that reads everything once pushes out
 * nothing but itself; LRU, beside it on the same skewed trace, keeps a third as much of use.
 */
export interface Eviction {
  readonly bytes: number;
  /** A piece has come; of no effect when it is known. */
  add(id: string, bytes: number): void;
  /** A piece was used. */
  touch(id: string): void;
  /** A piece is gone for another reason; it is not remembered. */
  remove(id: string): void;
  /** Takes out the next to go; undefined when every piece is pinned. */
  takeVictim(isPinned: (id: string) => boolean): string | undefined;
}

interface Piece {
  bytes: number;
  /** Uses since it came or was last passed over, 0 to `usesMax`. */
  uses: number;
}

const usesMax = 3;
/** Share of the bytes for pieces that were not used again yet. */
const smallShare = 0.1;
/** Ids remembered of pieces that went from the small queue; an id is about 80 bytes of memory. */
const ghostsMax = 100_000;

/** A policy for a cache of so many bytes; maps are queues, for they keep the order of insertion. */
export function createEviction(bytesMax: number): Eviction {
  const small = new Map<string, Piece>();
  const main = new Map<string, Piece>();
  const ghosts = new Set<string>();
  let smallBytes = 0;
  let mainBytes = 0;

  const remember = (id: string): void => {
    ghosts.add(id);
    // As many ghosts as there are pieces, the classic bound; older ones say nothing any more.
    const countMax = Math.min(ghostsMax, Math.max(16, small.size + main.size));
    for (const oldest of ghosts) {
      if (ghosts.size <= countMax) break;
      ghosts.delete(oldest);
    }
  };
  const toMain = (id: string, piece: Piece): void => {
    main.set(id, piece);
    mainBytes += piece.bytes;
  };
  const takeFromSmall = (isPinned: (id: string) => boolean): string | undefined => {
    for (let turns = small.size; turns > 0; turns -= 1) {
      const [id, piece] = firstOf(small);
      small.delete(id);
      if (isPinned(id)) {
        small.set(id, piece);
        continue;
      }
      smallBytes -= piece.bytes;
      if (piece.uses > 0) {
        toMain(id, { bytes: piece.bytes, uses: 0 });
        continue;
      }
      remember(id);
      return id;
    }
    return undefined;
  };
  const takeFromMain = (isPinned: (id: string) => boolean): string | undefined => {
    for (let turns = main.size * (usesMax + 1); turns > 0; turns -= 1) {
      const [id, piece] = firstOf(main);
      main.delete(id);
      if (isPinned(id) || piece.uses > 0) {
        main.set(id, { bytes: piece.bytes, uses: Math.max(0, piece.uses - 1) });
        continue;
      }
      mainBytes -= piece.bytes;
      return id;
    }
    return undefined;
  };

  return {
    get bytes() {
      return smallBytes + mainBytes;
    },
    add(id, bytes) {
      if (small.has(id) || main.has(id)) return;
      if (ghosts.delete(id)) toMain(id, { bytes, uses: 0 });
      else {
        small.set(id, { bytes, uses: 0 });
        smallBytes += bytes;
      }
    },
    touch(id) {
      const piece = small.get(id) ?? main.get(id);
      if (piece !== undefined) piece.uses = Math.min(usesMax, piece.uses + 1);
    },
    remove(id) {
      smallBytes -= small.get(id)?.bytes ?? 0;
      mainBytes -= main.get(id)?.bytes ?? 0;
      small.delete(id);
      main.delete(id);
    },
    takeVictim(isPinned) {
      const smallFirst = smallBytes >= bytesMax * smallShare || main.size === 0;
      return smallFirst
        ? (takeFromSmall(isPinned) ?? takeFromMain(isPinned))
        : (takeFromMain(isPinned) ?? takeFromSmall(isPinned));
    },
  };
}

function firstOf(queue: ReadonlyMap<string, Piece>): [string, Piece] {
  const first = queue.entries().next();
  if (first.done === true) throw new Error('An empty queue has no first piece.');
  return first.value;
}
