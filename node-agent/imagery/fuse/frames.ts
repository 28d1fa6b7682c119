/**
 * The part of the kernel's FUSE protocol that a read-only file system needs (linux/fuse.h, 7.31 and
 * later): requests read from /dev/fuse, replies written to it. Numbers are of the machine's own
 * order of bytes; every machine that Node runs on here is little-endian.
 */

/** Requests by number; others are answered with ENOSYS. */
export const opcodes = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  open: 14,
  read: 15,
  statfs: 17,
  release: 18,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
} as const;

export const errnos = {
  noEntry: 2,
  io: 5,
  again: 11,
  invalid: 22,
  noSystemCall: 38,
  stale: 116,
} as const;

/** The longest read that the kernel is asked to make at once. */
export const readBytesMax = 1024 * 1024;
/** Requests of a read-only file system are short; the kernel wants this much room at least. */
export const requestBytesMax = 8_192;

const requestHeadBytes = 40;
const replyHeadBytes = 16;
const attributeBytes = 88;
const pageBytes = 4_096;
const minorMin = 31;
const minorMax = 38;
/** Big reads, several of one file at once, and any length of them. */
const initFlags = { asyncRead: 1 << 0, parallelDirectories: 1 << 18, maxPages: 1 << 22 };
const keepCacheFlag = 1 << 1;
const folderMode = 0o040555;
const fileMode = 0o100444;

export interface FuseRequest {
  opcode: number;
  unique: bigint;
  node: number;
  body: Buffer;
}

/** A file or folder as the kernel is told of it. */
export interface FuseNode {
  node: number;
  /** Null for a folder. */
  sizeBytes: number | null;
}

/** Reads one request. @throws Error when it is shorter than it says. */
export function decodeRequest(bytes: Buffer): FuseRequest {
  if (bytes.length < requestHeadBytes || bytes.readUInt32LE(0) !== bytes.length) {
    throw new Error('a malformed request of the kernel');
  }
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: Number(bytes.readBigUInt64LE(16)),
    body: bytes.subarray(requestHeadBytes),
  };
}

export function encodeReply(unique: bigint, body: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(replyHeadBytes + body.length);
  writeHead(bytes, unique, 0);
  bytes.set(body, replyHeadBytes);
  return bytes;
}

export function encodeError(unique: bigint, errno: number): Buffer {
  const bytes = Buffer.alloc(replyHeadBytes);
  writeHead(bytes, unique, -errno);
  return bytes;
}

function writeHead(bytes: Buffer, unique: bigint, error: number): void {
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeInt32LE(error, 4);
  bytes.writeBigUInt64LE(unique, 8);
}

/**
 * What is agreed on with the kernel; undefined when it is older than what this can speak with.
 * @throws RangeError when the request is cut.
 */
export function answerInit(body: Buffer): Buffer | undefined {
  const minor = body.readUInt32LE(4);
  if (body.readUInt32LE(0) !== 7 || minor < minorMin) return undefined;
  const offered = body.readUInt32LE(12);
  const wanted = initFlags.asyncRead | initFlags.parallelDirectories | initFlags.maxPages;
  const reply = Buffer.alloc(64);
  reply.writeUInt32LE(7, 0);
  reply.writeUInt32LE(Math.min(minor, minorMax), 4);
  reply.writeUInt32LE(Math.min(body.readUInt32LE(8), readBytesMax), 8);
  reply.writeUInt32LE((offered & wanted) >>> 0, 12);
  // Requests that the kernel may have on the way of its own accord, and when it slows down.
  reply.writeUInt16LE(64, 16);
  reply.writeUInt16LE(48, 18);
  // Nothing is written, but the least that is allowed bounds the room that a request needs.
  reply.writeUInt32LE(pageBytes, 20);
  reply.writeUInt32LE(1, 24);
  reply.writeUInt16LE(readBytesMax / pageBytes, 28);
  return reply;
}

/** For `lookup`. The kernel may keep what it learned: a name is never given to another file. */
export function encodeEntry(node: FuseNode): Buffer {
  const bytes = Buffer.alloc(40 + attributeBytes);
  bytes.writeBigUInt64LE(BigInt(node.node), 0);
  bytes.writeBigUInt64LE(BigInt(validSeconds), 16);
  bytes.writeBigUInt64LE(BigInt(validSeconds), 24);
  writeAttributes(bytes, node, 40);
  return bytes;
}

/** For `getattr`. */
export function encodeAttributes(node: FuseNode): Buffer {
  const bytes = Buffer.alloc(16 + attributeBytes);
  bytes.writeBigUInt64LE(BigInt(validSeconds), 0);
  writeAttributes(bytes, node, 16);
  return bytes;
}

const validSeconds = 3_600;

function writeAttributes(bytes: Buffer, { node, sizeBytes }: FuseNode, at: number): void {
  const size = sizeBytes ?? 0;
  bytes.writeBigUInt64LE(BigInt(node), at);
  bytes.writeBigUInt64LE(BigInt(size), at + 8);
  bytes.writeBigUInt64LE(BigInt(Math.ceil(size / 512)), at + 16);
  bytes.writeUInt32LE(sizeBytes === null ? folderMode : fileMode, at + 60);
  bytes.writeUInt32LE(sizeBytes === null ? 2 : 1, at + 64);
  bytes.writeUInt32LE(pageBytes, at + 80);
}

/** For `open` and `opendir`; pages that the kernel has of a file stay good from one open to the next. */
export function encodeOpened(keepCache: boolean): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(keepCache ? keepCacheFlag : 0, 8);
  return bytes;
}

export function decodeRead(body: Buffer): { offset: number; length: number } {
  return { offset: Number(body.readBigUInt64LE(8)), length: body.readUInt32LE(16) };
}

/** The name in a `lookup`, which ends with a zero byte. */
export function decodeName(body: Buffer): string {
  return body.toString('utf8', 0, Math.max(0, body.length - 1));
}

/** For `statfs`: an empty, full file system. */
export function encodeStatfs(): Buffer {
  const bytes = Buffer.alloc(80);
  bytes.writeUInt32LE(pageBytes, 40);
  bytes.writeUInt32LE(255, 44);
  bytes.writeUInt32LE(pageBytes, 48);
  return bytes;
}
