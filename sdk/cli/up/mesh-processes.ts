/**
 * The processes of one `up`, found by a mark in their environment: nodes outlive a coordinator
 * that crashed and are then nobody's children, so neither a process group nor a parent finds them.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** The variable that carries the mark. */
export const markVariable = 'PERIGEE_UP';

const lookAgainMs = 50;

/** Process ids whose environment carries the mark; none where there is no /proc. */
export async function listMarked(mark: string): Promise<number[]> {
  const entries = await readdir('/proc').catch(() => []);
  const wanted = `${markVariable}=${mark}`;
  const found: number[] = [];
  for (const entry of entries) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    // Gone meanwhile, or another user's: either way not ours.
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.split('\0').includes(wanted)) found.push(pid);
  }
  return found;
}

/** Ends every marked process: kindly until the grace is over, then at once. */
export async function endMarked(mark: string, options: { graceMs: number }): Promise<void> {
  const deadline = performance.now() + options.graceMs;
  let asked = false;
  for (;;) {
    const pids = await listMarked(mark);
    if (pids.length === 0) return;
    const isOver = performance.now() >= deadline;
    for (const pid of pids) {
      if (isOver) signalProcess(pid, 'SIGKILL');
      else if (!asked) signalProcess(pid, 'SIGTERM');
    }
    asked = true;
    await delay(lookAgainMs);
  }
}

/** Sends a signal; a process that is gone already is what was wanted. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (caught) {
    if (!(caught instanceof Error && 'code' in caught && caught.code === 'ESRCH')) throw caught;
  }
}
