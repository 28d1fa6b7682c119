/**
 * One process at a time, over all agents of a machine. The kernel's flock is held by a child that
 * ends when our end of its stdin closes, so that `kill -9` frees the lock too.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PerigeeError } from '../../protocol/base/errors.ts';

/**
 * Waits for the lock of a file, which is made when it is not there, and answers how to free it.
 * @throws PerigeeError setup_missing; what the signal gives as its reason
 */
export async function lockFile(path: string, signal: AbortSignal): Promise<() => Promise<void>> {
  signal.throwIfAborted();
  const holder = spawn('flock', [path, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // A Ctrl-C at the terminal must not free it.
    detached: true,
  });
  holder.stdin.on('error', () => undefined);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  holder.stdout.once('data', () => resolve());
  holder.once('error', (cause) =>
    reject(new PerigeeError('setup_missing', `flock does not start: ${cause.message}`, { cause })),
  );
  const exited = once(holder, 'exit');
  exited.then(
    () => reject(new PerigeeError('data_unwritable', `${path} cannot be locked.`)),
    () => undefined,
  );
  const giveUp = (): void => {
    holder.kill('SIGKILL');
    reject(signal.reason);
  };
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  return async () => {
    holder.stdin.end();
    await exited;
  };
}
