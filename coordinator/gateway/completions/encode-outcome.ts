/** A recorded outcome as a record of the completion stream. */
import type { AttemptRef } from '../../../protocol/wire/ids.ts';
import type { OutcomeRecord } from '../../../protocol/wire/outcome-record.ts';
import { encodeOutcomeRecord } from '../../../protocol/wire/outcome-record.ts';
import { payloadTags } from '../../../protocol/wire/payload.ts';
import type { Store, StoredOutcome } from '../../store/port.ts';

/** The end of a failed task's log that travels with its outcome. */
export const logTailBytesMax = 4_096;

/**
 * The bytes of an outcome. A success is encoded at once; a failure needs the end of its log, and
 * so a promise.
 */
export function encodeStoredOutcome(
  store: Pick<Store, 'readLog'>,
  outcome: StoredOutcome,
  inlineBytesMax: number,
): Uint8Array | Promise<Uint8Array> {
  if (outcome.outcome.failure === null) {
    return encodeOutcomeRecord(recordOf(outcome, { inlineBytesMax, logTail: '' }));
  }
  return readLogTail(store, outcome).then((logTail) =>
    encodeOutcomeRecord(recordOf(outcome, { inlineBytesMax, logTail })),
  );
}

/** The end of the log of the attempt that settled a task, as text. */
export async function readLogTail(
  store: Pick<Store, 'readLog'>,
  outcome: StoredOutcome,
): Promise<string> {
  const { logBytes } = outcome.outcome;
  if (logBytes === 0 || outcome.attempt === 0) return '';
  const attempt: AttemptRef = {
    batch: outcome.batch,
    index: outcome.index,
    attempt: outcome.attempt,
  };
  const offset = Math.max(0, logBytes - logTailBytesMax);
  const { chunks } = await store.readLog(attempt, { offset, bytesMax: logTailBytesMax });
  const tail = Buffer.concat(chunks.map((chunk) => chunk.bytes));
  return skipBrokenCharacter(tail.subarray(-logTailBytesMax)).toString('utf8');
}

// A cut may fall within a character: its continuation bytes would show as marks of replacement.
function skipBrokenCharacter(bytes: Buffer): Buffer {
  let start = 0;
  while (start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return bytes.subarray(start);
}

function recordOf(
  stored: StoredOutcome,
  options: { inlineBytesMax: number; logTail: string },
): OutcomeRecord {
  const { outcome } = stored;
  const { failure, result } = outcome;
  // The bound is the payload's without its tag, as everywhere.
  const isInline =
    failure === null &&
    // One that is not kept any more is asked for, and refused by name.
    result.length > 0 &&
    result[0] !== payloadTags.blob &&
    result.length <= options.inlineBytesMax + 1;
  return {
    kind: 'outcome',
    batch: stored.batch,
    index: stored.index,
    outcomeNumber: stored.outcomeNumber,
    status: outcome.status,
    attempt: stored.attempt,
    runtimeSeconds: outcome.runtimeMs / 1000,
    peakMemoryBytes: outcome.peakMemoryBytes,
    logBytes: outcome.logBytes,
    failure:
      failure === null
        ? null
        : {
            exception: failure.name,
            message: failure.message,
            traceback: failure.traceback,
            logTail: options.logTail,
            node: stored.node,
          },
    result: isInline ? result : null,
  };
}
