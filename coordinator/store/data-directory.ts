/**
 * The coordinator's directory: made 0700, tried for writing, and locked. The lock is an exclusive
 * lock of a small SQLite file, so the kernel drops it when the process dies, however it dies.
 */
import { mkdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';

/** An opened and locked directory. */
export interface DataDirectory {
  readonly path: string;
  /** The database's file. */
  readonly databaseFile: string;
  /** The file of the imagery's catalogue. */
  readonly stacFile: string;
  readonly blobFolder: string;
  /** Gives the lock back; idempotent. */
  release(): void;
}

/**
 * Makes, checks and locks the directory.
 * @throws PerigeeError data_unwritable, data_locked
 */
export function openDataDirectory(path: string): DataDirectory {
  const blobFolder = join(path, 'blobs');
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!statSync(path).isDirectory()) throw new Error('it is not a directory');
    // Only writing tells: the mode says nothing of read-only mounts, and root passes every mode.
    const probe = join(path, `.write-probe-${process.pid}`);
    writeFileSync(probe, '', { mode: 0o600 });
    unlinkSync(probe);
    mkdirSync(blobFolder, { recursive: true, mode: 0o700 });
  } catch (caught) {
    const cause = toError(caught);
    throw new PerigeeError('data_unwritable', `${path} cannot be written: ${cause.message}`, {
      cause,
    });
  }
  const lock = takeLock(path);
  return {
    path,
    databaseFile: join(path, 'perigee.db'),
    stacFile: join(path, 'stac.db'),
    blobFolder,
    release: () => lock.close(),
  };
}

function takeLock(path: string): Database.Database {
  const file = join(path, 'lock.db');
  let lock: Database.Database | undefined;
  try {
    lock = new Database(file, { timeout: 0 });
    lock.pragma('locking_mode = exclusive');
    // Nothing is ever written: no journal file may stay behind.
    lock.pragma('journal_mode = memory');
    lock.exec('begin exclusive');
    return lock;
  } catch (caught) {
    lock?.close();
    const cause = toError(caught);
    if ('code' in cause && String(cause.code).startsWith('SQLITE_BUSY')) {
      throw new PerigeeError('data_locked', `Another coordinator uses ${path}.`, { cause });
    }
    throw new PerigeeError('data_unwritable', `${file} cannot be locked: ${cause.message}`, {
      cause,
    });
  }
}
