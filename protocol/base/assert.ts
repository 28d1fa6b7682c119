/** Thrown for our own contradictions only: never for what a peer or a user said. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

/**
 * Stops the process on a programmer error. What a peer sends is checked and refused, not asserted.
 * @throws AssertionError when `condition` is false.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Ends every `switch` on a `kind`: the compiler proves it unreachable, the assertion guards the wire. */
export function assertNever(value: never, message = 'unexpected variant'): never {
  throw new AssertionError(`${message}: ${JSON.stringify(value)}`);
}
