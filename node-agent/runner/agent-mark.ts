/** How what an agent leaves on a machine (groups, folders, uids) names its owner, so that the next one can clean up. */
import { readFileSync, readlinkSync } from 'node:fs';

/** Names an agent's folder so that another can tell whether its owner still runs. */
export interface AgentMark {
  pidNamespace: string;
  pid: number;
  /** Start time of the process in clock ticks since boot: a pid alone may be another's by now. */
  startTicks: string;
  /** Counts the runners of one process. */
  number: number;
}

let marksCount = 0;

/** A new mark of this process. */
export function readAgentMark(): AgentMark {
  marksCount += 1;
  return {
    pidNamespace: (/\d+/.exec(readlinkSync('/proc/self/ns/pid')) ?? ['0'])[0],
    pid: process.pid,
    startTicks: readStartTicks(process.pid) ?? '0',
    number: marksCount,
  };
}

export function formatAgentMark(mark: AgentMark): string {
  return `agent-${mark.pidNamespace}-${mark.pid}-${mark.startTicks}-${mark.number}`;
}

/** Whether a folder's name is the mark of an agent of this pid namespace that is gone. */
export function isStaleMark(name: string, own: AgentMark): boolean {
  const match = /^agent-(\d+)-(\d+)-(\d+)-\d+$/.exec(name);
  // Of another pid namespace nothing can be said.
  if (match === null || match[1] !== own.pidNamespace) return false;
  return readStartTicks(Number(match[2])) !== match[3];
}

/** When a process started; undefined when it is gone (a zombie is). */
export function readStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
