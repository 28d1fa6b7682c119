/** What the simulation throws when the mesh broke a promise; the seed and the fault are added by its caller. */
export class BrokenPromise extends Error {
  override name = 'BrokenPromise';
}

/** Throws BrokenPromise when a promise does not hold. */
export function promise(holds: boolean, text: () => string): asserts holds {
  if (!holds) throw new BrokenPromise(text());
}
