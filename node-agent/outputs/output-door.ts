/**
 * A worker's way to give out files: a Unix socket in the folder that its sandbox sees as /in. A task
 * announces an output, is told to go on, sends exactly that many bytes, and is told their hash: from
 * then on the output is the task's, and counts if the task succeeds. Without a running task everything
 * is refused; what a task has not sent whole when it ends is not there.
 */
import type { Socket } from 'node:net';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { encodeMessage } from '../imagery/door/message-reader.ts';
import type { SpooledOutput } from '../runner/port.ts';
import type { TaskConnections } from '../runner/task-connections.ts';
import { describeToTask, listenForTasks, writeToTask } from '../runner/task-connections.ts';
import { ConnectionReader } from './connection-reader.ts';
import type { OutputSpool } from './output-spool.ts';
import type { OutputRequest } from './request.ts';
import { parseOutputRequest, requestBytesMax } from './request.ts';

const socketName = 'outputs.sock';

export interface OutputDoorDeps {
  spool: OutputSpool;
  /** The machine's path of the worker's /in. */
  folder: string;
  /** The task that runs in the worker at this moment; null for none. */
  currentTask(): number | null;
  warn(fields: object, message: string): void;
}

export interface OutputDoor {
  /** The task has succeeded: what it gave out, by name; the caller's from now on. */
  take(task: number): readonly SpooledOutput[];
  /** The task is over in another way: what it gave out goes. */
  discard(task: number): void;
  /** Discards everything; idempotent. */
  close(): Promise<void>;
}

/** All and only what a running task has given out, or is giving out. */
interface TaskEntry {
  readonly ended: AbortController;
  readonly outputs: Map<string, SpooledOutput>;
  /** Names on their way. */
  readonly coming: Map<string, number>;
}

/** Listens in `deps.folder`. @throws Error of the file system. */
export async function openOutputDoor(deps: OutputDoorDeps): Promise<OutputDoor> {
  const door = new SocketOutputDoor(deps);
  await door.listen();
  return door;
}

class SocketOutputDoor implements OutputDoor {
  readonly #deps: OutputDoorDeps;
  readonly #tasks = new Map<number, TaskEntry>();
  #connections: TaskConnections | null = null;

  constructor(deps: OutputDoorDeps) {
    this.#deps = deps;
  }

  async listen(): Promise<void> {
    const { folder, warn } = this.#deps;
    this.#connections = await listenForTasks({
      ...{ folder, name: socketName, purpose: 'outputs', warn },
      serve: (connection) => this.#serve(connection),
    });
  }

  take(task: number): readonly SpooledOutput[] {
    const entry = this.#end(task);
    const outputs = [...(entry?.outputs.values() ?? [])];
    for (const { path } of outputs) this.#deps.spool.letGo(path);
    return outputs.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  discard(task: number): void {
    for (const { path } of this.#end(task)?.outputs.values() ?? []) this.#remove(path);
  }

  async close(): Promise<void> {
    for (const task of [...this.#tasks.keys()]) this.discard(task);
    await this.#connections?.close();
  }

  #end(task: number): TaskEntry | undefined {
    const entry = this.#tasks.get(task);
    this.#tasks.delete(task);
    entry?.ended.abort(new PerigeeError('not_found', 'The task has ended.'));
    return entry;
  }

  #remove(path: string): void {
    this.#deps.spool.giveBack(path).catch((caught: unknown) => {
      this.#deps.warn({ error: toError(caught).message }, 'An output could not be removed.');
    });
  }

  /** One output after another. After a failure the rest of the bytes means nothing. */
  async #serve(connection: Socket): Promise<void> {
    const reader = new ConnectionReader(connection);
    for (;;) {
      let answer: object;
      try {
        const message = await reader.readMessage(requestBytesMax);
        if (message === undefined) break;
        answer = await this.#receive(connection, reader, message);
      } catch (caught) {
        if (connection.destroyed) return;
        connection.end(encodeMessage({ error: describeToTask(toError(caught)) }));
        await reader.discard();
        return;
      }
      await writeToTask(connection, encodeMessage(answer));
    }
    connection.destroy();
  }

  async #receive(connection: Socket, reader: ConnectionReader, message: Buffer): Promise<object> {
    const { spool, currentTask } = this.#deps;
    const request = parseOutputRequest(message, spool.limits);
    const task = currentTask();
    if (task === null) {
      throw new PerigeeError('forbidden', 'Outputs are taken while a task runs.', {
        fix: 'Save it in the function, not while its modules are imported.',
      });
    }
    const entry = this.#entryOf(task);
    const { signal } = entry.ended;
    this.#announce(entry, request);
    try {
      const path = await spool.reserve(request.sizeBytes, signal);
      const leave = (): void => {
        connection.destroy();
      };
      signal.addEventListener('abort', leave, { once: true });
      try {
        await writeToTask(connection, encodeMessage({ go: true }));
        const { hash } = await spool.write(path, reader.readBytes(request.sizeBytes));
        this.#keep(entry, { ...request, hash, path });
        return { sha256: hash, sizeBytes: request.sizeBytes };
      } catch (caught) {
        await spool.giveBack(path);
        throw caught;
      } finally {
        signal.removeEventListener('abort', leave);
      }
    } finally {
      const left = (entry.coming.get(request.name) ?? 1) - 1;
      if (left === 0) entry.coming.delete(request.name);
      else entry.coming.set(request.name, left);
    }
  }

  /** @throws PerigeeError too_large when the task has as many as it may. */
  #announce(entry: TaskEntry, request: OutputRequest): void {
    const { outputsMax } = this.#deps.spool.limits;
    const names = new Set([...entry.outputs.keys(), ...entry.coming.keys(), request.name]);
    if (names.size > outputsMax) {
      throw new PerigeeError('too_large', `A task may give out at most ${outputsMax} outputs.`, {
        fix: 'Split the work into more tasks, pack several files into one, or start the agents with a larger PERIGEE_OUTPUTS_MAX.',
      });
    }
    entry.coming.set(request.name, (entry.coming.get(request.name) ?? 0) + 1);
  }

  /** The last one of a name counts. */
  #keep(entry: TaskEntry, output: SpooledOutput): void {
    if (entry.ended.signal.aborted) throw toError(entry.ended.signal.reason);
    const earlier = entry.outputs.get(output.name);
    if (earlier !== undefined) this.#remove(earlier.path);
    entry.outputs.set(output.name, output);
  }

  #entryOf(task: number): TaskEntry {
    let entry = this.#tasks.get(task);
    if (entry === undefined) {
      entry = { ended: new AbortController(), outputs: new Map(), coming: new Map() };
      this.#tasks.set(task, entry);
    }
    return entry;
  }
}
