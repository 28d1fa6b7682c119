/**
 * What a function carries as one tar: the same files make the same bytes, in the Python SDK too.
 * Files are read as they are needed and never held as a whole.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import type { IncludedFile } from './include-files.ts';

const blockBytes = 512;
const readBytes = 256 * 1024;
/** Of every entry: 1980. */
const mtimeSeconds = 315_532_800;

/** The bytes, anew at each call. */
export async function* readArchive(
  files: ReadonlyMap<string, IncludedFile>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const folders = new Set<string>();
  for (const name of files.keys()) {
    const parts = name.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) {
      folders.add(parts.slice(0, depth).join('/'));
    }
  }
  const names = [...folders, ...files.keys()].map((name) => Buffer.from(name));
  for (const name of names.sort(Buffer.compare)) {
    const file = files.get(name.toString('utf8'));
    if (file === undefined) yield headOf(name, { size: 0, mode: 0o755, kind: '5' });
    else {
      const mode = file.isProgram ? 0o755 : 0o644;
      yield headOf(name, { size: file.sizeBytes, mode, kind: '0' });
      yield* readFile(file);
    }
  }
  yield Buffer.alloc(2 * blockBytes);
}

/** The archive's hash; reads everything. */
export async function hashArchive(files: ReadonlyMap<string, IncludedFile>): Promise<BlobHash> {
  const hash = createHash('sha256');
  for await (const piece of readArchive(files)) hash.update(piece);
  return hash.digest('hex') as BlobHash;
}

interface Entry {
  size: number;
  mode: number;
  kind: string;
}

function headOf(name: Buffer, entry: Entry): Buffer {
  if (name.length <= 100) return ustar(name, entry);
  // GNU's way: the whole name is the content of an entry before.
  const text = Buffer.concat([name, Buffer.alloc(1)]);
  const longHead = ustar(Buffer.from('././@LongLink'), {
    size: text.length,
    mode: 0o644,
    kind: 'L',
  });
  const padding = Buffer.alloc(paddingOf(text.length));
  return Buffer.concat([longHead, text, padding, ustar(name.subarray(0, 100), entry)]);
}

function ustar(name: Buffer, { size, mode, kind }: Entry): Buffer {
  const head = Buffer.alloc(blockBytes);
  name.copy(head);
  head.write(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0`, 100, 'latin1');
  if (size < 8 ** 11) head.write(`${octal(size, 11)}\0`, 124, 'latin1');
  else {
    // Base 256, for files of 8 GiB and more.
    head.writeBigUInt64BE(BigInt(size), 128);
    head[124] = 0x80;
  }
  head.write(`${octal(mtimeSeconds, 11)}\0        ${kind}`, 136, 'latin1');
  head.write('ustar  \0', 257, 'latin1');
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${octal(sum, 6)}\0 `, 148, 'latin1');
  return head;
}

function octal(number: number, digits: number): string {
  return number.toString(8).padStart(digits, '0');
}

function paddingOf(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

async function* readFile(file: IncludedFile): AsyncGenerator<Uint8Array, void, undefined> {
  let left = file.sizeBytes;
  for await (const piece of createReadStream(file.path, { highWaterMark: readBytes })) {
    left -= piece.length;
    if (left < 0) break;
    yield piece;
  }
  if (left !== 0) {
    throw new PerigeeError('invalid_request', `${file.path} changed while it was being read.`, {
      fix: 'Make the function again when nobody writes to it.',
    });
  }
  yield Buffer.alloc(paddingOf(file.sizeBytes));
}
