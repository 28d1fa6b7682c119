/** File operations that both versions of the control group interface share. */
import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Removal right after the last exit gave EBUSY in 13 of 60 runs, for 2 to 5 ms. */
const removeAttemptsMax = 400;
const removePauseMs = 5;

/** Writes a control file. */
export function writeControl(folder: string, name: string, value: string | number): void {
  writeFileSync(join(folder, name), String(value));
}

/** Writes a control file that this kernel may lack. */
export function tryWriteControl(folder: string, name: string, value: string | number): boolean {
  try {
    writeControl(folder, name, value);
    return true;
  } catch {
    return false;
  }
}

/** A control file's text; undefined when it cannot be read. */
export function findControl(folder: string, name: string): string | undefined {
  try {
    return readFileSync(join(folder, name), 'utf8');
  } catch {
    return undefined;
  }
}

/** The number behind a key in a control file of lines `key value`; 0 when it is not there. */
export function readControlField(folder: string, name: string, key: string): number {
  const text = findControl(folder, name) ?? '';
  for (const line of text.split('\n')) {
    const [field, value] = line.split(' ');
    if (field === key) return Number(value);
  }
  return 0;
}

/** A control file that holds one number; 0 when it cannot be read. */
export function readControlNumber(folder: string, name: string): number {
  const value = Number(findControl(folder, name) ?? 0);
  return Number.isSafeInteger(value) ? value : 0;
}

/** SIGKILL to every process of a group, by pid. */
export function killMembers(folder: string): void {
  for (const line of (findControl(folder, 'cgroup.procs') ?? '').split('\n')) {
    const pid = Number(line);
    // 0 stands for a process of another pid namespace, and would mean our own process group to kill.
    if (!Number.isSafeInteger(pid) || pid <= 1) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself between the reading and the kill.
    }
  }
}

/** Removes empty groups, retrying while the kernel calls them busy; `kill` runs before each retry. */
export async function removeFolders(
  folders: readonly string[],
  kill: () => void,
): Promise<boolean> {
  let left = [...folders];
  for (let attempt = 0; attempt < removeAttemptsMax; attempt += 1) {
    left = left.filter((folder) => !tryRemove(folder));
    if (left.length === 0) return true;
    kill();
    await delay(removePauseMs);
  }
  return false;
}

/** Names of the groups within a group. */
export function listGroups(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function tryRemove(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (caught) {
    return (caught as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
