/**
 * Records of the completion stream, as `GET /v1/outcomes` and `outcomes.follow` carry them;
 * docs/api.md has the table of fields. Flat bytes: at full load one is made and read for every task.
 */
import { PerigeeError } from '../base/errors.ts';
import type { BatchNumber, NodeId, TaskRef } from './ids.ts';
import type { OutcomeStatus } from './task.ts';
import { failureCodes } from './task.ts';

/** The statuses by their number in a record. */
export const recordStatuses: readonly OutcomeStatus[] = ['success', ...failureCodes];

/** What a failed task's record says in words. */
export interface RecordFailure {
  exception: string;
  message: string;
  traceback: string;
  logTail: string;
  node: NodeId | null;
}

/** One completion. */
export interface OutcomeRecord extends TaskRef {
  kind: 'outcome';
  outcomeNumber: number;
  status: OutcomeStatus;
  attempt: number;
  runtimeSeconds: number;
  peakMemoryBytes: number;
  logBytes: number;
  /** Null on success. */
  failure: RecordFailure | null;
  /** The payload, tag first; null when it must be fetched, or there is none. */
  result: Uint8Array | null;
}

/** Everything up to this number that fits the filter has been sent. */
export interface HeartbeatRecord {
  kind: 'heartbeat';
  outcomeNumber: number;
}

const outcomeKind = 0;
const heartbeatKind = 1;
/** kind, number, batch, index, status, attempt, runtime, memory, log, failure length, flag, result length. */
const fixedBytes = 1 + 8 + 4 + 2 + 1 + 2 + 8 + 8 + 8 + 4 + 1 + 4;
/** A record longer than this is not one: results over 64 KiB are fetched, texts are cut. */
const recordBytesMax = 32 * 1024 * 1024;
const noBytes = new Uint8Array(0);

/** The bytes of a heartbeat. */
export function encodeHeartbeat(outcomeNumber: number): Uint8Array {
  const bytes = new Uint8Array(4 + 9);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 9);
  view.setUint8(4, heartbeatKind);
  view.setBigUint64(5, BigInt(outcomeNumber));
  return bytes;
}

/** The bytes of a completion. */
export function encodeOutcomeRecord(record: OutcomeRecord): Uint8Array {
  const failure =
    record.failure === null ? noBytes : new TextEncoder().encode(JSON.stringify(record.failure));
  const result = record.result ?? noBytes;
  const length = fixedBytes + failure.length + result.length;
  const bytes = Buffer.allocUnsafe(4 + length);
  bytes.writeUInt32BE(length, 0);
  bytes[4] = outcomeKind;
  writeUint64(bytes, record.outcomeNumber, 5);
  bytes.writeUInt32BE(record.batch, 13);
  bytes.writeUInt16BE(record.index, 17);
  bytes[19] = recordStatuses.indexOf(record.status);
  bytes.writeUInt16BE(Math.min(record.attempt, 0xffff), 20);
  bytes.writeDoubleBE(record.runtimeSeconds, 22);
  writeUint64(bytes, record.peakMemoryBytes, 30);
  writeUint64(bytes, record.logBytes, 38);
  bytes.writeUInt32BE(failure.length, 46);
  bytes.set(failure, 50);
  const after = 50 + failure.length;
  bytes[after] = record.result === null ? 0 : 1;
  bytes.writeUInt32BE(result.length, after + 1);
  bytes.set(result, after + 5);
  return bytes;
}

/** Cuts a byte stream into records; holds at most one unfinished record. */
export interface OutcomeRecordReader {
  /**
   * The records completed by these bytes, in order; results may share memory with the input.
   * @throws PerigeeError frame_invalid when the bytes are not records.
   */
  push(bytes: Uint8Array): (OutcomeRecord | HeartbeatRecord)[];
}

/** A reader of one completion stream. */
export function createOutcomeRecordReader(): OutcomeRecordReader {
  let chunks: Uint8Array[] = [];
  let held = 0;
  /** Bytes that must be held before there is anything to do. */
  let wanted = 4;
  return {
    push(bytes) {
      const records: (OutcomeRecord | HeartbeatRecord)[] = [];
      if (bytes.length > 0) chunks.push(bytes);
      held += bytes.length;
      if (held < wanted) return records;
      const only = chunks[0];
      const joined =
        chunks.length === 1 && only !== undefined
          ? Buffer.from(only.buffer, only.byteOffset, only.length)
          : Buffer.concat(chunks, held);
      let position = 0;
      wanted = 4;
      while (joined.length - position >= 4) {
        const length = joined.readUInt32BE(position);
        if (length > recordBytesMax) throw malformed();
        if (joined.length - position < 4 + length) {
          wanted = 4 + length;
          break;
        }
        records.push(decodeRecord(joined.subarray(position + 4, position + 4 + length)));
        position += 4 + length;
      }
      const rest = joined.subarray(position);
      chunks = rest.length > 0 ? [rest] : [];
      held = rest.length;
      return records;
    },
  };
}

function decodeRecord(body: Buffer): OutcomeRecord | HeartbeatRecord {
  if (body[0] === heartbeatKind && body.length === 9) {
    return { kind: 'heartbeat', outcomeNumber: Number(body.readBigUInt64BE(1)) };
  }
  if (body[0] !== outcomeKind || body.length < fixedBytes) throw malformed();
  const status = recordStatuses[body.readUInt8(15)];
  const failureLength = body.readUInt32BE(42);
  const after = 46 + failureLength;
  if (status === undefined || after + 5 > body.length) throw malformed();
  const resultLength = body.readUInt32BE(after + 1);
  if (after + 5 + resultLength !== body.length) throw malformed();
  return {
    kind: 'outcome',
    outcomeNumber: Number(body.readBigUInt64BE(1)),
    batch: body.readUInt32BE(9) as BatchNumber,
    index: body.readUInt16BE(13),
    status,
    attempt: body.readUInt16BE(16),
    runtimeSeconds: body.readDoubleBE(18),
    peakMemoryBytes: Number(body.readBigUInt64BE(26)),
    logBytes: Number(body.readBigUInt64BE(34)),
    failure: failureLength === 0 ? null : decodeFailure(body.toString('utf8', 46, after)),
    result: body[after] === 1 ? body.subarray(after + 5) : null,
  };
}

function decodeFailure(text: string): RecordFailure {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new PerigeeError('frame_invalid', 'A completion record has malformed JSON.', { cause });
  }
  if (typeof value !== 'object' || value === null) throw malformed();
  const fields: Partial<Record<keyof RecordFailure, unknown>> = value;
  return {
    exception: textOf(fields.exception),
    message: textOf(fields.message),
    traceback: textOf(fields.traceback),
    logTail: textOf(fields.logTail),
    node: typeof fields.node === 'string' ? (fields.node as NodeId) : null,
  };
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

// Two 32-bit writes: a BigInt for each of three fields costs more than the rest of the record.
function writeUint64(bytes: Buffer, value: number, offset: number): void {
  bytes.writeUInt32BE(Math.floor(value / 4294967296), offset);
  bytes.writeUInt32BE((value % 4294967296) >>> 0, offset + 4);
}

function malformed(): PerigeeError {
  return new PerigeeError('frame_invalid', 'A completion stream holds a malformed record.');
}
