#!/usr/bin/env node
/**
 * Packs and unpacks images in a process of its own: hundreds of megabytes pass through here, and
 * neither their garbage nor their time may be felt by a coordinator's or an agent's loop. It ends
 * when its parent does, which the end of stdin tells.
 *
 *   pack FOLDER ARCHIVE                      writes tar + zstd, by way of a file aside
 *   hash FOLDER                              says what that tar would be, and writes nothing
 *   unpack ARCHIVE FOLDER HASH BYTES         verifies the tar first, then unpacks into an empty folder
 *
 * The last line on stdout is JSON: the answer, or {code, message, fix} with exit code 1.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { PerigeeError, toError } from '../base/errors.ts';
import type { ImageArchive, ImageContent } from './image-archive.ts';
import { packImage } from './pack-image.ts';
import { unpackImage } from './unpack-image.ts';

/** 333 MB of the geospatial image become 99 MB; higher levels gain little and hold the receiver up. */
const level = 3;

async function main(words: readonly string[]): Promise<unknown> {
  const [command, from = '', to = '', hash = '', bytes = ''] = words;
  if (command === 'pack') return await packFolder(from, to);
  if (command === 'hash') return await hashContent(from);
  if (command === 'unpack') return await unpackArchive({ archive: from, folder: to, hash, bytes });
  throw new PerigeeError('invalid_request', `There is no command ${command}.`);
}

async function packFolder(folder: string, archive: string): Promise<ImageArchive> {
  const content = createMeter();
  const packed = createMeter();
  const aside = `${archive}.part`;
  try {
    await pipeline(
      content.pass(packImage(folder)),
      createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: level } }),
      packed.pass,
      createWriteStream(aside, { mode: 0o644 }),
    );
    await rename(aside, archive);
  } catch (caught) {
    await rm(aside, { force: true });
    throw caught;
  }
  const [contentHash, contentBytes] = content.end();
  const [archiveHash, archiveBytes] = packed.end();
  return { contentHash, contentBytes, archiveHash, archiveBytes };
}

async function hashContent(folder: string): Promise<ImageContent> {
  const content = createMeter();
  for await (const chunk of content.pass(packImage(folder))) void chunk;
  const [contentHash, contentBytes] = content.end();
  return { contentHash, contentBytes };
}

async function unpackArchive(order: {
  archive: string;
  folder: string;
  hash: string;
  bytes: string;
}): Promise<Record<string, never>> {
  const { archive, folder } = order;
  const bytesMax = Number(order.bytes);
  const meter = createMeter(bytesMax);
  try {
    for await (const chunk of meter.pass(unpacked(archive))) void chunk;
  } catch (caught) {
    const error = toError(caught);
    if (error instanceof PerigeeError) throw error;
    throw new PerigeeError('image_invalid', `The archive is damaged: ${error.message}`);
  }
  const [hash, bytes] = meter.end();
  if (hash !== order.hash || bytes !== bytesMax) {
    throw new PerigeeError('image_invalid', 'The archive is not the image that was asked for.');
  }
  // Nothing is written before every byte is known to be right: a second reading costs half a second.
  await mkdir(folder, { mode: 0o755 });
  await unpackImage(unpacked(archive), folder);
  return {};
}

async function* unpacked(archive: string): AsyncGenerator<Uint8Array, void, undefined> {
  const source = createReadStream(archive, { highWaterMark: 256 * 1024 });
  const plain = createZstdDecompress();
  const feeding = pipeline(source, plain);
  // An error of either end destroys `plain`, and so comes out of the loop below.
  feeding.catch(() => undefined);
  yield* plain as AsyncIterable<Uint8Array>;
  await feeding;
}

/** Hashes and counts what passes; refuses more than the bound, so that no archive can swell. */
function createMeter(bytesMax = Number.POSITIVE_INFINITY) {
  const digest = createHash('sha256');
  let bytes = 0;
  return {
    async *pass(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const chunk of source) {
        bytes += chunk.length;
        if (bytes > bytesMax) {
          throw new PerigeeError('image_invalid', 'The archive holds more than it should.');
        }
        digest.update(chunk);
        yield chunk;
      }
    },
    end: (): [string, number] => [digest.digest('hex'), bytes],
  };
}

function failureOf(error: Error): { code: string; message: string; fix: string } {
  if (error instanceof PerigeeError) {
    return { code: error.code, message: error.message, fix: error.fix };
  }
  const isFull = 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
  const { code, message, fix } = new PerigeeError(isFull ? 'disk_full' : 'internal', error.message);
  return { code, message, fix };
}

process.stdin.on('end', () => process.exit(1)).resume();
// Files are made with the modes that the image has, whatever the caller's umask.
process.umask(0o022);
main(process.argv.slice(2)).then(
  (answer) => {
    process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0));
  },
  (caught: unknown) => {
    process.stdout.write(`${JSON.stringify(failureOf(toError(caught)))}\n`, () => process.exit(1));
  },
);
