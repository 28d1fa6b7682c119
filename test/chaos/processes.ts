/** Finds processes of a mesh by what they are, and ends single ones; only ever descendants of the tests. */
import { readdirSync, readFileSync } from 'node:fs';

/** Pids of all descendants of a process, and of orphans whose command line has `mark`. */
export function listProcesses(mark: string): { pid: number; parent: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        // Behind the name, which may hold spaces and brackets: state, then the parent.
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (state === 'Z') return [];
        return [{ pid: Number(name), parent: Number(parent), command }];
      } catch {
        return [];
      }
    })
    .filter(
      (process, _, all) => process.command.includes(mark) || hasMarkedAncestor(process, all, mark),
    );
}

/** The workers' interpreters below the agents that have `mark`. */
export function listWorkers(mark: string): number[] {
  return listProcesses(mark)
    .filter(
      (process) =>
        process.command.includes('/perigee/harness.py') && !process.command.includes('bwrap'),
    )
    .map((process) => process.pid);
}

/** The agents that have `mark` in their command line. */
export function listAgents(mark: string): number[] {
  return listProcesses(mark)
    .filter((process) => process.command.includes('node-agent/main.ts'))
    .map((process) => process.pid);
}

/** Sends a signal; false when the process is gone already. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

function hasMarkedAncestor(
  process: { parent: number },
  all: readonly { pid: number; parent: number; command: string }[],
  mark: string,
): boolean {
  let parent = all.find((other) => other.pid === process.parent);
  for (let depth = 0; parent !== undefined && depth < 20; depth += 1) {
    if (parent.command.includes(mark)) return true;
    const next: number = parent.parent;
    parent = all.find((other) => other.pid === next);
  }
  return false;
}
