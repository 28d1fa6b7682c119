/**
 * Brings an image that this node lacks: from a node that has it, else from the coordinator. What the
 * image is the coordinator says; of one that it does not know, the nodes that are trusted. What is
 * already here of it, also of an earlier run, is not asked for again; nothing of it is unpacked
 * before its hash is right, and it takes its place by one rename.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Stream } from '@libp2p/interface';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { ArchiveStore } from '../../protocol/images/archive-store.ts';
import type { ImageArchive, ImageContent } from '../../protocol/images/image-archive.ts';
import { unpackArchive } from '../../protocol/images/image-archive.ts';
import { describeImage, downloadImage } from '../../protocol/images/image-transfer.ts';
import { isImageThere, putFolderInPlace } from '../../protocol/images/put-in-place.ts';
import { collectAll } from '../../protocol/net/collect-buffers.ts';
import { receivedBytesMax } from '../../protocol/net/limits.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import { lockFile } from './folder-lock.ts';

/** Somebody who may have an image. */
export interface ImageHolder {
  /** For people. */
  name: string;
  /** Whether it is believed what an image is that the coordinator does not know. */
  isTrusted: boolean;
  open(signal: AbortSignal): Promise<Stream>;
}

export interface FetcherDeps {
  /** What it says of an image is believed. */
  coordinator: ImageHolder;
  /** Nodes that have the image, best first. */
  locate(digest: ImageDigest, signal: AbortSignal): Promise<ImageHolder[]>;
  archives: Pick<ArchiveStore, 'adopt'>;
  /**
   * Makes room for so many bytes.
   * @throws PerigeeError disk_full when there is none
   */
  makeRoom(bytes: number): Promise<void>;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface ImageFetcher {
  /**
   * Brings an image to its place; nothing to do when it is there. Calls for the same one share the
   * work, also with other agents of this machine.
   * @throws PerigeeError not_found when the coordinator does not know it, unreachable, disk_full
   */
  fetch(digest: ImageDigest): Promise<void>;
  /** Gives up what is under way; what has arrived stays for the next time. */
  close(): Promise<void>;
}

/** What is known of an image on its way, kept beside its bytes. */
interface Progress {
  content: ImageContent;
  /** Of the file whose first bytes are here. */
  archive: ImageArchive | null;
}

/** Beside an image that came over the mesh: it may be removed again to make room. */
export const fetchedMark = '.fetched.json';
const dialMsMax = 10_000;
/** Nodes that are asked what an image is: one that lies must not be the only one heard. */
const witnessesMax = 4;
/** A packed file is never larger than its tar by more: then somebody sends rubbish. */
const packedShareMax = 1.1;
const packedSlackBytes = 1024 * 1024;

/** A fetcher into `<home>/images`. */
export function createImageFetcher(deps: FetcherDeps, settings: { folder: string }): ImageFetcher {
  const stopping = new AbortController();
  const { signal } = stopping;
  const underWay = new Map<ImageDigest, Promise<void>>();

  const bring = async (digest: ImageDigest): Promise<void> => {
    const short = digest.slice(7, 39);
    const final = join(settings.folder, short);
    const work = join(settings.folder, `.fetching-${short}`);
    if (await isImageThere(final)) return;
    await mkdir(settings.folder, { recursive: true });
    const unlock = await lockFile(join(settings.folder, `.lock-${short}`), signal);
    try {
      // Another agent of this machine may have brought it meanwhile.
      if (await isImageThere(final)) return;
      await mkdir(work, { recursive: true, mode: 0o755 });
      await transfer(digest, { work, final });
      await rm(work, { recursive: true, force: true });
    } catch (caught) {
      const error = asPerigeeError(toError(caught));
      // A full disk is not made better by what is half here.
      if (error instanceof PerigeeError && error.code === 'disk_full') {
        await rm(work, { recursive: true, force: true });
      }
      throw error;
    } finally {
      await unlock();
    }
  };
  const transfer = async (
    digest: ImageDigest,
    place: { work: string; final: string },
  ): Promise<void> => {
    const progress = await readProgress(place.work);
    const { coordinator } = deps;
    const nodes = await deps.locate(digest, signal).catch((caught: unknown) => {
      deps.log.warn({ digest, error: toError(caught).message }, 'No other node can be asked.');
      return [];
    });
    // Where nobody else has it the coordinator says both at once, and reads the image once less.
    if (nodes.length > 0) {
      progress.content = await describe(digest, { nodes, before: progress.content });
      await writeProgress(place.work, progress);
    }
    let last: unknown = new PerigeeError('unreachable', `Nobody gave the image ${digest}.`);
    for (const holder of [...nodes, coordinator]) {
      signal.throwIfAborted();
      try {
        const offset = await download(digest, { holder, progress, work: place.work });
        await putInPlace(digest, { progress, ...place });
        deps.log.info({ digest, from: holder.name, offset }, 'An image has arrived.');
        return;
      } catch (caught) {
        last = caught;
        const error = asPerigeeError(toError(caught));
        if (error instanceof PerigeeError && error.code === 'disk_full') throw error;
        // Wrong bytes: whoever they came from, they are begun anew with the next one.
        if (error instanceof PerigeeError && error.code === 'image_invalid') {
          await dropPart(place.work, progress);
        }
        const fields = { digest, from: holder.name, error: error.message };
        deps.log.warn(fields, 'An image did not arrive from there.');
      }
    }
    throw last;
  };
  const describe = async (
    digest: ImageDigest,
    known: { nodes: readonly ImageHolder[]; before: ImageContent },
  ): Promise<ImageContent> => {
    const ask = (holder: ImageHolder): Promise<ImageContent> =>
      open(holder, (stream) => describeImage(stream, digest));
    try {
      return await ask(deps.coordinator);
    } catch (caught) {
      if (!(caught instanceof PerigeeError)) throw caught;
      if (caught.code !== 'not_found') {
        // It is away, but said before what the image is: nodes can still give it.
        if (known.before.contentHash !== '') return known.before;
        throw caught;
      }
      const witnesses = known.nodes.filter(({ isTrusted }) => isTrusted).slice(0, witnessesMax);
      const answers = await Promise.allSettled(witnesses.map(ask));
      const said = answers.flatMap((answer) =>
        answer.status === 'fulfilled' ? [answer.value] : [],
      );
      const [first, ...others] = said;
      if (first === undefined) throw caught;
      if (others.every((other) => other.contentHash === first.contentHash)) return first;
      throw new PerigeeError('image_invalid', `Nodes disagree about what the image ${digest} is.`);
    }
  };
  const open = async <Result>(
    holder: ImageHolder,
    use: (stream: Stream) => Promise<Result>,
  ): Promise<Result> => {
    const stream = await holder.open(AbortSignal.any([signal, AbortSignal.timeout(dialMsMax)]));
    const giveUp = (): void => stream.abort(toError(signal.reason));
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      return await use(stream);
    } catch (caught) {
      stream.abort(toError(caught));
      throw caught;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  };
  /** Answers how much was here already. */
  const download = (
    digest: ImageDigest,
    from: { holder: ImageHolder; progress: Progress; work: string },
  ): Promise<number> => {
    const { progress, work } = from;
    const part = partOf(work);
    return open(from.holder, async (stream) => {
      const here = progress.archive === null ? 0 : await sizeOf(part);
      const archiveHash = progress.archive?.archiveHash ?? null;
      const request = { kind: 'get', digest, archiveHash, offset: here } as const;
      const { archive, offset, bytes } = await downloadImage(stream, request);
      const { contentHash, contentBytes } = archive;
      if (from.holder === deps.coordinator) progress.content = { contentHash, contentBytes };
      checkOffer(archive, progress);
      await deps.makeRoom(archive.archiveBytes - offset + archive.contentBytes);
      progress.archive = archive;
      await writeProgress(work, progress);
      const flags = offset === 0 ? 'w' : 'r+';
      await pipeline(staySmall(bytes), createWriteStream(part, { flags, start: offset }), {
        signal,
      });
      return offset;
    });
  };
  const putInPlace = async (
    digest: ImageDigest,
    at: { progress: Progress; work: string; final: string },
  ): Promise<void> => {
    const { progress, work, final } = at;
    const { archive, content } = progress;
    if (archive === null) throw new PerigeeError('internal', 'An image without an archive.');
    const ready = join(work, 'image');
    await rm(ready, { recursive: true, force: true });
    await unpackArchive({ archive: partOf(work), folder: ready, ...content }, signal);
    await writeFile(join(ready, fetchedMark), JSON.stringify(content), { mode: 0o644 });
    await putFolderInPlace(ready, final, signal);
    // For the next node that asks: it is packed already.
    await deps.archives.adopt(digest, { ...archive, ...content }, partOf(work));
  };

  return {
    fetch(digest) {
      let work = underWay.get(digest);
      if (work === undefined) {
        work = bring(digest).finally(() => underWay.delete(digest));
        underWay.set(digest, work);
      }
      return work;
    },
    async close() {
      stopping.abort(new PerigeeError('draining', 'The agent stops.'));
      await Promise.allSettled(underWay.values());
    },
  };
}

/** Hundreds of megabytes must not leave the agent larger than it was. */
async function* staySmall(
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let received = 0;
  for await (const chunk of bytes) {
    yield chunk;
    received += chunk.length;
    if (received < receivedBytesMax) continue;
    received = 0;
    collectAll();
  }
}

function checkOffer(archive: ImageArchive, progress: Progress): void {
  const { contentHash, contentBytes } = progress.content;
  const bytesMax = contentBytes * packedShareMax + packedSlackBytes;
  const isIt = archive.contentHash === contentHash && archive.contentBytes === contentBytes;
  if (isIt && archive.archiveBytes <= bytesMax) return;
  throw new PerigeeError('image_invalid', 'It offers another image than the one asked for.');
}

const partOf = (work: string): string => join(work, 'archive.part');
const progressOf = (work: string): string => join(work, 'progress.json');

async function readProgress(work: string): Promise<Progress> {
  const none: Progress = { content: { contentHash: '', contentBytes: 0 }, archive: null };
  try {
    return { ...none, ...(JSON.parse(await readFile(progressOf(work), 'utf8')) as object) };
  } catch {
    // Nothing yet, or cut by a kill: begun anew.
    return none;
  }
}

async function writeProgress(work: string, progress: Progress): Promise<void> {
  const aside = `${progressOf(work)}.new`;
  const { contentHash, contentBytes } = progress.content;
  const { archive } = progress;
  await writeFile(aside, JSON.stringify({ content: { contentHash, contentBytes }, archive }));
  await rename(aside, progressOf(work));
}

async function dropPart(work: string, progress: Progress): Promise<void> {
  progress.archive = null;
  await rm(partOf(work), { force: true });
  await writeProgress(work, progress);
}

function asPerigeeError(error: Error): Error {
  const isFull = 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
  if (!isFull) return error;
  return new PerigeeError('disk_full', `The disk is full: ${error.message}`, { cause: error });
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
