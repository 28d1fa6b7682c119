/**
 * Answers the kernel's requests for one mount. A thread of its own waits in a read of /dev/fuse,
 * which blocks, and hands each request over; replies are written from here, by whichever turn has
 * one. Nothing here may touch a path below the mount: it would wait for itself.
 */
import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { toError } from '../../../protocol/base/errors.ts';
import type { AssetVersion, ByteRange } from '../port.ts';
import type { FuseRequest } from './frames.ts';
import {
  answerInit,
  decodeName,
  decodeRead,
  decodeRequest,
  encodeAttributes,
  encodeEntry,
  encodeError,
  encodeOpened,
  encodeReply,
  encodeStatfs,
  errnos,
  opcodes,
  requestBytesMax,
} from './frames.ts';
import type { FuseTree, LazyFile } from './tree.ts';

export interface ServeDeps {
  tree: FuseTree;
  read(version: AssetVersion, range: ByteRange, file: LazyFile): Promise<Uint8Array>;
  warn(fields: object, message: string): void;
}

/** Waits in the kernel: `fs` on the main thread would hold one of the few threads that all I/O shares. */
const readerSource = `
const { readSync } = require('node:fs');
const { parentPort, workerData } = require('node:worker_threads');
const buffer = Buffer.alloc(workerData.bytesMax);
for (;;) {
  let size;
  try {
    size = readSync(workerData.fd, buffer, 0, buffer.length, null);
  } catch (caught) {
    // ENOENT: the request was given up meanwhile. ENODEV: it has been unmounted.
    if (caught.code === 'ENOENT' || caught.code === 'EINTR' || caught.code === 'EAGAIN') continue;
    break;
  }
  if (size === 0) break;
  parentPort.postMessage(Uint8Array.prototype.slice.call(buffer, 0, size));
}
`;

export interface FuseServer {
  /** The kernel and this have agreed: the mount answers. */
  readonly ready: Promise<void>;
  /** The mount is gone. */
  readonly ended: Promise<void>;
}

/** Serves a descriptor of /dev/fuse until it is unmounted. */
export function serveFuse(fd: number, deps: ServeDeps): FuseServer {
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const reader = new Worker(readerSource, {
    eval: true,
    // Flags of the process (--input-type, loaders) are not for this text.
    execArgv: [],
    workerData: { fd, bytesMax: requestBytesMax },
  });
  reader.on('message', (bytes: Uint8Array) => {
    perform(decodeRequest(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)));
  });
  reader.once('error', (caught) =>
    deps.warn({ error: toError(caught).message }, 'The FUSE reader failed.'),
  );
  reader.once('exit', () => {
    ready.reject(new Error('the kernel ended the mount at its start'));
    ended.resolve();
  });
  ready.promise.catch(() => undefined);

  const send = (bytes: Buffer): void => {
    try {
      writeSync(fd, bytes);
    } catch (caught) {
      // ENOENT: whoever asked was killed meanwhile. ENODEV and EPERM: it has been unmounted.
      const { code } = caught as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENODEV' || code === 'EPERM') return;
      deps.warn({ error: toError(caught).message }, 'A reply to the kernel failed.');
    }
  };
  const reply = (request: FuseRequest, body: Uint8Array): void =>
    send(encodeReply(request.unique, body));
  const fail = (request: FuseRequest, errno: number): void =>
    send(encodeError(request.unique, errno));

  const perform = (request: FuseRequest): void => {
    const { tree } = deps;
    switch (request.opcode) {
      case opcodes.init: {
        const answer = answerInit(request.body);
        if (answer === undefined) fail(request, errnos.noSystemCall);
        else reply(request, answer);
        if (answer !== undefined) ready.resolve();
        break;
      }
      case opcodes.lookup: {
        const found = tree.lookup(request.node, decodeName(request.body));
        if (found === undefined) fail(request, errnos.noEntry);
        else reply(request, encodeEntry(found));
        break;
      }
      case opcodes.getattr: {
        const found = tree.find(request.node);
        if (found === undefined) fail(request, errnos.noEntry);
        else reply(request, encodeAttributes(found));
        break;
      }
      case opcodes.open:
        if (tree.findFile(request.node) === undefined) fail(request, errnos.noEntry);
        else reply(request, encodeOpened(true));
        break;
      case opcodes.read:
        void read(request);
        break;
      case opcodes.opendir:
        reply(request, encodeOpened(false));
        break;
      // Names are told to whom they were given, and to nobody else.
      case opcodes.readdir:
      case opcodes.release:
      case opcodes.releasedir:
      case opcodes.flush:
        reply(request, Buffer.alloc(0));
        break;
      case opcodes.statfs:
        reply(request, encodeStatfs());
        break;
      // Not answered, by the protocol.
      case opcodes.forget:
      case opcodes.batchForget:
      case opcodes.interrupt:
      case opcodes.destroy:
        break;
      default:
        fail(request, errnos.noSystemCall);
    }
  };

  const read = async (request: FuseRequest): Promise<void> => {
    const file = deps.tree.findFile(request.node);
    if (file === undefined) {
      fail(request, errnos.stale);
      return;
    }
    const { offset, length } = decodeRead(request.body);
    const end = Math.min(offset + length, file.sizeBytes);
    if (offset >= end) {
      reply(request, Buffer.alloc(0));
      return;
    }
    try {
      const bytes = await deps.read(file.version, { offset, length: end - offset }, file);
      // A short read would be taken for the file's end and filled up with zeros.
      if (bytes.length !== end - offset) throw new Error(`a read of ${bytes.length} bytes`);
      reply(request, bytes);
    } catch (caught) {
      file.failure = toError(caught);
      fail(request, errnos.io);
    }
  };

  return { ready: ready.promise, ended: ended.promise };
}
