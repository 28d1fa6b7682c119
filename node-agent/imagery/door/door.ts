/**
 * A worker's way to imagery: a Unix socket in the folder that its sandbox sees as /in. Any process
 * or thread of the running task may connect, and asks one thing after another on each connection;
 * without a running task everything is refused. What a task was given goes with it.
 */
import type { Server, Socket } from 'node:net';
import { assertNever } from '../../../protocol/base/assert.ts';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import { listenInFolder } from '../../runner/task-socket.ts';
import { Grants, type GrantsDeps } from './grants.ts';
import { encodeMessage, MessageReader } from './message-reader.ts';
import type { DoorRequest } from './request.ts';
import { parseDoorRequest } from './request.ts';

/** Connections of one worker at once; one more is closed unread. */
export const connectionsMax = 64;
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
  readonly #connections = new Set<Socket>();
  /** Aborted when the task ends; all and only tasks that asked for something. */
  readonly #tasks = new Map<number, AbortController>();
  #prefetchesCount = 0;
  #server: Server | null = null;
  #closing: Promise<void> | null = null;

  constructor(deps: DoorDeps) {
    this.#deps = deps;
    this.#grants = new Grants(deps);
  }

  async listen(): Promise<void> {
    const { folder, warn } = this.#deps;
    const server = await listenInFolder(folder, socketName, (connection) => this.#take(connection));
    server.on('error', (caught) => warn({ error: caught.message }, 'The imagery socket failed.'));
    this.#server = server;
  }

  endTask(task: number): void {
    this.#tasks.get(task)?.abort(new PerigeeError('not_found', 'The task has ended.'));
    this.#tasks.delete(task);
    this.#grants.release(task);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const task of [...this.#tasks.keys()]) this.endTask(task);
    this.#grants.releaseAll();
    for (const connection of this.#connections) connection.destroy();
    const server = this.#server;
    if (server === null) return;
    const closed = Promise.withResolvers<void>();
    server.close(() => closed.resolve());
    await closed.promise;
  }

  #take(connection: Socket): void {
    connection.on('error', () => connection.destroy());
    if (this.#connections.size >= connectionsMax || this.#closing !== null) {
      connection.destroy();
      return;
    }
    this.#connections.add(connection);
    connection.once('close', () => this.#connections.delete(connection));
    this.#serve(connection).catch((caught: unknown) => {
      connection.destroy();
      this.#deps.warn({ error: toError(caught).message }, 'An imagery connection ended.');
    });
  }

  /** One request at a time: what comes meanwhile waits in the kernel, and so does its sender. */
  async #serve(connection: Socket): Promise<void> {
    const reader = new MessageReader();
    try {
      for await (const bytes of connection) {
        reader.push(bytes as Buffer);
        for (let message = this.#next(reader); message !== undefined; ) {
          await write(connection, await this.#answer(message));
          message = this.#next(reader);
        }
        if (!reader.isBroken) continue;
        const error = new PerigeeError('too_large', 'A request for imagery is too long.');
        await write(connection, encodeMessage({ error: describe(error) }));
        break;
      }
    } catch (caught) {
      // It went away while it was read or written to.
      if (!connection.destroyed) throw caught;
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
      return encodeMessage({ error: describe(toError(caught)) });
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

function describe(error: Error): { code: string; message: string; fix: string | null } {
  return error instanceof PerigeeError
    ? { code: error.code, message: error.message.slice(0, errorCharsMax), fix: error.fix }
    : { code: 'internal', message: error.message.slice(0, errorCharsMax), fix: null };
}

const errorCharsMax = 8_000;

async function write(connection: Socket, bytes: Buffer): Promise<void> {
  const written = Promise.withResolvers<void>();
  connection.write(bytes, (error) => (error ? written.reject(error) : written.resolve()));
  await written.promise;
}
