/** What Linux knows of processes; a process is named by its id and its start, so that a reused id is another. */
import { readdirSync, readFileSync } from 'node:fs';

/** A process for as long as the machine runs. */
export interface ProcessName {
  pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  startTicks: string;
}

/** The name of a live process; undefined when there is none, or a zombie. */
export function findProcess(pid: number): ProcessName | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command may hold blanks and brackets: fields are counted behind the last bracket.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    const startTicks = fields[19];
    if (startTicks === undefined || state === 'Z' || state === 'X') return undefined;
    return { pid, startTicks };
  } catch {
    // Gone between two looks: the same as not there.
    return undefined;
  }
}

/** Whether exactly this process still runs. */
export function isAlive(process: ProcessName): boolean {
  return findProcess(process.pid)?.startTicks === process.startTicks;
}

/** Signals exactly this process; nothing happens when it is gone. */
export function signalProcess(target: ProcessName, signal: NodeJS.Signals): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, signal);
  } catch (caught) {
    // It may end between the look and the signal.
    if (isAlive(target)) throw caught;
  }
}

/** Processes whose command line has `flag` followed by a value, with that value. */
export function findProcessesByArgument(flag: string): { value: string; process: ProcessName }[] {
  const found: { value: string; process: ProcessName }[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const pid = Number(entry);
    const value = readArgument(pid, flag);
    const process = value === undefined ? undefined : findProcess(pid);
    if (value !== undefined && process !== undefined) found.push({ value, process });
  }
  return found;
}

/** The value behind a flag on a process's command line. */
export function readArgument(pid: number, flag: string): string | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const at = words.indexOf(flag);
    return at < 0 ? undefined : words[at + 1];
  } catch {
    // Gone between two looks.
    return undefined;
  }
}
