/**
 * Outcomes of batches that are not known yet: a quick task may be done before the answer to its
 * submission is here. Kept while a submission is under way, and bounded.
 */
import type { BatchNumber } from '../../protocol/wire/ids.ts';
import type { OutcomeRecord } from '../../protocol/wire/outcome-record.ts';

/** What came too early. */
export interface EarlyOutcomes {
  /** True when nothing has been dropped since the first of the submissions under way began. */
  readonly isComplete: boolean;
  beginSubmission(): void;
  endSubmission(): void;
  keep(record: OutcomeRecord): void;
  /** The records of a batch, in order; they are not kept any longer. */
  take(number: BatchNumber): readonly OutcomeRecord[];
}

/** Beyond it the stream is read again for such a batch. */
const earlyBytesMax = 64 * 1024 * 1024;
/** What a record costs besides its texts and result. */
const recordBytes = 200;

/** An empty store. */
export function createEarlyOutcomes(): EarlyOutcomes {
  const records = new Map<BatchNumber, OutcomeRecord[]>();
  let heldBytes = 0;
  let submissions = 0;
  let isComplete = true;
  const clear = (): void => {
    records.clear();
    heldBytes = 0;
  };
  return {
    get isComplete() {
      return isComplete;
    },
    beginSubmission() {
      if (submissions === 0) isComplete = true;
      submissions += 1;
    },
    endSubmission() {
      submissions -= 1;
      if (submissions === 0) clear();
    },
    keep(record) {
      if (submissions === 0 || !isComplete) return;
      heldBytes +=
        recordBytes + (record.result?.length ?? 0) + (record.failure?.traceback.length ?? 0);
      if (heldBytes > earlyBytesMax) {
        isComplete = false;
        clear();
        return;
      }
      const known = records.get(record.batch);
      if (known === undefined) records.set(record.batch, [record]);
      else known.push(record);
    },
    take(number) {
      const taken = records.get(number) ?? [];
      records.delete(number);
      return taken;
    },
  };
}
