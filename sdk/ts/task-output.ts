/** A file that a task gave out, seen from the client; it never changes. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { OutputView } from '../../protocol/wire/api.ts';
import { isOutputName } from '../../protocol/wire/output-names.ts';
import { createDeadline, type WaitOptions } from './deadline.ts';
import { findResumeOffset, findStat, isFetched, placeFetched } from './fetched-file.ts';
import { isPassing, type MeshLink } from './mesh-link.ts';

/** A transfer that moves nothing for so long is begun again. */
const silenceMsMax = 30_000;

/**
 * An output of a task, from `task.outputs()`.
 * @example
 * for (const output of await task.outputs()) await output.download('results');
 */
export class TaskOutput {
  readonly #link: MeshLink;
  /** Id of the task. */
  readonly tuid: string;
  readonly name: string;
  /** Path of its bytes below the mesh's HTTP address. */
  readonly href: string;
  /** Its size. */
  readonly bytes: number;
  readonly mediaType: string;
  readonly sha256: string;
  /** What its writer told of it. */
  readonly metadata: Readonly<Record<string, unknown>>;

  /** Outputs come from `task.outputs` and `function.outputs`. */
  constructor(link: MeshLink, view: OutputView) {
    this.#link = link;
    this.tuid = view.task;
    this.name = view.name;
    this.href = view.href;
    this.bytes = view.sizeBytes;
    this.mediaType = view.mediaType;
    this.sha256 = view.sha256;
    this.metadata = view.metadata;
  }

  /** The bytes from `offset` on, in pieces as they come; goes on where it was when the line breaks. */
  async *open(
    options: WaitOptions & { offset?: number } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    using deadline = createDeadline(options, `Reading output ${this.name} of task ${this.tuid}`);
    const { signal } = deadline;
    let at = options.offset ?? 0;
    while (at < this.bytes) {
      const opened = await this.#link.persist(async () => {
        const input = { id: this.tuid, name: this.name, offset: at };
        const items = this.#link.subscribe('tasks.output', input, { signal, silenceMsMax });
        return { items, first: await items.next() };
      }, signal);
      try {
        for (let next = opened.first; next.done !== true; next = await opened.items.next()) {
          at += next.value.length;
          yield next.value;
        }
        if (at < this.bytes) throw shortened(this.name);
      } catch (caught) {
        if (signal.aborted || !isPassing(caught)) throw caught;
      } finally {
        await opened.items.return();
      }
    }
  }

  /** The whole content. */
  async read(options: WaitOptions = {}): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for await (const part of this.open(options)) parts.push(part);
    return Buffer.concat(parts, this.bytes);
  }

  /**
   * Writes the content to a file, or under its own name into a folder that is there, and answers the
   * file's path; goes on where an earlier call was cut off. The file appears once it is whole and its
   * hash is right.
   * @throws PerigeeError invalid_request when the bytes are not those that the task gave out.
   */
  async download(path = '.', options: WaitOptions = {}): Promise<string> {
    const target = (await isFolder(path)) ? join(path, this.#fileName()) : path;
    const { name, sha256 } = this;
    const content = { sizeBytes: this.bytes, sha256 };
    if (await isFetched(target, content)) return target;
    const aside = `${target}.part`;
    const file = await open(aside, 'a');
    try {
      const offset = await findResumeOffset(file, content);
      for await (const part of this.open({ ...options, offset })) await file.writeFile(part);
    } finally {
      await file.close();
    }
    const output = { name, sha256, task: this.tuid };
    await placeFetched(aside, target, { output, fix: 'Fetch it again.' });
    return target;
  }

  /** It came from the mesh: never a way out of the folder. */
  #fileName(): string {
    if (isOutputName(this.name)) return this.name;
    throw new PerigeeError('invalid_request', `"${this.name}" is no name of a file.`, {
      fix: 'Give the path of the file.',
    });
  }
}

function shortened(name: string): PerigeeError {
  return new PerigeeError('frame_invalid', `Output ${name} ended before its last byte.`);
}

async function isFolder(path: string): Promise<boolean> {
  return (await findStat(path))?.isDirectory() ?? false;
}
