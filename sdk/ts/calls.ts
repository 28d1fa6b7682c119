/** From the iterables of a `map` to the arguments of its calls. */
import type { Value } from './value.ts';

/** What `map` takes: an array, a generator, or an asynchronous one. */
export type MapInput = Iterable<Value> | AsyncIterable<Value>;

/** The last parameter of `map`. */
export interface MapOptions<Inputs extends readonly MapInput[] = readonly MapInput[]> {
  /** URIs of the imagery that the call with these arguments reads; null for those that have ended. */
  assets: (...args: Elements<Inputs>) => Iterable<string>;
}

type Elements<Inputs extends readonly MapInput[]> = {
  [At in keyof Inputs]: Inputs[At] extends Iterable<infer Item> | AsyncIterable<infer Item>
    ? Inputs['length'] extends 1
      ? Item
      : Item | null
    : never;
};

type Source = Iterator<Value> | AsyncIterator<Value>;

/**
 * Takes the inputs in step, one element of each a call, until all have ended; null stands for the
 * elements of those that ended before (Python 2's own `map`). Nothing is read before it is needed,
 * and what is left unread is told so.
 */
export async function* zipCalls(
  inputs: readonly MapInput[],
): AsyncGenerator<readonly Value[], void, undefined> {
  const sources: (Source | undefined)[] = inputs.map(openSource);
  try {
    for (;;) {
      const args: Value[] = [];
      for (const [index, source] of sources.entries()) {
        const item = source === undefined ? undefined : await source.next();
        if (item === undefined || item.done === true) {
          sources[index] = undefined;
          args.push(null);
        } else args.push(item.value);
      }
      if (sources.every((source) => source === undefined)) return;
      yield args;
    }
  } finally {
    for (const source of sources) await source?.return?.();
  }
}

function openSource(input: MapInput): Source {
  return Symbol.asyncIterator in input ? input[Symbol.asyncIterator]() : input[Symbol.iterator]();
}
