/** Memory and processor time of every process of a mesh and its client, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Figure } from '../figures.ts';

interface ProcessSample {
  role: string;
  residentBytes: number;
  cpuMs: number;
}

/** Processor time by role since it was read last, in ms. */
export type CpuMeter = () => Record<string, number>;

/** The kernel counts processor time in hundredths of a second on every Linux. */
const tickMs = 10;

/** What runs below some processes, by pid. */
export function sampleProcesses(roots: readonly number[]): Map<number, ProcessSample> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = Number(readStat(pid)?.[1] ?? Number.NaN);
    if (Number.isNaN(parent)) continue;
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const samples = new Map<number, ProcessSample>();
  const visit = (pid: number): void => {
    const sample = sampleProcess(pid);
    if (sample !== undefined) samples.set(pid, sample);
    for (const child of children.get(pid) ?? []) visit(child);
  };
  for (const root of roots) visit(root);
  return samples;
}

/** Measures what the processes below some others use from now on. */
export function startCpuMeter(roots: readonly number[]): CpuMeter {
  let before = sampleProcesses(roots);
  return () => {
    const after = sampleProcesses(roots);
    const spent: Record<string, number> = {};
    for (const [pid, { role, cpuMs }] of after) {
      spent[role] = (spent[role] ?? 0) + cpuMs - (before.get(pid)?.cpuMs ?? 0);
    }
    before = after;
    return spent;
  };
}

/** Share of a core and memory of each role over some time, as figures. */
export async function watchProcesses(
  root: number,
  options: { scenario: string; during: Promise<unknown> },
): Promise<Figure[]> {
  const readCpu = startCpuMeter([root]);
  const began = performance.now();
  const peaks = new Map<string, number>();
  const look = (): void => {
    const now = new Map<string, { bytes: number; count: number }>();
    for (const { role, residentBytes } of sampleProcesses([root]).values()) {
      const sum = now.get(role) ?? { bytes: 0, count: 0 };
      now.set(role, { bytes: sum.bytes + residentBytes, count: sum.count + 1 });
    }
    for (const [role, { bytes, count }] of now) {
      peaks.set(role, Math.max(peaks.get(role) ?? 0, bytes / count));
    }
  };
  look();
  const timer = setInterval(look, 1_000);
  try {
    await options.during;
  } finally {
    clearInterval(timer);
  }
  look();
  const elapsedMs = performance.now() - began;
  const spent = readCpu();
  return [...peaks].flatMap(([role, bytes]) => {
    const figure = (what: string, value: number, unit: string): Figure => ({
      of: 'product',
      scenario: `${options.scenario}: ${role} ${what}`,
      figure: value,
      unit,
    });
    return [
      figure('memory each, peak', bytes / 1e6, 'MB'),
      figure('processor in all', (100 * (spent[role] ?? 0)) / elapsedMs, '% of a core'),
    ];
  });
}

/** A command line reads empty at times: what a process was once, it stays. */
const knownRoles = new Map<number, string>();

function sampleProcess(pid: number): ProcessSample | undefined {
  const stat = readStat(pid);
  if (stat === undefined) return undefined;
  let command: string;
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return undefined;
  }
  const seen = roleOf(command);
  if (seen !== 'other') knownRoles.set(pid, seen);
  return {
    role: knownRoles.get(pid) ?? seen,
    residentBytes: Number(stat[21]) * 4096,
    cpuMs: readCpuMs(pid) ?? (Number(stat[11]) + Number(stat[12])) * tickMs,
  };
}

/** In nanoseconds, where the kernel keeps that: a map of 1,000 tasks is over in ten ticks. */
function readCpuMs(pid: number): number | undefined {
  try {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [ran] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      nanoseconds += Number(ran);
    }
    return nanoseconds / 1e6;
  } catch {
    return undefined;
  }
}

function roleOf(command: string): string {
  if (command.includes('coordinator/main.ts')) return 'coordinator';
  if (command.includes('node-agent/main.ts')) return 'agent';
  if (command.includes('bench/product/')) return 'client';
  if (command.includes('bwrap')) return 'sandbox';
  if (/python[0-9.]* .*harness/.test(command)) return 'worker';
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
