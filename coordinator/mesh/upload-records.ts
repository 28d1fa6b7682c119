/**
 * Remembers who has put which blob. Blobs that reach the disk together (`store/commit-files.ts`) are
 * recorded together: each by itself would be a sync of the database, on the thread that does all else.
 */
import { toError } from '../../protocol/base/errors.ts';
import type { BlobUpload, Store } from '../store/port.ts';

export interface UploadRecords {
  /** Resolves when it is on disk. */
  record(upload: BlobUpload): Promise<void>;
}

interface Waiting {
  upload: BlobUpload;
  resolve(): void;
  reject(error: Error): void;
}

export function createUploadRecords(store: Pick<Store, 'recordUploads'>): UploadRecords {
  let waiting: Waiting[] = [];
  const flush = async (): Promise<void> => {
    const taken = waiting;
    waiting = [];
    try {
      await store.recordUploads(taken.map(({ upload }) => upload));
      for (const { resolve } of taken) resolve();
    } catch (caught) {
      for (const { reject } of taken) reject(toError(caught));
    }
  };
  return {
    record: (upload) =>
      new Promise((resolve, reject) => {
        // What else ends in this turn of the loop goes with it.
        if (waiting.length === 0) setImmediate(() => void flush());
        waiting.push({ upload, resolve, reject });
      }),
  };
}
