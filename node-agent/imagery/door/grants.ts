/**
 * The files that the tasks of one worker have been given: hard links below its /in, one folder
 * each, gone when the task that asked ends. A folder's name is never used again, so a path that
 * exists is one that the running task may read.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import type { AssetVersion, ImageryCache } from '../port.ts';

/** Assets that one task may hold open; the next is refused. */
export const grantsMax = 1_000;

/** One asset in the hands of a task. */
export interface Grant {
  version: AssetVersion;
  /** As the sandbox sees it. */
  path: string;
}

export interface GrantsDeps {
  cache: ImageryCache;
  namespace: NamespaceName;
  /** The machine's path of the worker's /in. */
  folder: string;
  /** The same folder as the sandbox sees it. */
  inPath(): string;
  /** Makes a cached file readable at a path of the worker's; by a hard link where possible. */
  place(from: string, to: string): Promise<void>;
}

interface Held {
  grant: Grant;
  folder: string;
  release(): void;
}

export class Grants {
  readonly #deps: GrantsDeps;
  /** By task and URI; all and only what running tasks hold or are being given. */
  readonly #tasks = new Map<number, Map<string, Promise<Held>>>();
  #count = 0;

  constructor(deps: GrantsDeps) {
    this.#deps = deps;
  }

  /**
   * The asset as a local file; the same one for every asker of a task.
   * @throws PerigeeError queue_full beyond `grantsMax`, and what the cache throws.
   */
  async open(task: number, uri: string, signal: AbortSignal): Promise<Grant> {
    let held = this.#tasks.get(task);
    if (held === undefined) {
      held = new Map();
      this.#tasks.set(task, held);
    }
    let one = held.get(uri);
    if (one === undefined) {
      if (held.size >= grantsMax) {
        throw new PerigeeError('queue_full', `A task may open at most ${grantsMax} assets.`, {
          fix: 'Split the work into more tasks.',
        });
      }
      one = this.#give(uri, signal);
      held.set(uri, one);
      // A failure is not kept: the next asker tries again.
      one.catch(() => held.delete(uri));
    }
    return (await one).grant;
  }

  /** Takes back what a task was given. */
  release(task: number): void {
    const held = this.#tasks.get(task);
    if (held === undefined) return;
    this.#tasks.delete(task);
    for (const one of held.values()) {
      one.then(drop, () => undefined);
    }
  }

  releaseAll(): void {
    for (const task of [...this.#tasks.keys()]) this.release(task);
  }

  async #give(uri: string, signal: AbortSignal): Promise<Held> {
    const { cache, namespace, place } = this.#deps;
    const whole = await cache.openWhole({ uri, namespace }, signal);
    this.#count += 1;
    const name = join('assets', String(this.#count));
    const folder = join(this.#deps.folder, name);
    const file = fileNameOf(whole.version.uri);
    const held: Held = {
      grant: { version: whole.version, path: join(this.#deps.inPath(), name, file) },
      folder,
      release: whole.release,
    };
    try {
      mkdirSync(folder, { recursive: true, mode: 0o755 });
      await place(whole.path, join(folder, file));
      signal.throwIfAborted();
    } catch (caught) {
      drop(held);
      throw caught;
    }
    return held;
  }
}

function drop(held: Held): void {
  rmSync(held.folder, { recursive: true, force: true });
  held.release();
}

/** The last part of a URI's path as a harmless file name: GDAL looks at the extension. */
export function fileNameOf(uri: string): string {
  const path = uri.replace(/[?#].*$/, '');
  const name = path.slice(path.lastIndexOf('/') + 1).replace(/[^A-Za-z0-9._-]/g, '_');
  const short = name.slice(-100).replace(/^\.+/, '');
  return short === '' ? 'asset' : short;
}
