/** Stores what is too long to travel in a report: results and outputs, as blobs of the coordinator. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Stream } from '@libp2p/interface';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { putBlob } from '../../protocol/net/blob-transfer.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { createResultLine, type ResultBytes } from '../../protocol/net/result-line.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { blobProtocol, resultProtocol } from '../../protocol/wire/messages.ts';
import { encodeBlobReference } from '../../protocol/wire/payload.ts';
import type { HeldResults } from '../runner/held-results.ts';
import { createTurns } from './turns.ts';

/** How results and outputs reach the coordinator. */
export interface ResultUploads {
  /**
   * Sends a result and drops it here; answers the payload that refers to it.
   * @throws PerigeeError too_large, disk_full, forbidden, unreachable
   */
  upload(result: { path: string; tag: number }): Promise<Uint8Array>;
  /**
   * Sends an output, whose hash is known from its writing, and removes it here.
   * @throws PerigeeError too_large, disk_full, forbidden, unreachable
   */
  uploadOutput(output: { path: string; hash: BlobHash; sizeBytes: number }): Promise<void>;
  /** Drops one that nobody asks for any more. */
  remove(path: string): Promise<void>;
}

/**
 * Below the coordinator's `blobStreamsMax`, with room for the arguments that are fetched meanwhile: a
 * stream beyond that is refused. More would not be faster, and on a slow line each would wait long for
 * its share. What waits its turn is bounded by the attempts that are held.
 */
export const uploadsAtOnceMax = 8;

/** Results by the paths that the runner gave them; `results` has those in memory. */
export function createResultUploads(
  deps: {
    host: Pick<MeshHost, 'open'>;
    results: Pick<HeldResults, 'find' | 'drop'>;
    /** Gives up what is under way. */
    stopping: AbortSignal;
  },
  settings: { address: string; dialMsMax: number },
): ResultUploads {
  const { host, results, stopping } = deps;
  const takeTurn = createTurns(uploadsAtOnceMax);
  const open = async (protocol: string): Promise<Stream> => {
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(settings.dialMsMax)]);
    const stream = await host.open(settings.address, protocol, { signal });
    const giveUp = (): void => stream.abort(toError(stopping.reason));
    // One that was refused on arrival is closed already.
    if (stream.status !== 'open') return stream;
    stopping.addEventListener('abort', giveUp, { once: true });
    stream.addEventListener('close', () => stopping.removeEventListener('abort', giveUp));
    return stream;
  };
  const line = createResultLine(() => open(resultProtocol));
  const put = (blob: Parameters<typeof putBlob>[1]): Promise<void> =>
    takeTurn(async () => putBlob(await open(blobProtocol), blob));
  const putFile = async (path: string, known: BlobHash | undefined): Promise<BlobFacts> => {
    const { size: sizeBytes } = await stat(path);
    const hash = known ?? (await hashFile(path));
    await put({ hash, sizeBytes, bytes: readFile(path) });
    await rm(path, { force: true });
    return { hash, sizeBytes };
  };
  const putHeld = async (held: ResultBytes): Promise<void> => {
    try {
      await line.put(held);
    } catch (caught) {
      if (!(caught instanceof PerigeeError) || caught.code !== 'protocol_version') throw caught;
      // A coordinator from before results shared a stream.
      await put({ ...held, bytes: Readable.from(held.pieces) });
    }
  };
  return {
    async upload({ path, tag }) {
      const held = results.find(path);
      if (held?.kind === 'memory') await putHeld(held);
      const sent = held?.kind === 'memory' ? held : await putFile(path, held?.hash);
      results.drop(path);
      return encodeBlobReference({ tag, hash: sent.hash, sizeBytes: sent.sizeBytes });
    },
    async uploadOutput({ path, hash, sizeBytes }) {
      await put({ hash, sizeBytes, bytes: readFile(path), isOutput: true });
      await rm(path, { force: true });
    },
    async remove(path) {
      const held = results.find(path);
      results.drop(path);
      if (held?.kind !== 'memory') await rm(path, { force: true });
    },
  };
}

interface BlobFacts {
  hash: BlobHash;
  sizeBytes: number;
}

/** Opened when the first byte is asked for: a read stream has its file open from the start, read or not. */
async function* readFile(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  yield* createReadStream(path);
}

async function hashFile(path: string): Promise<BlobHash> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path)) digest.update(chunk);
  return digest.digest('hex') as BlobHash;
}
