/** Memory and processor time of every process of a mesh, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Figure } from '../figures.ts';

interface ProcessSample {
  role: string;
  residentBytes: number;
  cpuMs: number;
}

/** The kernel counts processor time in hundredths of a second on every Linux. */
const tickMs = 10;

/** What runs below a process, by role; processes of one role are added up. */
export function sampleProcesses(root: number): Map<string, ProcessSample & { count: number }> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = Number(readStat(pid)?.[1] ?? Number.NaN);
    if (Number.isNaN(parent)) continue;
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const roles = new Map<string, ProcessSample & { count: number }>();
  const visit = (pid: number): void => {
    const sample = sampleProcess(pid);
    if (sample !== undefined) {
      const sum = roles.get(sample.role);
      roles.set(sample.role, {
        role: sample.role,
        residentBytes: (sum?.residentBytes ?? 0) + sample.residentBytes,
        cpuMs: (sum?.cpuMs ?? 0) + sample.cpuMs,
        count: (sum?.count ?? 0) + 1,
      });
    }
    for (const child of children.get(pid) ?? []) visit(child);
  };
  visit(root);
  return roles;
}

/** Share of a core and memory of each role over some time, as figures. */
export async function watchProcesses(
  root: number,
  options: { scenario: string; during: Promise<unknown> },
): Promise<Figure[]> {
  const before = sampleProcesses(root);
  const began = performance.now();
  await options.during;
  const after = sampleProcesses(root);
  const elapsedMs = performance.now() - began;
  return [...after.values()].flatMap(({ role, residentBytes, cpuMs, count }) => {
    const spent = cpuMs - (before.get(role)?.cpuMs ?? 0);
    const figure = (what: string, value: number, unit: string): Figure => ({
      of: 'product',
      scenario: `${options.scenario}: ${role} ${what}`,
      figure: value,
      unit,
    });
    return [
      figure('memory each', residentBytes / count / 1e6, 'MB'),
      figure('processor in all', (100 * spent) / elapsedMs, '% of a core'),
    ];
  });
}

function sampleProcess(pid: number): ProcessSample | undefined {
  const stat = readStat(pid);
  if (stat === undefined) return undefined;
  let command: string;
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return undefined;
  }
  return {
    role: roleOf(command),
    residentBytes: Number(stat[21]) * 4096,
    cpuMs: (Number(stat[11]) + Number(stat[12])) * tickMs,
  };
}

function roleOf(command: string): string {
  if (command.includes('coordinator/main.ts')) return 'coordinator';
  if (command.includes('node-agent/main.ts')) return 'agent';
  if (/python[0-9.]* .*harness/.test(command)) return 'worker';
  if (command.includes('bwrap')) return 'sandbox';
  return command.includes('sdk/cli') ? 'up' : 'other';
}

/** The fields of /proc/PID/stat behind the name: state, parent, …; undefined when it ended. */
function readStat(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
