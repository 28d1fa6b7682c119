/** Stores what is too long to travel in a report: results and outputs, as blobs of the coordinator. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { PerigeeError } from '../../protocol/base/errors.ts';
import { putBlob } from '../../protocol/net/blob-transfer.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { createResultLine, type ResultBytes } from '../../protocol/net/result-line.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { blobProtocol, resultProtocol } from '../../protocol/wire/messages.ts';
import { encodeBlobReference } from '../../protocol/wire/payload.ts';
import type { HeldResults } from '../runner/held-results.ts';

/** How results reach the coordinator. */
export interface ResultUploads {
  /**
   * Sends a result and drops it here; answers the payload that refers to it.
   * @throws PerigeeError too_large, disk_full, forbidden, unreachable
   */
  upload(result: { path: string; tag: number }): Promise<Uint8Array>;
  /** Drops one that nobody asks for any more. */
  remove(path: string): Promise<void>;
}

/** Results by the paths that the runner gave them; `results` has those in memory. */
export function createResultUploads(
  deps: {
    host: Pick<MeshHost, 'open'>;
    results: Pick<HeldResults, 'find' | 'drop'>;
    /** For one dialling. */
    dialSignal(): AbortSignal;
  },
  address: string,
): ResultUploads {
  const { host, results, dialSignal } = deps;
  const line = createResultLine(() => host.open(address, resultProtocol, { signal: dialSignal() }));
  const putFile = async (path: string, known: BlobHash | undefined): Promise<BlobFacts> => {
    const { size: sizeBytes } = await stat(path);
    const hash = known ?? (await hashFile(path));
    const stream = await host.open(address, blobProtocol, { signal: dialSignal() });
    await putBlob(stream, { hash, sizeBytes, bytes: createReadStream(path) });
    await rm(path, { force: true });
    return { hash, sizeBytes };
  };
  const putHeld = async (held: ResultBytes): Promise<void> => {
    try {
      await line.put(held);
    } catch (caught) {
      if (!(caught instanceof PerigeeError) || caught.code !== 'protocol_version') throw caught;
      // A coordinator from before results shared a stream.
      const stream = await host.open(address, blobProtocol, { signal: dialSignal() });
      await putBlob(stream, { ...held, bytes: Readable.from(held.pieces) });
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

/**
 * Sends an output, whose hash is known from its writing, and removes it here.
 * @throws PerigeeError too_large, disk_full, forbidden, unreachable
 */
export async function uploadOutput(
  host: MeshHost,
  address: string,
  output: { path: string; hash: BlobHash; sizeBytes: number; signal: AbortSignal },
): Promise<void> {
  const { path, hash, sizeBytes, signal } = output;
  const stream = await host.open(address, blobProtocol, { signal });
  await putBlob(stream, { hash, sizeBytes, bytes: createReadStream(path), isOutput: true });
  await rm(path, { force: true });
}

async function hashFile(path: string): Promise<BlobHash> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path)) digest.update(chunk);
  return digest.digest('hex') as BlobHash;
}
