/** A Unix socket in a folder that one sandbox sees: how its tasks speak with the agent. */
import { chmodSync, closeSync, constants, openSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';

/**
 * Listens; only the worker's user can walk to the folder, so that everybody who can may speak.
 * @throws Error of the file system.
 */
export async function listenInFolder(
  folder: string,
  name: string,
  onConnection: (connection: Socket) => void,
): Promise<Server> {
  const server = createServer(onConnection);
  // A socket's path has 107 bytes at most, a data folder's may be longer. The descriptor stays
  // open until the server is closed, because that removes the same path.
  const folderFd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  server.once('close', () => closeSync(folderFd));
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen(`/proc/self/fd/${folderFd}/${name}`, listening.resolve);
  try {
    await listening.promise;
  } catch (caught) {
    server.close();
    throw caught;
  }
  server.off('error', listening.reject);
  chmodSync(join(folder, name), 0o666);
  return server;
}
