/**
 * Protocol `/perigee/blob/1`, both ends: one request per stream, a `get` that may start anywhere, a
 * `put` that is answered once the bytes are verified and on disk. No end holds a whole blob.
 */
import { createHash } from 'node:crypto';
import type { Stream } from '@libp2p/interface';
import { pipe } from 'it-pipe';
import { isErrorCode, PerigeeError, toError } from '../base/errors.ts';
import type { BlobHash } from '../wire/ids.ts';
import { blobBytesMax } from '../wire/limits.ts';
import type { BlobAnswer, BlobRequest } from '../wire/messages.ts';
import { checkBlobAnswer, checkBlobRequest } from './check-message.ts';
import { closeMsMax, closing } from './closing-stream.ts';
import { type TransferWaits, transferWaits } from './limits.ts';
import { createStreamReader, writeBytes, writeMessage } from './stream-bytes.ts';

/** What a server of blobs needs; refusals are thrown as PerigeeErrors. */
export interface BlobSource {
  /**
   * The size of a blob that the peer may read.
   * @throws PerigeeError not_found, also when the peer may not know that it exists.
   */
  size(hash: BlobHash): Promise<number>;
  read(hash: BlobHash, offset: number): AsyncIterable<Uint8Array>;
  /**
   * Takes a blob whose bytes are verified on the way.
   * @throws PerigeeError forbidden, too_large, disk_full, invalid_request
   */
  write(hash: BlobHash, bytes: AsyncIterable<Uint8Array>, put: BlobPut): Promise<void>;
}

/** What is said of a blob before its bytes. */
export interface BlobPut {
  sizeBytes: number;
  /** A file that a task gave out, and no result. */
  isOutput: boolean;
}

/** Answers the one request of a stream that a peer opened. Never throws for what the peer did. */
export async function serveBlobs(
  stream: Stream,
  source: BlobSource,
  { idleMsMax }: TransferWaits = transferWaits,
): Promise<void> {
  const reader = createStreamReader(stream, { silenceMsMax: idleMsMax });
  try {
    const request = checkBlobRequest(await reader.readMessage());
    if (request.kind === 'get') {
      await serveGet(stream, source, { ...request, stallMsMax: idleMsMax });
    } else {
      const { hash, sizeBytes, output } = request;
      await source.write(hash, reader.readBytes(sizeBytes), {
        sizeBytes,
        isOutput: output === true,
      });
      await answer(stream, { kind: 'ok', sizeBytes: request.sizeBytes });
    }
    await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  } catch (caught) {
    await refuse(stream, toError(caught));
  }
}

async function serveGet(
  stream: Stream,
  source: BlobSource,
  request: Extract<BlobRequest, { kind: 'get' }> & { stallMsMax: number },
): Promise<void> {
  const { stallMsMax } = request;
  const sizeBytes = await source.size(request.hash);
  if (request.offset > sizeBytes) {
    throw new PerigeeError('invalid_request', 'The offset is behind the end of the blob.');
  }
  // `sizeBytes` counts what follows, so that the reader knows when it has everything.
  await answer(stream, { kind: 'ok', sizeBytes: sizeBytes - request.offset });
  await pipe(source.read(request.hash, request.offset), (bytes) =>
    writeBytes(stream, bytes, { stallMsMax }),
  );
}

const answer = (stream: Stream, message: BlobAnswer): Promise<void> =>
  writeMessage(stream, message);

async function refuse(stream: Stream, error: Error): Promise<void> {
  if (stream.status !== 'open') return;
  if (!(error instanceof PerigeeError)) {
    stream.abort(error);
    return;
  }
  try {
    const { code, message, fix } = error;
    await answer(stream, { kind: 'refused', code, message, fix });
    // The rest of a refused upload is not read: closing tells the sender that it is in vain.
    await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  } catch (caught) {
    stream.abort(toError(caught));
  }
}

/** A blob on its way: how many bytes follow, and the bytes. */
export interface BlobDownload {
  sizeBytes: number;
  /** Ends after exactly `sizeBytes`, or throws; unverified unless read from offset 0 (see `verifyBlob`). */
  bytes: AsyncIterable<Uint8Array>;
}

/**
 * Asks the other end of a fresh stream for a blob's bytes from `offset` on. Its silence is bounded, not
 * the time that all of it takes.
 * @throws PerigeeError not_found, forbidden, unreachable
 */
export async function fetchBlob(
  stream: Stream,
  request: { hash: BlobHash; offset: number },
  { idleMsMax }: TransferWaits = transferWaits,
): Promise<BlobDownload> {
  const reader = createStreamReader(stream, { silenceMsMax: idleMsMax });
  try {
    const asked: BlobRequest = { kind: 'get', ...request };
    await writeMessage(stream, asked, { stallMsMax: idleMsMax });
    const sizeBytes = readAnswer(await reader.readMessage());
    return { sizeBytes, bytes: closing(stream, reader.readBytes(sizeBytes)) };
  } catch (caught) {
    stream.abort(toError(caught));
    throw caught;
  }
}

/**
 * Sends a blob over a fresh stream; resolves when the other end has it on disk. It may take as long as
 * bytes leave. Nobody touches their source when the request cannot leave: give one that opens nothing
 * before its first byte is asked for.
 * @throws PerigeeError too_large, disk_full, invalid_request, unreachable
 */
export async function putBlob(
  stream: Stream,
  blob: {
    hash: BlobHash;
    sizeBytes: number;
    bytes: AsyncIterable<Uint8Array>;
    isOutput?: boolean;
  },
  { idleMsMax, answerMsMax }: TransferWaits = transferWaits,
): Promise<void> {
  const { hash, sizeBytes } = blob;
  const output = blob.isOutput === true ? ({ output: true } as const) : {};
  const put: BlobRequest = { kind: 'put', hash, sizeBytes, ...output };
  const stall = { stallMsMax: idleMsMax };
  const reader = createStreamReader(stream, { silenceMsMax: answerMsMax });
  // The refusal may come while bytes still leave, so that answer and upload run side by side.
  const answered = reader.readMessage().then(readAnswer);
  let wholeSent = false;
  const sending = (async () => {
    await writeMessage(stream, put, stall);
    await pipe(blob.bytes, (bytes) => writeBytes(stream, bytes, stall));
    wholeSent = true;
  })();
  reader.excuse(sending);
  const sent = sending.then(() => answered);
  try {
    await Promise.race([answered, sent]);
    // A server that has the blob already may say so before it has read all.
    if (wholeSent) await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
    else stream.abort(new PerigeeError('conflict', 'The other end has the blob already.'));
  } catch (caught) {
    stream.abort(toError(caught));
    throw caught;
  } finally {
    await Promise.allSettled([answered, sent]);
  }
}

/**
 * Passes bytes through and throws at the end when they are not the blob.
 * @throws PerigeeError invalid_request when size or hash differ, too_large
 */
export async function* verifyBlob(
  bytes: AsyncIterable<Uint8Array>,
  expected: { hash: BlobHash; sizeBytes: number | null; bytesMax?: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const digest = createHash('sha256');
  const bytesMax = expected.bytesMax ?? blobBytesMax;
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > bytesMax) {
      throw new PerigeeError('too_large', `The blob is over the limit of ${bytesMax} bytes.`);
    }
    digest.update(chunk);
    yield chunk;
  }
  if (expected.sizeBytes !== null && size !== expected.sizeBytes) {
    throw new PerigeeError(
      'invalid_request',
      `The blob has ${size} bytes, not ${expected.sizeBytes}.`,
      { fix: 'Send it again.' },
    );
  }
  const found = digest.digest('hex');
  if (found !== expected.hash) {
    throw new PerigeeError(
      'invalid_request',
      `The bytes have the SHA-256 ${found}, not ${expected.hash}.`,
      { fix: 'Send it again.' },
    );
  }
}

function readAnswer(message: unknown): number {
  const checked = checkBlobAnswer(message);
  if (checked.kind === 'ok') return checked.sizeBytes;
  const code = isErrorCode(checked.code) ? checked.code : 'internal';
  throw new PerigeeError(code, checked.message, { fix: checked.fix });
}
