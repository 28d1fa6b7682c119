/**
 * The high-water mark: new work is refused while the disk still has room for what was accepted.
 * Looked at by a timer, so that submissions can ask without waiting.
 */
import { statfs } from 'node:fs/promises';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';

/** Free bytes below which nothing new is taken: the larger of the two. */
export interface DiskGuardSettings {
  freeBytesMin: number;
  /** Share of the whole disk, 0-1. */
  freeShareMin: number;
  recheckMs: number;
}

export interface DiskSpace {
  freeBytes: number;
  totalBytes: number;
}

export interface DiskGuardDeps {
  readDisk(): Promise<DiskSpace>;
  log: { warn(fields: object, message: string): void };
}

/** Says whether there is room for new work. */
export interface DiskGuard {
  /** Looks once, then again and again. */
  start(): Promise<void>;
  stop(): void;
  isFull(): boolean;
  /**
   * Whether so many bytes more may be taken; what was let through since the last look counts.
   * @throws PerigeeError disk_full with how much is free and how much is kept.
   */
  assertRoom(bytes: number): Promise<void>;
}

/** A guard that is not started; until then nothing is full. */
export function createDiskGuard(deps: DiskGuardDeps, settings: DiskGuardSettings): DiskGuard {
  let full = false;
  let freeBytes = Number.POSITIVE_INFINITY;
  let wantedBytes = 0;
  let takenBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    try {
      const disk = await deps.readDisk();
      freeBytes = disk.freeBytes;
      wantedBytes = Math.max(settings.freeBytesMin, disk.totalBytes * settings.freeShareMin);
      takenBytes = 0;
      const isFull = freeBytes < wantedBytes;
      if (isFull && !full) {
        const fields = { freeBytes, wantedBytes };
        deps.log.warn(fields, 'the disk is past its high-water mark: no new work is taken');
      }
      full = isFull;
    } catch (caught) {
      // Not known is not full: a failing look must not stop a healthy coordinator.
      deps.log.warn({ err: toError(caught) }, 'the disk cannot be looked at');
    }
  };
  return {
    async start() {
      await look();
      timer = setInterval(() => void look(), settings.recheckMs);
    },
    stop: () => clearInterval(timer),
    isFull: () => full,
    async assertRoom(bytes) {
      const leftBytes = Math.max(0, freeBytes - takenBytes);
      if (leftBytes - bytes < wantedBytes) {
        throw new PerigeeError(
          'disk_full',
          `The coordinator’s disk has ${mebibytes(leftBytes)} MiB free and keeps ${mebibytes(wantedBytes)} MiB for work already accepted; nothing new is taken.`,
        );
      }
      takenBytes += bytes;
    },
  };
}

/** Reads the disk that a directory is on. */
export async function readDisk(path: string): Promise<DiskSpace> {
  const disk = await statfs(path);
  return { freeBytes: disk.bavail * disk.bsize, totalBytes: disk.blocks * disk.bsize };
}

function mebibytes(bytes: number): number {
  return Math.floor(bytes / 1024 ** 2);
}
