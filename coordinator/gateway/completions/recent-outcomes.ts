/**
 * The latest outcomes of one namespace, so that live streams need not ask the store for what was
 * written a moment ago, and share one encoding. Numbers in it are without gaps.
 */
import type { Store, StoredOutcome } from '../../store/port.ts';
import { encodeStoredOutcome } from './encode-outcome.ts';

/** One outcome and, once somebody wanted it, its record. */
interface Entry {
  stored: StoredOutcome;
  bytes: number;
  inlineBytesMax: number;
  encoded: Uint8Array | Promise<Uint8Array> | null;
}

/** A bounded run of outcomes, oldest dropped first. */
export interface RecentOutcomes {
  push(stored: StoredOutcome): void;
  /** The outcome with this number; undefined when it is older than what is kept, or not there yet. */
  find(outcomeNumber: number): StoredOutcome | undefined;
  /** The record of an outcome that `find` has just given. */
  encode(stored: StoredOutcome, inlineBytesMax: number): Uint8Array | Promise<Uint8Array>;
}

/** Fields of an entry beside its payload. */
const entryBytes = 400;

/** An empty run. */
export function createRecentOutcomes(
  store: Pick<Store, 'readLog'>,
  bounds: { countMax: number; bytesMax: number },
): RecentOutcomes {
  // A ring by outcome number: slots are reused, nothing is shifted.
  const entries: (Entry | undefined)[] = new Array<Entry | undefined>(bounds.countMax);
  let first = 1;
  let next = 1;
  let bytes = 0;
  const slot = (outcomeNumber: number): number => outcomeNumber % bounds.countMax;
  const dropFirst = (): void => {
    bytes -= entries[slot(first)]?.bytes ?? 0;
    entries[slot(first)] = undefined;
    first += 1;
  };
  const findEntry = (outcomeNumber: number): Entry | undefined =>
    outcomeNumber >= first && outcomeNumber < next ? entries[slot(outcomeNumber)] : undefined;
  return {
    push(stored) {
      if (stored.outcomeNumber !== next) {
        // The first one seen, or a run that began elsewhere: nothing before it is known here.
        while (first < next) dropFirst();
        first = stored.outcomeNumber;
        next = stored.outcomeNumber;
      }
      const size = entryBytes + stored.outcome.result.length;
      while (first < next && (next - first >= bounds.countMax || bytes + size > bounds.bytesMax)) {
        dropFirst();
      }
      entries[slot(next)] = { stored, bytes: size, inlineBytesMax: 0, encoded: null };
      bytes += size;
      next += 1;
    },
    find: (outcomeNumber) => findEntry(outcomeNumber)?.stored,
    encode(stored, inlineBytesMax) {
      const entry = findEntry(stored.outcomeNumber);
      if (entry?.stored !== stored) return encodeStoredOutcome(store, stored, inlineBytesMax);
      if (entry.encoded !== null && entry.inlineBytesMax === inlineBytesMax) return entry.encoded;
      const encoded = encodeStoredOutcome(store, stored, inlineBytesMax);
      entry.encoded = encoded;
      entry.inlineBytesMax = inlineBytesMax;
      if (encoded instanceof Promise) {
        encoded.then(
          (bytesNow) => {
            if (entry.encoded === encoded) entry.encoded = bytesNow;
          },
          // Whoever awaits it sees the failure; the next one tries again.
          () => {
            if (entry.encoded === encoded) entry.encoded = null;
          },
        );
      }
      return encoded;
    },
  };
}
