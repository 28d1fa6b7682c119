/** Stores what is too long to travel in a report: results and outputs, as blobs of the coordinator. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { putBlob } from '../../protocol/net/blob-transfer.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { blobProtocol } from '../../protocol/wire/messages.ts';
import { encodeBlobReference } from '../../protocol/wire/payload.ts';

/**
 * Sends a spool file and removes it; answers the payload that refers to it.
 * @throws PerigeeError too_large, disk_full, forbidden, unreachable
 */
export async function uploadResult(
  host: MeshHost,
  address: string,
  result: { path: string; tag: number; signal: AbortSignal },
): Promise<Uint8Array> {
  const { path, tag, signal } = result;
  const { size: sizeBytes } = await stat(path);
  const hash = await hashFile(path);
  const stream = await host.open(address, blobProtocol, { signal });
  await putBlob(stream, { hash, sizeBytes, bytes: createReadStream(path) });
  await rm(path, { force: true });
  return encodeBlobReference({ tag, hash, sizeBytes });
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
