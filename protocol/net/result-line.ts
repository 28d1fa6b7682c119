/**
 * Protocol `/perigee/result/1`, both ends: results of some size, one behind another on one stream that
 * stays open while there are any. A stream of its own for each, as blobs have, costs a negotiation of
 * its protocol and an answer before the next one of a task can begin; here many are on their way while
 * those before them are being put on disk.
 */
import type { Stream } from '@libp2p/interface';
import { isErrorCode, PerigeeError, toError } from '../base/errors.ts';
import type { BlobHash } from '../wire/ids.ts';
import type { ResultAnswer, ResultPut } from '../wire/messages.ts';
import type { BlobSource } from './blob-transfer.ts';
import { checkResultAnswer, checkResultPut } from './check-result-line.ts';
import { closeMsMax } from './closing-stream.ts';
import { resultLingerMs, resultsInFlightMax, type TransferWaits, transferWaits } from './limits.ts';
import { createStreamReader, writeBytes, writeMessage } from './stream-bytes.ts';

/** Bytes at hand, in pieces, with what they hash to. */
export interface ResultBytes {
  hash: BlobHash;
  sizeBytes: number;
  pieces: readonly Uint8Array[];
}

/**
 * Takes the results of a stream that a peer opened until it has no more. Each is answered by itself
 * once it is on disk, or refused; what the disk is behind with holds the peer back. Never throws for
 * what the peer did.
 */
export async function serveResults(
  stream: Stream,
  source: Pick<BlobSource, 'write'>,
  { idleMsMax }: TransferWaits = transferWaits,
): Promise<void> {
  const reader = createStreamReader(stream, { silenceMsMax: idleMsMax });
  const writing = new Set<Promise<void>>();
  try {
    while (!(await reader.isOver())) {
      const put = checkResultPut(await reader.readMessage());
      const passing = watchPassage(reader.readBytes(put.sizeBytes));
      const stored = storeResult(stream, source, { put, bytes: passing.bytes });
      writing.add(stored);
      void stored.then(() => writing.delete(stored));
      // Its bytes are written by then, not yet synced: the next one's may come meanwhile.
      await Promise.race([passing.passed, stored]);
      await passing.drop();
      // The peer may have nothing to say but after this one's answer.
      reader.excuse(stored);
      while (writing.size >= resultsInFlightMax) await Promise.race(writing);
    }
    await Promise.all(writing);
    await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  } catch (caught) {
    stream.abort(toError(caught));
    await Promise.all(writing);
  }
}

/** Writes one result and says how it went; never throws. */
async function storeResult(
  stream: Stream,
  source: Pick<BlobSource, 'write'>,
  result: { put: ResultPut; bytes: AsyncIterable<Uint8Array> },
): Promise<void> {
  const { number, hash, sizeBytes } = result.put;
  let answer: ResultAnswer = { kind: 'ok', number };
  try {
    await source.write(hash, result.bytes, { sizeBytes, isOutput: false });
  } catch (caught) {
    const error = toError(caught);
    if (!(error instanceof PerigeeError)) {
      stream.abort(error);
      return;
    }
    const { code, message, fix } = error;
    answer = { kind: 'refused', number, code, message, fix };
  }
  try {
    if (stream.status === 'open') await writeMessage(stream, answer);
  } catch (caught) {
    stream.abort(toError(caught));
  }
}

/** Bytes that tell when they have passed; `drop` reads what their reader has left of them. */
function watchPassage(source: AsyncGenerator<Uint8Array, void, undefined>): {
  bytes: AsyncIterable<Uint8Array>;
  passed: Promise<void>;
  drop(): Promise<void>;
} {
  const { promise, resolve } = Promise.withResolvers<void>();
  async function* pass(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      // By hand: a reader that breaks off must not end the source, whose rest has to be read.
      for (let next = await source.next(); next.done !== true; next = await source.next()) {
        yield next.value;
      }
    } finally {
      resolve();
    }
  }
  return {
    bytes: pass(),
    passed: promise,
    async drop() {
      for await (const bytes of source) void bytes;
    },
  };
}

/** The sending end; opens a stream when there is something to send. */
export interface ResultLine {
  /**
   * Resolves when the other end has the bytes on disk.
   * @throws PerigeeError too_large, disk_full, forbidden, unreachable, protocol_version
   */
  put(result: ResultBytes): Promise<void>;
}

interface OpenLine {
  stream: Stream;
  waiting: Map<number, { resolve(): void; reject(error: Error): void }>;
  /** The last put's bytes; the next one's follow them. */
  sent: Promise<void>;
  isReading: boolean;
  /** Closes the stream when nothing has been put for a while. */
  linger: NodeJS.Timeout | undefined;
  reader: ReturnType<typeof createStreamReader>;
}

/** A line over streams that `open` makes; a lost one fails what was on it, and the next put opens another. */
export function createResultLine(
  open: () => Promise<Stream>,
  { idleMsMax, answerMsMax }: TransferWaits = transferWaits,
): ResultLine {
  const stall = { stallMsMax: idleMsMax };
  let current: OpenLine | undefined;
  let opening: Promise<OpenLine> | undefined;
  let nextNumber = 1;

  const openLine = async (): Promise<OpenLine> => {
    const stream = await open();
    const line: OpenLine = {
      stream,
      waiting: new Map(),
      sent: Promise.resolve(),
      isReading: false,
      linger: undefined,
      reader: createStreamReader(stream, { silenceMsMax: answerMsMax }),
    };
    const end = (error: Error | undefined): void => {
      leave(line);
      const cause = error ?? new PerigeeError('unreachable', 'The stream of results has ended.');
      for (const { reject } of line.waiting.values()) reject(asUnreachable(cause));
      line.waiting.clear();
    };
    stream.addEventListener('close', (event) => end(event.error), { once: true });
    return line;
  };
  /** The next put opens another. */
  const leave = (line: OpenLine): void => {
    clearTimeout(line.linger);
    if (current === line) current = undefined;
  };
  const getLine = async (): Promise<OpenLine> => {
    if (current?.stream.status === 'open') return current;
    opening ??= openLine().finally(() => {
      opening = undefined;
    });
    current = await opening;
    return current;
  };
  const readAnswers = async (line: OpenLine): Promise<void> => {
    line.isReading = true;
    try {
      while (line.waiting.size > 0) {
        const answer = checkResultAnswer(await line.reader.readMessage());
        const waiter = line.waiting.get(answer.number);
        line.waiting.delete(answer.number);
        if (answer.kind === 'ok') waiter?.resolve();
        else waiter?.reject(refusalOf(answer));
      }
    } catch (caught) {
      line.stream.abort(toError(caught));
      return;
    } finally {
      line.isReading = false;
    }
    line.linger = setTimeout(() => {
      leave(line);
      line.stream
        .close({ signal: AbortSignal.timeout(closeMsMax) })
        .catch((caught: unknown) => line.stream.abort(toError(caught)));
    }, resultLingerMs).unref();
  };

  return {
    async put({ hash, sizeBytes, pieces }) {
      const line = await getLine();
      clearTimeout(line.linger);
      if (line.stream.status !== 'open') {
        throw new PerigeeError('unreachable', 'The stream of results has ended.');
      }
      const number = nextNumber;
      nextNumber += 1;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      line.waiting.set(number, { resolve, reject });
      const before = line.sent;
      line.sent = (async () => {
        await before;
        const put: ResultPut = { kind: 'put', number, hash, sizeBytes };
        await writeMessage(line.stream, put, stall);
        await writeBytes(line.stream, pieces, stall);
      })().catch((caught: unknown) => line.stream.abort(toError(caught)));
      // No answer comes while it is still on its way.
      line.reader.excuse(line.sent);
      if (!line.isReading) void readAnswers(line);
      await promise;
    },
  };
}

function refusalOf(answer: Extract<ResultAnswer, { kind: 'refused' }>): PerigeeError {
  const code = isErrorCode(answer.code) ? answer.code : 'internal';
  return new PerigeeError(code, answer.message, { fix: answer.fix });
}

function asUnreachable(error: Error): PerigeeError {
  if (error instanceof PerigeeError) return error;
  return new PerigeeError('unreachable', 'The stream of results broke.', { cause: error });
}
