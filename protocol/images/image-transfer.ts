/**
 * Protocol `/perigee/image/1`: one request per stream, answered by a frame with what the image is;
 * for a `get` the packed file's raw bytes from some offset on follow. While the image is being packed,
 * `preparing` says every few seconds that somebody is there.
 *
 * Both a coordinator and a node serve it. What the image is, its tar's hash, is believed of the
 * coordinator alone; whoever gives the bytes is held to that.
 */
import type { Stream } from '@libp2p/interface';
import { pipe } from 'it-pipe';
import { isErrorCode, PerigeeError, toError } from '../base/errors.ts';
import { checkFields, checkInteger, checkText, invalidField } from '../net/check-field.ts';
import { closeMsMax, closing } from '../net/closing-stream.ts';
import { createStreamReader, writeBytes, writeMessage } from '../net/stream-bytes.ts';
import type { ImageDigest } from '../wire/ids.ts';
import type { ImageArchive, ImageContent } from './image-archive.ts';

export const imageProtocol = '/perigee/image/1';

export type ImageRequest =
  | { kind: 'describe'; digest: ImageDigest }
  /** `archiveHash` is of the file whose first `offset` bytes the asker has; null with offset 0. */
  | { kind: 'get'; digest: ImageDigest; archiveHash: string | null; offset: number };

export type ImageAnswer =
  | { kind: 'preparing' }
  | ({ kind: 'described' } & ImageContent)
  | ({ kind: 'ok'; offset: number } & ImageArchive)
  | { kind: 'refused'; code: string; message: string; fix: string };

/** What a server of images needs. */
export interface ImageSource {
  /**
   * What the image is; may take the time of reading it once.
   * @throws PerigeeError not_found, also when the peer may not know that it exists
   */
  describe(digest: ImageDigest): Promise<ImageContent>;
  /**
   * The packed image; may take the time of packing.
   * @throws PerigeeError not_found, also when the peer may not know that it exists; disk_full
   */
  archive(digest: ImageDigest): Promise<ImageArchive>;
  read(digest: ImageDigest, archive: ImageArchive, offset: number): AsyncIterable<Uint8Array>;
}

/** Well below the time after which a silent stream is given up. */
const preparingEveryMs = 5_000;
/** No image of this size could be packed in the patience of its asker. */
const archiveBytesMax = 2 ** 42;

/** Answers the one request of a stream that a peer opened. Never throws for what the peer did. */
export async function serveImage(stream: Stream, source: ImageSource): Promise<void> {
  const reader = createStreamReader(stream);
  try {
    const request = checkRequest(await reader.readMessage());
    if (request.kind === 'describe') {
      const content = await prepare(stream, () => source.describe(request.digest));
      await writeMessage(stream, { kind: 'described', ...content } satisfies ImageAnswer);
    } else {
      await sendArchive(stream, source, request);
    }
    await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  } catch (caught) {
    await refuse(stream, toError(caught));
  }
}

async function sendArchive(
  stream: Stream,
  source: ImageSource,
  request: Extract<ImageRequest, { kind: 'get' }>,
): Promise<void> {
  const archive = await prepare(stream, () => source.archive(request.digest));
  // Another packer's file cannot be gone on with: the asker begins anew.
  const isSame = request.archiveHash === archive.archiveHash;
  const offset = isSame ? Math.min(request.offset, archive.archiveBytes) : 0;
  await writeMessage(stream, { kind: 'ok', offset, ...archive } satisfies ImageAnswer);
  const bytes = source.read(request.digest, archive, offset);
  await pipe(bytes, (chunks) => writeBytes(stream, chunks));
}

async function prepare<Result>(stream: Stream, work: () => Promise<Result>): Promise<Result> {
  let isDone = false;
  const timer = setInterval(() => {
    if (isDone || stream.status !== 'open') return;
    writeMessage(stream, { kind: 'preparing' } satisfies ImageAnswer).catch((caught: unknown) =>
      stream.abort(toError(caught)),
    );
  }, preparingEveryMs);
  try {
    return await work();
  } finally {
    isDone = true;
    clearInterval(timer);
  }
}

async function refuse(stream: Stream, error: Error): Promise<void> {
  if (stream.status !== 'open') return;
  if (!(error instanceof PerigeeError)) {
    stream.abort(error);
    return;
  }
  try {
    const { code, message, fix } = error;
    await writeMessage(stream, { kind: 'refused', code, message, fix } satisfies ImageAnswer);
    await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  } catch (caught) {
    stream.abort(toError(caught));
  }
}

/**
 * Asks what an image is.
 * @throws PerigeeError not_found, unreachable, disk_full
 */
export async function describeImage(stream: Stream, digest: ImageDigest): Promise<ImageContent> {
  const { answer } = await ask(stream, { kind: 'describe', digest });
  const { kind: _, ...content } = expectAnswer(stream, answer, 'described');
  await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  return content;
}

/** A packed image on its way. */
export interface ImageDownload {
  archive: ImageArchive;
  /** Where `bytes` begin: where it was asked to, or 0 when the other end has another file. */
  offset: number;
  bytes: AsyncIterable<Uint8Array>;
}

/**
 * Asks for an image's packed bytes.
 * @throws PerigeeError not_found, unreachable, disk_full
 */
export async function downloadImage(
  stream: Stream,
  request: Extract<ImageRequest, { kind: 'get' }>,
): Promise<ImageDownload> {
  const { answer, readBytes } = await ask(stream, request);
  const { kind: _, offset, ...archive } = expectAnswer(stream, answer, 'ok');
  if (offset !== 0 && offset !== request.offset) {
    const error = invalidField('image.offset', 'the offset that was asked for, or 0');
    stream.abort(error);
    throw error;
  }
  return { archive, offset, bytes: closing(stream, readBytes(archive.archiveBytes - offset)) };
}

async function ask(
  stream: Stream,
  request: ImageRequest,
): Promise<{
  answer: Exclude<ImageAnswer, { kind: 'preparing' | 'refused' }>;
  readBytes(sizeBytes: number): AsyncIterable<Uint8Array>;
}> {
  const reader = createStreamReader(stream);
  try {
    await writeMessage(stream, request);
    for (;;) {
      const answer = checkAnswer(await reader.readMessage());
      if (answer.kind === 'preparing') continue;
      if (answer.kind === 'refused') {
        const code = isErrorCode(answer.code) ? answer.code : 'internal';
        throw new PerigeeError(code, answer.message, { fix: answer.fix });
      }
      return { answer, readBytes: (sizeBytes) => reader.readBytes(sizeBytes) };
    }
  } catch (caught) {
    stream.abort(toError(caught));
    throw caught;
  }
}

/** The answer to what was asked; to anything else the stream is closed. */
function expectAnswer<Kind extends ImageAnswer['kind']>(
  stream: Stream,
  answer: ImageAnswer,
  kind: Kind,
): Extract<ImageAnswer, { kind: Kind }> {
  if (answer.kind === kind) return answer as Extract<ImageAnswer, { kind: Kind }>;
  const error = invalidField('image.kind', kind);
  stream.abort(error);
  throw error;
}

function checkRequest(message: unknown): ImageRequest {
  const fields = checkFields(message, 'image');
  const digest = checkDigest(fields['digest']);
  switch (fields['kind']) {
    case 'describe':
      return { kind: 'describe', digest };
    case 'get': {
      const hash = fields['archiveHash'];
      const archiveHash = hash === null ? null : checkHash(hash, 'image.archiveHash');
      const offset = checkInteger(0, archiveBytesMax)(fields['offset'], 'image.offset');
      return { kind: 'get', digest, archiveHash, offset };
    }
    default:
      throw invalidField('image.kind', 'describe or get');
  }
}

function checkAnswer(message: unknown): ImageAnswer {
  const fields = checkFields(message, 'image');
  const size = checkInteger(0, archiveBytesMax);
  switch (fields['kind']) {
    case 'preparing':
      return { kind: 'preparing' };
    case 'described':
      return {
        kind: 'described',
        contentHash: checkHash(fields['contentHash'], 'image.contentHash'),
        contentBytes: size(fields['contentBytes'], 'image.contentBytes'),
      };
    case 'ok': {
      const archiveBytes = size(fields['archiveBytes'], 'image.archiveBytes');
      const offset = checkInteger(0, archiveBytes)(fields['offset'], 'image.offset');
      return {
        kind: 'ok',
        offset,
        contentHash: checkHash(fields['contentHash'], 'image.contentHash'),
        contentBytes: size(fields['contentBytes'], 'image.contentBytes'),
        archiveHash: checkHash(fields['archiveHash'], 'image.archiveHash'),
        archiveBytes,
      };
    }
    case 'refused': {
      const text = checkText(16_000, 0);
      return {
        kind: 'refused',
        code: text(fields['code'], 'image.code'),
        message: text(fields['message'], 'image.message'),
        fix: text(fields['fix'], 'image.fix'),
      };
    }
    default:
      throw invalidField('image.kind', 'a kind of answer');
  }
}

function checkDigest(value: unknown): ImageDigest {
  if (typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value)) return value as ImageDigest;
  throw invalidField('image.digest', 'sha256: and 64 hexadecimal digits');
}

function checkHash(value: unknown, what: string): string {
  if (typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)) return value;
  throw invalidField(what, '64 hexadecimal digits');
}
