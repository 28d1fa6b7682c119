/** Takes work in order, so much of it at once; answers as the work does. */
export type Turns = <Value>(work: () => Promise<Value>) => Promise<Value>;

/** Turns for `atOnceMax`; whoever calls bounds what waits. */
export function createTurns(atOnceMax: number): Turns {
  /** All and only those that no work holds. */
  let freeCount = atOnceMax;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (freeCount > 0) freeCount -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      // A turn is passed on, never free in between: nobody may come before those that wait.
      if (next === undefined) freeCount += 1;
      else next();
    }
  };
}
