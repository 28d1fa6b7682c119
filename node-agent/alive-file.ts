/**
 * The agent's side of the dead-man timer: a number that grows while the coordinator is there. Whoever
 * started the machine watches it and ends the machine when it stands still, whatever became of us.
 */
import { writeFileSync } from 'node:fs';
import { toError } from '../protocol/base/errors.ts';

const everyMs = 1_000;

/** Starts to write; the returned function stops. */
export function keepAliveFile(
  path: string,
  deps: {
    isJoined(): boolean;
    log: { warn(fields: object, message: string): void };
  },
): () => void {
  let beats = 0;
  let isTold = false;
  const timer = setInterval(() => {
    if (!deps.isJoined()) return;
    beats += 1;
    try {
      writeFileSync(path, `${process.pid} ${beats}\n`);
    } catch (caught) {
      // A full disk is told of elsewhere; that the machine will end for it is told here, once.
      if (!isTold)
        deps.log.warn({ error: toError(caught).message }, 'The alive file is not written.');
      isTold = true;
    }
  }, everyMs);
  return () => clearInterval(timer);
}
