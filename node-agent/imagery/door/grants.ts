/**
 * The files that the tasks of one worker have been given: hard links below its /in, one folder
 * each, gone when the task that asked ends. A folder's name is never used again, so a path that
 * exists is one that the running task may read.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import type { LazyFiles } from '../fuse/lazy-files.ts';
import type { AssetVersion, ImageryCache, WholeAsset } from '../port.ts';
import { noRoom } from '../port.ts';

/** Assets that one task may hold open; the next is refused. */
export const grantsMax = 1_000;

/** One asset in the hands of a task. */
export interface Grant {
  version: AssetVersion;
  /** As the sandbox sees it. */
  path: string;
  /** One file on the disk, or one that is filled as it is read. */
  way: 'whole' | 'lazy';
}

export interface GrantsDeps {
  cache: ImageryCache;
  namespace: NamespaceName;
  /** The machine's path of the worker's /in. */
  folder: string;
  /** The same folder as the sandbox sees it. */
  inPath(): string;
  /** For assets above a size; null where all are fetched whole. */
  lazy: { files: LazyFiles; wholeAssetBytesMax: number } | null;
  /** Makes a cached file readable at a path of the worker's; by a hard link where possible. */
  place(from: string, to: string): Promise<void>;
}

interface Held {
  grant: Grant;
  /** The machine's path of its folder; null for a file of the mount. */
  folder: string | null;
  /** Why the last read of it failed. */
  findFailure(): Error | null;
  release(): void;
}

export class Grants {
  readonly #deps: GrantsDeps;
  /** By task and URI; all and only what running tasks hold or are being given. */
  readonly #tasks = new Map<number, Map<string, Promise<Held>>>();
  /** By task: files of versions that are no more, in the task's hands until it ends. */
  readonly #outdated = new Map<number, Held[]>();
  #count = 0;

  constructor(deps: GrantsDeps) {
    this.#deps = deps;
  }

  /**
   * The asset as a local file; the same one for every asker of a task, until a read of it failed
   * because the asset had changed: whoever asks after that gets the new version.
   * @throws PerigeeError queue_full beyond `grantsMax`, and what the cache throws.
   */
  async open(task: number, uri: string, signal: AbortSignal): Promise<Grant> {
    let held = this.#tasks.get(task);
    if (held === undefined) {
      held = new Map();
      this.#tasks.set(task, held);
    }
    await this.#setAsideOutdated(task, held, uri);
    let one = held.get(uri);
    if (one === undefined) {
      if (held.size + (this.#outdated.get(task)?.length ?? 0) >= grantsMax) {
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

  /** Why the last read of one of the task's files failed; null when none did. */
  async findFailure(task: number, uri: string): Promise<Error | null> {
    const one = this.#tasks.get(task)?.get(uri);
    return one === undefined ? null : (await one).findFailure();
  }

  /** Takes back what a task was given. */
  release(task: number): void {
    const held = this.#tasks.get(task);
    if (held === undefined) return;
    this.#tasks.delete(task);
    for (const one of this.#outdated.get(task) ?? []) drop(one);
    this.#outdated.delete(task);
    for (const one of held.values()) {
      one.then(drop, () => undefined);
    }
  }

  releaseAll(): void {
    for (const task of [...this.#tasks.keys()]) this.release(task);
  }

  async #setAsideOutdated(task: number, held: Map<string, Promise<Held>>, uri: string) {
    const one = held.get(uri);
    const given = await one;
    if (given === undefined || !isOutdated(given)) return;
    // While this asker waited, another may have done it, or the task may have ended.
    if (held.get(uri) !== one || this.#tasks.get(task) !== held) return;
    held.delete(uri);
    this.#outdated.set(task, [...(this.#outdated.get(task) ?? []), given]);
  }

  async #give(uri: string, signal: AbortSignal): Promise<Held> {
    const { cache, lazy, namespace, place } = this.#deps;
    const large = await this.#giveLazily(uri, { above: lazy?.wholeAssetBytesMax ?? 0, signal });
    if (large !== null) return large;
    let whole: WholeAsset;
    try {
      whole = await cache.openWhole({ uri, namespace }, signal);
    } catch (caught) {
      // A full disk makes it slower: its bytes go through memory.
      if (!(caught instanceof PerigeeError) || caught.details[noRoom] !== true) throw caught;
      const filled = await this.#giveLazily(uri, { above: 0, signal });
      if (filled === null) throw caught;
      return filled;
    }
    this.#count += 1;
    const name = join('assets', String(this.#count));
    const folder = join(this.#deps.folder, name);
    const file = fileNameOf(whole.version.uri);
    const held: Held = {
      grant: { version: whole.version, path: join(this.#deps.inPath(), name, file), way: 'whole' },
      folder,
      findFailure: () => null,
      release: whole.release,
    };
    try {
      mkdirSync(folder, { recursive: true });
      // Whatever the agent's umask is: tasks are another user.
      for (const path of [dirname(folder), folder]) chmodSync(path, 0o755);
      await place(whole.path, join(folder, file));
      signal.throwIfAborted();
    } catch (caught) {
      drop(held);
      throw caught;
    }
    return held;
  }

  async #giveLazily(
    uri: string,
    { above, signal }: { above: number; signal: AbortSignal },
  ): Promise<Held | null> {
    const { cache, namespace, lazy } = this.#deps;
    if (lazy === null) return null;
    const version = await cache.stat({ uri, namespace }, signal);
    if (version.sizeBytes <= above) return null;
    signal.throwIfAborted();
    const file = lazy.files.grant(version, { namespace, name: fileNameOf(version.uri) });
    // Where there are no mounts the sandbox sees the machine's own path.
    const folder = this.#deps.inPath() === '/in' ? '/in/lazy' : lazy.files.folderOf(namespace);
    return {
      grant: { version, path: join(folder, file.path), way: 'lazy' },
      folder: null,
      findFailure: () => file.failure,
      release: () => file.release(),
    };
  }
}

function isOutdated(held: Held): boolean {
  const failure = held.findFailure();
  return failure instanceof PerigeeError && failure.code === 'asset_changed';
}

function drop(held: Held): void {
  if (held.folder !== null) rmSync(held.folder, { recursive: true, force: true });
  held.release();
}

/** The last part of a URI's path as a harmless file name: GDAL looks at the extension. */
export function fileNameOf(uri: string): string {
  const path = uri.replace(/[?#].*$/, '');
  const name = path.slice(path.lastIndexOf('/') + 1).replace(/[^A-Za-z0-9._-]/g, '_');
  const short = name.slice(-100).replace(/^\.+/, '');
  return short === '' ? 'asset' : short;
}
