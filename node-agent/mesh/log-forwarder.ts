/**
 * Sends output to the coordinator as it comes, without ever holding up the tasks: when the line is
 * behind, the buffers drop their middles. All of an attempt's kept output goes before its report.
 */
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import { logChunkBytesMax, logHeadBytes, logTailBytes } from '../../protocol/wire/limits.ts';
import type { LogOutput } from '../../protocol/wire/messages.ts';
import type { LogBuffer, LogPiece } from './log-buffer.ts';
import { createLogBuffer } from './log-buffer.ts';

type LogChunk = LogOutput['chunks'][number];

export interface LogForwarder {
  /** Takes a piece of a running attempt's output. */
  append(ref: AttemptRef, piece: LogPiece): void;
  /** Whether anything waits to be sent. */
  readonly hasUnsent: boolean;
  /** The next message of live output; undefined when nothing waits or all has had its share. */
  takeLive(now: number): LogOutput | undefined;
  /** The next message of what is unsent of these attempts; undefined when all of it was taken. */
  takeRest(refs: readonly AttemptRef[]): LogOutput | undefined;
  /** A new session: what the coordinator has of each is not sent again, everything else is. */
  resume(offsets: readonly (AttemptRef & { offset: number })[]): void;
  /** The coordinator has the report, or wants none. */
  forget(refs: readonly AttemptRef[]): void;
}

export interface LogForwarderSettings {
  /** Output of all attempts in memory; beyond it the oldest output that was sent is dropped. */
  logBytesMax: number;
  /** Live output per attempt and second once its head has been sent; the rest waits for the end. */
  liveBytesPerSecond: number;
}

interface Entry {
  ref: AttemptRef;
  buffer: LogBuffer;
  /** Everything kept below has been sent in this session. */
  sentOffset: number;
  /** Live bytes that may be sent before `budgetAtMs` is renewed. */
  budgetBytes: number;
  budgetAtMs: number;
}

/** One message carries at most this much, so that heartbeats and reports get through between two. */
const messageBytesMax = 1024 * 1024;

/** A forwarder without output. */
export function createLogForwarder(settings: LogForwarderSettings): LogForwarder {
  const entries = new Map<string, Entry>();
  const unsent = new Set<Entry>();
  let heldBytes = 0;

  const takeChunk = (entry: Entry, bytesMax: number): LogChunk | undefined => {
    const piece = entry.buffer.find(entry.sentOffset, Math.min(bytesMax, logChunkBytesMax));
    if (piece === undefined) {
      unsent.delete(entry);
      return undefined;
    }
    entry.sentOffset = piece.offset + piece.bytes.length;
    if (entry.sentOffset === entry.buffer.endOffset) unsent.delete(entry);
    return { ...entry.ref, ...piece };
  };
  const makeRoom = (): void => {
    for (const entry of entries.values()) {
      if (heldBytes <= settings.logBytesMax) return;
      const before = entry.buffer.heldBytes;
      entry.buffer.dropBelow(entry.sentOffset);
      heldBytes -= before - entry.buffer.heldBytes;
    }
  };

  return {
    append(ref, piece) {
      const key = keyOf(ref);
      let entry = entries.get(key);
      if (entry === undefined) {
        entry = {
          ref: { batch: ref.batch, index: ref.index, attempt: ref.attempt },
          buffer: createLogBuffer({ headBytes: logHeadBytes, tailBytes: logTailBytes }),
          sentOffset: 0,
          budgetBytes: 0,
          budgetAtMs: 0,
        };
        entries.set(key, entry);
      }
      const before = entry.buffer.heldBytes;
      entry.buffer.append(piece);
      heldBytes += entry.buffer.heldBytes - before;
      unsent.add(entry);
      if (heldBytes > settings.logBytesMax) makeRoom();
    },
    get hasUnsent() {
      return unsent.size > 0;
    },
    takeLive(now) {
      const chunks: LogChunk[] = [];
      let bytes = 0;
      for (const entry of unsent) {
        if (bytes >= messageBytesMax) break;
        const budget = liveBudget(entry, { now, perSecond: settings.liveBytesPerSecond });
        const chunk = budget > 0 ? takeChunk(entry, budget) : undefined;
        if (chunk === undefined) continue;
        if (chunk.offset >= logHeadBytes) entry.budgetBytes -= chunk.bytes.length;
        chunks.push(chunk);
        bytes += chunk.bytes.length;
      }
      return chunks.length === 0 ? undefined : { kind: 'log', chunks };
    },
    takeRest(refs) {
      const chunks: LogChunk[] = [];
      let bytes = 0;
      if (unsent.size === 0) return undefined;
      for (const ref of refs) {
        const entry = entries.get(keyOf(ref));
        while (entry !== undefined && unsent.has(entry) && bytes < messageBytesMax) {
          const chunk = takeChunk(entry, messageBytesMax);
          if (chunk === undefined) break;
          chunks.push(chunk);
          bytes += chunk.bytes.length;
        }
        if (bytes >= messageBytesMax) break;
      }
      return chunks.length === 0 ? undefined : { kind: 'log', chunks };
    },
    resume(offsets) {
      const known = new Map(offsets.map((ref) => [keyOf(ref), ref.offset]));
      for (const [key, entry] of entries) {
        entry.sentOffset = known.get(key) ?? 0;
        if (entry.sentOffset < entry.buffer.endOffset) unsent.add(entry);
        else unsent.delete(entry);
      }
    },
    forget(refs) {
      if (entries.size === 0) return;
      for (const ref of refs) {
        const key = keyOf(ref);
        const entry = entries.get(key);
        if (entry === undefined) continue;
        entries.delete(key);
        unsent.delete(entry);
        heldBytes -= entry.buffer.heldBytes;
      }
    },
  };
}

function keyOf(ref: AttemptRef): string {
  return `${ref.batch}-${ref.index}#${ref.attempt}`;
}

/** A flood costs the line a fixed share: its head at once, then a trickle, and its tail at the end. */
function liveBudget(entry: Entry, rate: { now: number; perSecond: number }): number {
  if (entry.sentOffset < logHeadBytes) return logHeadBytes - entry.sentOffset;
  if (rate.now - entry.budgetAtMs >= 1_000) {
    entry.budgetAtMs = rate.now;
    entry.budgetBytes = rate.perSecond;
  }
  return entry.budgetBytes;
}
