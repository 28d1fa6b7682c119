/** Virtual time: what is to happen when. Things of the same moment happen in the order they were put in. */
export interface Agenda {
  readonly nowMs: number;
  /** Happenings so far. */
  readonly count: number;
  after(delayMs: number, happening: () => void): void;
  /** Lets the next thing happen; false when there is none, or none before `untilMs`. */
  next(untilMs: number): boolean;
}

interface Entry {
  atMs: number;
  order: number;
  happening: () => void;
}

/** An agenda that begins at `startMs`. */
export function createAgenda(startMs: number): Agenda {
  const heap: Entry[] = [];
  let nowMs = startMs;
  let order = 0;
  let count = 0;
  return {
    get nowMs() {
      return nowMs;
    },
    get count() {
      return count;
    },
    after(delayMs, happening) {
      pushEntry(heap, { atMs: nowMs + Math.max(0, delayMs), order, happening });
      order += 1;
    },
    next(untilMs) {
      const first = heap[0];
      if (first === undefined || first.atMs > untilMs) return false;
      popEntry(heap);
      nowMs = first.atMs;
      count += 1;
      first.happening();
      return true;
    },
  };
}

function isBefore(one: Entry, other: Entry): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}

function pushEntry(heap: Entry[], entry: Entry): void {
  let at = heap.length;
  heap.push(entry);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !isBefore(entry, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = entry;
}

function popEntry(heap: Entry[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    const left = heap[2 * at + 1];
    if (left === undefined) break;
    const right = heap[2 * at + 2];
    const side = right !== undefined && isBefore(right, left) ? 2 * at + 2 : 2 * at + 1;
    const child = heap[side];
    if (child === undefined || !isBefore(child, last)) break;
    heap[at] = child;
    at = side;
  }
  heap[at] = last;
}
