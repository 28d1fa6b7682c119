/**
 * Which images the agents of this machine are using: a file for each image and agent in
 * `<images>/.uses`, so that no agent removes what another one's sandboxes stand on. The file's name is
 * its owner's mark: what `kill -9` leaves behind counts for nothing.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { formatAgentMark, isStaleMark, readAgentMark } from '../runner/agent-mark.ts';

export interface ImageUses {
  /** From now on they are in use; each call is ended by one of `end`. */
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
export function createImageUses(images: string): ImageUses {
  const folder = join(images, '.uses');
  const mark = readAgentMark();
  const own = formatAgentMark(mark);
  const counts = new Map<string, number>();
  const fileOf = (image: string): string => join(folder, `${image}.${own}`);
  return {
    begin(names) {
      for (const name of names) {
        const count = counts.get(name) ?? 0;
        if (count === 0) {
          mkdirSync(folder, { recursive: true });
          writeFileSync(fileOf(name), '');
        }
        counts.set(name, count + 1);
      }
    },
    end(names) {
      for (const name of names) {
        const count = (counts.get(name) ?? 0) - 1;
        if (count > 0) counts.set(name, count);
        else {
          counts.delete(name);
          rmSync(fileOf(name), { force: true });
        }
      }
    },
    async isUsed(name) {
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
      for (const name of counts.keys()) {
        // It may have ended meanwhile.
        await utimes(fileOf(name), now, now).catch(() => undefined);
      }
    },
    close() {
      for (const name of counts.keys()) rmSync(fileOf(name), { force: true });
      counts.clear();
    },
  };
}
