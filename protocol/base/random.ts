/**
 * A small seeded generator (sfc32) whose whole state is four numbers, so that a core can keep it
 * in its state and a simulation can replay it. Not for secrets: those come from node:crypto.
 */
export interface RandomState {
  a: number;
  b: number;
  c: number;
  counter: number;
}

/** A generator state from an integer seed; the same seed gives the same sequence for ever. */
export function seedRandom(seed: number): RandomState {
  const state = { a: seed | 0, b: 0x9e3779b9 | 0, c: 0x243f6a88, counter: 1 };
  // The first outputs of sfc32 still show the seed: fifteen rounds mix it in.
  for (let round = 0; round < 15; round += 1) nextUint32(state);
  return state;
}

/** The next 32 random bits; changes `state`. */
export function nextUint32(state: RandomState): number {
  const sum = (state.a + state.b + state.counter) | 0;
  state.counter = (state.counter + 1) | 0;
  state.a = state.b ^ (state.b >>> 9);
  state.b = (state.c + (state.c << 3)) | 0;
  state.c = ((state.c << 21) | (state.c >>> 11)) + sum;
  state.c |= 0;
  return sum >>> 0;
}

/** A float in [0, 1). */
export function nextFloat(state: RandomState): number {
  return nextUint32(state) / 4294967296;
}

/** An integer in [0, bound). */
export function nextBelow(state: RandomState, bound: number): number {
  return Math.floor(nextFloat(state) * bound);
}

/** `digits` lower-case hexadecimal digits. */
export function nextHex(state: RandomState, digits: number): string {
  let text = '';
  while (text.length < digits) text += nextUint32(state).toString(16).padStart(8, '0');
  return text.slice(0, digits);
}
