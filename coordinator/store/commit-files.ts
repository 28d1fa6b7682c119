/**
 * Puts new files on disk under their names, several together: a sync of a file, and of the folder that
 * names it, ends a transaction of the file system, which those that wait for one can share. What comes
 * while some are on their way is the next run, so that under load a run is large and alone a file waits
 * for nobody.
 */
import type { FileHandle } from 'node:fs/promises';
import { open, rename } from 'node:fs/promises';
import { toError } from '../../protocol/base/errors.ts';

/** A file that is written, by a name that nobody looks for. */
export interface WrittenFile {
  /** Closed by the commit, however that ends. */
  file: FileHandle;
  from: string;
  /** Its name from now on. */
  to: string;
  /** The folder of `to`. */
  folder: string;
}

export interface FileCommitter {
  /**
   * Resolves when the file has its name and both are on disk.
   * @throws Error of the file system.
   */
  commit(written: WrittenFile): Promise<void>;
}

interface Waiting {
  written: WrittenFile;
  resolve(): void;
  reject(error: Error): void;
}

/** Files of one run; the syncs of more would keep the thread pool from all other work. */
const runFilesMax = 32;

export function createFileCommitter(): FileCommitter {
  let waiting: Waiting[] = [];
  let isRunning = false;

  const run = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    while (waiting.length > 0) {
      const files = waiting.slice(0, runFilesMax);
      waiting = waiting.slice(runFilesMax);
      await commitRun(files);
    }
    isRunning = false;
  };
  return {
    commit: (written) =>
      new Promise((resolve, reject) => {
        waiting.push({ written, resolve, reject });
        void run();
      }),
  };
}

/** Never throws: each file is told by itself. */
async function commitRun(files: readonly Waiting[]): Promise<void> {
  const named = (await Promise.all(files.map((each) => settle(each, nameFile)))).filter(isFound);
  const folders = Map.groupBy(named, ({ written }) => written.folder);
  const synced = await Promise.all(
    [...folders].map(async ([folder, those]) => {
      try {
        await syncFolder(folder);
        return those;
      } catch (caught) {
        for (const { reject } of those) reject(toError(caught));
        return [];
      }
    }),
  );
  // Together, so that what is written of them next is written together too.
  for (const { resolve } of synced.flat()) resolve();
}

async function nameFile({ file, from, to }: WrittenFile): Promise<void> {
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(from, to);
}

async function settle(
  each: Waiting,
  work: (written: WrittenFile) => Promise<void>,
): Promise<Waiting | undefined> {
  try {
    await work(each.written);
    return each;
  } catch (caught) {
    each.reject(toError(caught));
    return undefined;
  }
}

function isFound(each: Waiting | undefined): each is Waiting {
  return each !== undefined;
}

/** The names in a folder must outlive a power cut as well as the bytes do. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
