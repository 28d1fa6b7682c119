/** Waits for what must become true, and says what was there instead when it does not. */
import { pause } from './mesh.ts';

const lookMs = 20;

/** What `look` answers once it answers something; throws after `withinMs` with what it saw last. */
export async function waitFor<Value>(
  what: string,
  look: () => Promise<Value | undefined> | Value | undefined,
  withinMs = 30_000,
): Promise<Value> {
  const deadline = performance.now() + withinMs;
  let failure: unknown;
  do {
    try {
      const found = await look();
      if (found !== undefined) return found;
      failure = undefined;
    } catch (caught) {
      failure = caught;
    }
    await pause(lookMs);
  } while (performance.now() < deadline);
  throw new Error(`${what}: not within ${withinMs} ms`, { cause: failure });
}
