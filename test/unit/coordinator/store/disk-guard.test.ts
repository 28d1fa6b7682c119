import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { createDiskGuard, readDisk } from '../../../../coordinator/store/disk-guard.ts';

const mib = 1024 ** 2;

describe('disk guard', () => {
  it('refuses below the larger of the two marks, and takes again when there is room', async () => {
    const disk = { freeBytes: 600 * mib, totalBytes: 10_000 * mib };
    const warnings: string[] = [];
    const guard = createDiskGuard(
      {
        readDisk: async () => ({ ...disk }),
        log: { warn: (_fields, message) => void warnings.push(message) },
      },
      { freeBytesMin: 512 * mib, freeShareMin: 0.02, recheckMs: 1 },
    );
    await guard.start();
    try {
      await guard.assertRoom(50 * mib);
      await expect(guard.assertRoom(100 * mib)).rejects.toMatchObject({
        code: 'disk_full',
        message: expect.stringContaining('550 MiB free and keeps 512 MiB'),
      });
      expect(guard.isFull()).toBe(false);
      disk.totalBytes = 100_000 * mib;
      await expect.poll(() => guard.isFull()).toBe(true);
      await expect(guard.assertRoom(0)).rejects.toMatchObject({ code: 'disk_full' });
      disk.freeBytes = 3_000 * mib;
      await expect.poll(() => guard.isFull()).toBe(false);
      await guard.assertRoom(0);
      expect(warnings).toHaveLength(1);
    } finally {
      guard.stop();
    }
  });

  it('does not take a failing look for a full disk', async () => {
    const guard = createDiskGuard(
      {
        readDisk: async () => {
          throw new Error('EIO');
        },
        log: { warn: () => {} },
      },
      { freeBytesMin: 1, freeShareMin: 0, recheckMs: 1_000 },
    );
    await guard.start();
    guard.stop();
    expect(guard.isFull()).toBe(false);
    await guard.assertRoom(1);
  });

  it('reads the disk that a directory is on', async () => {
    const folder = mkdtempSync(`${tmpdir()}/perigee-disk-`);
    const disk = await readDisk(folder);
    rmSync(folder, { recursive: true });
    expect(disk.totalBytes).toBeGreaterThan(0);
    expect(disk.freeBytes).toBeLessThanOrEqual(disk.totalBytes);
  });
});
