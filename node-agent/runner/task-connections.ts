/**
 * The connections to a Unix socket in the folder that one sandbox sees: at most so many at once, each
 * served until it ends, all gone with the socket. What is said on them is for its owner.
 */
import type { Server, Socket } from 'node:net';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { listenInFolder } from './task-socket.ts';

/** Connections of one worker to one socket at once; one more is closed unread. */
export const connectionsMax = 64;
const errorCharsMax = 8_000;

export interface TaskConnectionsDeps {
  /** The machine's path of the worker's /in. */
  folder: string;
  /** Of the socket in it. */
  name: string;
  /** What it is for, in the words of a log: `imagery`. */
  purpose: string;
  /** Speaks on a connection to its end; a failure closes it. */
  serve(connection: Socket): Promise<void>;
  warn(fields: object, message: string): void;
}

export interface TaskConnections {
  /** Closes the socket and every connection; idempotent. */
  close(): Promise<void>;
}

/** Listens in `deps.folder`. @throws Error of the file system. */
export async function listenForTasks(deps: TaskConnectionsDeps): Promise<TaskConnections> {
  const { folder, name, purpose, warn } = deps;
  const open = new Set<Socket>();
  let closing: Promise<void> | null = null;

  const take = (connection: Socket): void => {
    connection.on('error', () => connection.destroy());
    if (open.size >= connectionsMax || closing !== null) {
      connection.destroy();
      return;
    }
    open.add(connection);
    connection.once('close', () => open.delete(connection));
    deps.serve(connection).catch((caught: unknown) => {
      // Otherwise it went away while it was read or written to, or was told what is wrong.
      if (!connection.destroyed) {
        warn({ error: toError(caught).message }, `A connection for ${purpose} ended.`);
      }
      connection.destroy();
    });
  };
  const server = await listenInFolder(folder, name, take);
  server.on('error', (caught) =>
    warn({ error: caught.message }, `The socket for ${purpose} failed.`),
  );

  return {
    close() {
      for (const connection of open) connection.destroy();
      closing ??= closeServer(server);
      return closing;
    },
  };
}

/** An error as a task is told it. */
export function describeToTask(error: Error): {
  code: string;
  message: string;
  fix: string | null;
} {
  const message = error.message.slice(0, errorCharsMax);
  return error instanceof PerigeeError
    ? { code: error.code, message, fix: error.fix }
    : { code: 'internal', message, fix: null };
}

/** Resolves when the kernel has taken the bytes. @throws Error when the connection is gone. */
export async function writeToTask(connection: Socket, bytes: Buffer): Promise<void> {
  const written = Promise.withResolvers<void>();
  connection.write(bytes, (error) => (error ? written.reject(error) : written.resolve()));
  await written.promise;
}

async function closeServer(server: Server): Promise<void> {
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  await closed.promise;
}
