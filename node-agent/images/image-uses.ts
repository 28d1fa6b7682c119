/**
 * Which images the agents of this machine are using: a file for each image and agent in
 * `<images>/.uses`, so that no agent removes what another one's sandboxes stand on. The file's name is
 * its owner's mark: what `kill -9` leaves behind counts for nothing.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { toError } from '../../protocol/base/errors.ts';
import { formatAgentMark, isStaleMark, readAgentMark } from '../runner/agent-mark.ts';

export interface ImageUses {
  /**
   * From now on they are in use; each call is ended by one of `end`. A mark that cannot be written
   * fails nobody: this agent knows without it, and others once `refresh` has written it.
   */
  begin(folders: readonly string[]): void;
  end(folders: readonly string[]): void;
  /** Whether any agent of this machine uses an image. */
  isUsed(folder: string): Promise<boolean>;
  /** Tells agents that cannot see this process that it is still there. */
  refresh(): Promise<void>;
  close(): void;
}

/** An agent of another pid namespace is taken to be gone after so long without a sign. */
const unseenMs = 600_000;

/** Uses of images, by the names of their folders in `<images>`. */
export function createImageUses(
  images: string,
  onUnmarked: (image: string, error: Error) => void = () => undefined,
): ImageUses {
  const folder = join(images, '.uses');
  const mark = readAgentMark();
  const own = formatAgentMark(mark);
  const counts = new Map<string, number>();
  const fileOf = (image: string): string => join(folder, `${image}.${own}`);
  const writeMark = (image: string): void => {
    try {
      mkdirSync(folder, { recursive: true });
      writeFileSync(fileOf(image), '');
    } catch (caught) {
      onUnmarked(image, toError(caught));
    }
  };
  const removeMark = (image: string): void => {
    try {
      rmSync(fileOf(image), { force: true });
    } catch (caught) {
      // It keeps the image until this process is gone.
      onUnmarked(image, toError(caught));
    }
  };
  return {
    begin(names) {
      for (const name of names) {
        const count = counts.get(name) ?? 0;
        if (count === 0) writeMark(name);
        counts.set(name, count + 1);
      }
    },
    end(names) {
      for (const name of names) {
        const count = (counts.get(name) ?? 0) - 1;
        if (count > 0) counts.set(name, count);
        else {
          counts.delete(name);
          removeMark(name);
        }
      }
    },
    async isUsed(name) {
      if (counts.has(name)) return true;
      for (const file of await readdir(folder).catch(() => [])) {
        if (!file.startsWith(`${name}.`)) continue;
        const owner = file.slice(name.length + 1);
        const path = join(folder, file);
        const isNear = owner.startsWith(`agent-${mark.pidNamespace}-`);
        const found = await stat(path).catch(() => null);
        if (found === null) continue;
        const isGone = isNear ? isStaleMark(owner, mark) : Date.now() - found.mtimeMs > unseenMs;
        if (!isGone) return true;
        await rm(path, { force: true });
      }
      return false;
    },
    async refresh() {
      const now = new Date();
      for (const name of [...counts.keys()]) {
        await utimes(fileOf(name), now, now).catch(() => {
          // It may have ended meanwhile; else its mark could not be written.
          if (counts.has(name)) writeMark(name);
        });
      }
    },
    close() {
      for (const name of counts.keys()) removeMark(name);
      counts.clear();
    },
  };
}
