/**
 * Outputs on this node's disk, from the moment that a task writes them until the coordinator has
 * them. Memory holds pieces only. When too much waits to be handed in, writers wait; when nothing
 * would become free by waiting, they are refused.
 */
import { createHash } from 'node:crypto';
import { open, readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import type { OutputLimits } from './limits.ts';

/** Between two looks whether there is room. */
const lookMs = 100;

export interface SpooledFile {
  path: string;
  hash: BlobHash;
}

export interface OutputSpool {
  readonly limits: OutputLimits;
  /**
   * Waits until there is room, and keeps it until `write` or `giveBack`; answers a path that nobody uses.
   * @throws PerigeeError disk_full, or the signal's reason
   */
  reserve(sizeBytes: number, signal: AbortSignal): Promise<string>;
  /**
   * Writes the bytes below a reserved path. They belong to a running task from now on.
   * @throws PerigeeError disk_full; what the source throws
   */
  write(path: string, bytes: AsyncIterable<Uint8Array>): Promise<SpooledFile>;
  /** A running task does not hold it any more: it is handed in, or to be removed by who took it. */
  letGo(path: string): void;
  /** Removes it; also what was reserved only. */
  giveBack(path: string): Promise<void>;
}

/** A spool over a folder that is emptied by its owner. */
export function createOutputSpool(folder: string, limits: OutputLimits): OutputSpool {
  /** Room that was promised; all and only paths that are not written yet. */
  const reserved = new Map<string, number>();
  /** Of running tasks. */
  const held = new Set<string>();
  let count = 0;
  /** Looks are one after another: two writers must not be promised the same room. */
  let looking: Promise<unknown> = Promise.resolve();

  const measure = async (): Promise<{ heldBytes: number; leavingBytes: number }> => {
    let heldBytes = 0;
    let leavingBytes = 0;
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      if (reserved.has(path)) continue;
      const size = await sizeOf(path);
      if (held.has(path)) heldBytes += size;
      else leavingBytes += size;
    }
    for (const size of reserved.values()) heldBytes += size;
    return { heldBytes, leavingBytes };
  };
  /** Whether there is room now. */
  const tryReserve = async (path: string, sizeBytes: number): Promise<boolean> => {
    const { heldBytes, leavingBytes } = await measure();
    const disk = await statfs(folder);
    let promisedBytes = 0;
    for (const size of reserved.values()) promisedBytes += size;
    const freeBytes = disk.bavail * disk.bsize - promisedBytes - limits.diskFreeBytesMin;
    const spoolBytes = limits.spoolBytesMax - heldBytes - leavingBytes;
    if (sizeBytes <= Math.min(freeBytes, spoolBytes)) {
      reserved.set(path, sizeBytes);
      return true;
    }
    if (leavingBytes > 0) return false;
    throw new PerigeeError(
      'disk_full',
      `This node has no room for an output of ${sizeBytes} bytes: ${Math.max(0, freeBytes)} bytes of its disk are free for outputs, ${Math.max(0, spoolBytes)} of its spool.`,
      {
        fix: 'Free disk below the agent’s data folder, raise PERIGEE_OUTPUT_SPOOL_BYTES_MAX, or write less in one task.',
      },
    );
  };

  return {
    limits,
    async reserve(sizeBytes, signal) {
      count += 1;
      const path = join(folder, `output-${count}`);
      for (;;) {
        signal.throwIfAborted();
        const look = looking.then(() => tryReserve(path, sizeBytes));
        looking = look.catch(() => undefined);
        if (await look) return path;
        await pause(lookMs, undefined, { signal });
      }
    },
    async write(path, bytes) {
      const digest = createHash('sha256');
      try {
        const file = await open(path, 'wx', 0o600);
        try {
          for await (const piece of bytes) {
            digest.update(piece);
            await file.writeFile(piece);
          }
        } finally {
          await file.close();
        }
      } catch (caught) {
        await rm(path, { force: true });
        reserved.delete(path);
        throw spoolError(caught);
      }
      held.add(path);
      reserved.delete(path);
      return { path, hash: digest.digest('hex') as BlobHash };
    },
    letGo(path) {
      held.delete(path);
    },
    async giveBack(path) {
      held.delete(path);
      reserved.delete(path);
      await rm(path, { force: true });
    },
  };
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    // Handed in between the two looks.
    return 0;
  }
}

function spoolError(caught: unknown): Error {
  const error = toError(caught);
  const code = 'code' in error ? error.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new PerigeeError('disk_full', `This node's disk is full: ${error.message}`, {
    cause: error,
    fix: 'Free disk below the agent’s data folder.',
  });
}
