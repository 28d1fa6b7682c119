/** Processes below a process, read from /proc: for workers that no namespace and no control group holds. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { assert } from '../../protocol/base/assert.ts';
import type { SlotIdentity } from './slot-identity.ts';

const pageBytes = 4096;

/** What one look at /proc shows of the processes below one. */
export interface TreeUse {
  pids: number[];
  /** Resident memory of all of them; shared pages count once per process. */
  residentBytes: number;
}

/** The process and everything below it. */
export function measureTree(root: number): TreeUse {
  const children = new Map<number, number[]>();
  const resident = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const fields = readStatFields(name);
    if (fields === undefined) continue;
    const pid = Number(name);
    const parent = Number(fields[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
    resident.set(pid, Number(fields[21]) * pageBytes);
  }
  const use: TreeUse = { pids: [], residentBytes: 0 };
  const waiting = [root];
  for (let pid = waiting.pop(); pid !== undefined; pid = waiting.pop()) {
    if (!resident.has(pid)) continue;
    use.pids.push(pid);
    use.residentBytes += resident.get(pid) ?? 0;
    waiting.push(...(children.get(pid) ?? []));
  }
  return use;
}

/** Direct children of a process. */
export function listChildren(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
      .split(' ')
      .filter((text) => text !== '')
      .map(Number);
  } catch {
    return [];
  }
}

/**
 * SIGKILL to a process and all below it. The root is stopped first: it adopts the orphans of those
 * that are killed, so nothing leaves the tree while it is walked.
 */
export function killTree(root: number): void {
  signal(root, 'SIGSTOP');
  for (let round = 0; round < 20; round += 1) {
    const below = measureTree(root).pids.filter((pid) => pid !== root);
    const living = below.filter((pid) => !isZombie(pid));
    if (living.length === 0) break;
    for (const pid of living) signal(pid, 'SIGKILL');
  }
  signal(root, 'SIGKILL');
}

/** SIGKILL to every process of a slot's uid, which nobody else has; resolves when it has been sent. */
export async function killUser(identity: SlotIdentity): Promise<void> {
  assert(identity.uid > 60_000, 'only a slot has every process of its uid');
  const { promise, resolve } = Promise.withResolvers<void>();
  // As that user, so that the kernel itself picks the processes, in one call that no fork escapes.
  const child = spawn('/bin/sh', ['-c', 'kill -9 -1'], {
    uid: identity.uid,
    gid: identity.gid,
    stdio: 'ignore',
    env: {},
    cwd: '/',
  });
  child.once('error', () => resolve());
  child.once('exit', () => resolve());
  await promise;
}

/** Sends a signal to a process that may be gone. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

function isZombie(pid: number): boolean {
  return (readStatFields(String(pid)) ?? ['Z'])[0] === 'Z';
}

/** The fields behind the name: state, parent, … */
function readStatFields(pid: string): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
