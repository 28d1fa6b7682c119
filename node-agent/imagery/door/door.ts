/**
 * A worker's way to imagery: a Unix socket in the folder that its sandbox sees as /in. Any process
 * or thread of the running task may connect, and asks one thing after another on each connection;
 * without a running task everything is refused. What a task was given goes with it.
 */
import type { Socket } from 'node:net';
import { assertNever } from '../../../protocol/base/assert.ts';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { TaskConnections } from '../../runner/task-connections.ts';
import { describeToTask, listenForTasks, writeToTask } from '../../runner/task-connections.ts';
import { Grants, type GrantsDeps } from './grants.ts';
import { encodeMessage, MessageReader } from './message-reader.ts';
import type { DoorRequest } from './request.ts';
import { parseDoorRequest } from './request.ts';

/** Assets that the tasks of one worker may have on the way without waiting for them. */
const prefetchesMax = 256;
const socketName = 'imagery.sock';

export interface DoorDeps extends GrantsDeps {
  /** The task that runs in the worker at this moment, as far as the worker has said; null for none. */
  currentTask(): number | null;
  warn(fields: object, message: string): void;
}

export interface Door {
  /** The task has ended: its files go, what it still asks for is given up. */
  endTask(task: number): void;
  /** Idempotent. */
  close(): Promise<void>;
}

/** Listens in `deps.folder`. @throws Error of the file system. */
export async function openDoor(deps: DoorDeps): Promise<Door> {
  const door = new SocketDoor(deps);
  await door.listen();
  return door;
}

class SocketDoor implements Door {
  readonly #deps: DoorDeps;
  readonly #grants: Grants;
  /** Aborted when the task ends; all and only tasks that asked for something. */
  readonly #tasks = new Map<number, AbortController>();
  #prefetchesCount = 0;
  #connections: TaskConnections | null = null;

  constructor(deps: DoorDeps) {
    this.#deps = deps;
    this.#grants = new Grants(deps);
  }

  async listen(): Promise<void> {
    const { folder, warn } = this.#deps;
    this.#connections = await listenForTasks({
      ...{ folder, name: socketName, purpose: 'imagery', warn },
      serve: (connection) => this.#serve(connection),
    });
  }

  endTask(task: number): void {
    this.#tasks.get(task)?.abort(new PerigeeError('not_found', 'The task has ended.'));
    this.#tasks.delete(task);
    this.#grants.release(task);
  }

  async close(): Promise<void> {
    for (const task of [...this.#tasks.keys()]) this.endTask(task);
    this.#grants.releaseAll();
    await this.#connections?.close();
  }

  /** One request at a time: what comes meanwhile waits in the kernel, and so does its sender. */
  async #serve(connection: Socket): Promise<void> {
    const reader = new MessageReader();
    for await (const bytes of connection) {
      reader.push(bytes as Buffer);
      for (let message = this.#next(reader); message !== undefined; ) {
        await writeToTask(connection, await this.#answer(message));
        message = this.#next(reader);
      }
      if (!reader.isBroken) continue;
      const error = new PerigeeError('too_large', 'A request for imagery is too long.');
      await writeToTask(connection, encodeMessage({ error: describeToTask(error) }));
      break;
    }
    connection.destroy();
  }

  #next(reader: MessageReader): Buffer | undefined {
    return reader.isBroken ? undefined : reader.shift();
  }

  async #answer(message: Buffer): Promise<Buffer> {
    try {
      return encodeMessage(await this.#perform(parseDoorRequest(message)));
    } catch (caught) {
      return encodeMessage({ error: describeToTask(toError(caught)) });
    }
  }

  async #perform(request: DoorRequest): Promise<object> {
    const task = this.#deps.currentTask();
    if (task === null) {
      throw new PerigeeError('forbidden', 'Imagery is there while a task runs.', {
        fix: 'Call it in the function, not while its modules are imported.',
      });
    }
    const signal = this.#signalOf(task);
    const { cache, namespace } = this.#deps;
    switch (request.kind) {
      case 'open': {
        const { version, path, way } = await this.#grants.open(task, request.uri, signal);
        return { ...version, path, way };
      }
      case 'stat':
        return { ...(await cache.stat({ uri: request.uri, namespace }, signal)) };
      case 'failure': {
        const failure = await this.#grants.findFailure(task, request.uri);
        if (failure !== null) throw failure;
        return {};
      }
      case 'prefetch':
        return { started: this.#prefetch(request.uris, signal) };
      default:
        return assertNever(request);
    }
  }

  /** Begins as many as there is room for; the others are had when they are opened. */
  #prefetch(uris: readonly string[], signal: AbortSignal): number {
    const { cache, namespace } = this.#deps;
    const room = uris.slice(0, Math.max(0, prefetchesMax - this.#prefetchesCount));
    for (const uri of room) {
      this.#prefetchesCount += 1;
      cache
        .prefetch({ uri, namespace }, null, signal)
        // Whoever opens it hears of the failure.
        .catch(() => undefined)
        .finally(() => {
          this.#prefetchesCount -= 1;
        });
    }
    return room.length;
  }

  #signalOf(task: number): AbortSignal {
    let controller = this.#tasks.get(task);
    if (controller === undefined) {
      controller = new AbortController();
      this.#tasks.set(task, controller);
    }
    return controller.signal;
  }
}
