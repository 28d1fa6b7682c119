/** What this machine has, or the container that the agent runs in: cores, memory, disk. */
import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';

const mib = 1024 * 1024;
/** Left to the agent and the system: a tenth, between these two. */
const reserveBytesMin = 128 * mib;
const reserveBytesMax = 1024 * mib;

export interface MachineSize {
  cpus: number;
  /** For tasks, with a reserve for the agent taken off. */
  memoryBytes: number;
}

/** Files of the machine; a test gives its own root. */
export interface MachineFiles {
  /** `/` unless a test says otherwise. */
  root: string;
}

/** Cores and memory that this process may use, the limits of its cgroups respected. */
export function measureMachine(files: MachineFiles = { root: '/' }): MachineSize {
  const folders = cgroupFolders(files);
  const cpuLimits = folders
    .map((folder) => cpuLimit(folder))
    .filter((limit) => limit !== undefined);
  const memory = Math.min(totalmem(), ...memoryLimits(folders));
  const reserve = Math.min(Math.max(memory * 0.1, reserveBytesMin), reserveBytesMax);
  return {
    cpus: Math.min(availableParallelism(), ...cpuLimits),
    memoryBytes: Math.max(Math.floor(memory - reserve), Math.floor(memory / 2)),
  };
}

/** Bytes of disk below a folder: all, and those that this user may still write. */
export async function measureDisk(
  folder: string,
): Promise<{ sizeBytes: number; freeBytes: number }> {
  const found = await statfs(folder);
  return { sizeBytes: found.blocks * found.bsize, freeBytes: found.bavail * found.bsize };
}

/** 0-1 of the cores, by the last minute, for people. */
export function measureLoad(cpus: number): number {
  return Math.min((loadavg()[0] ?? 0) / Math.max(cpus, 1), 1_000);
}

/** Memory that is free on the machine or left of the container's limit. */
export function measureMemoryFree(files: MachineFiles = { root: '/' }): number {
  return freeWithin(findMemoryLimits(files));
}

/**
 * The same for one who asks every second: which groups have a limit is looked up a few times an hour,
 * for most of the files that could tell do not exist, and each look for one costs as much as a read.
 */
export function createMemoryMeter(
  now: () => number,
  files: MachineFiles = { root: '/' },
): () => number {
  let limits: MemoryLimit[] = [];
  let foundAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (now() - foundAtMs >= limitsKeptMs) {
      limits = findMemoryLimits(files);
      foundAtMs = now();
    }
    return freeWithin(limits);
  };
}

/** How long the limits of the groups are believed: a container's can be changed while it runs. */
const limitsKeptMs = 60_000;

interface MemoryLimit {
  bytes: number;
  /** What of it is used. */
  usedPath: string;
}

function findMemoryLimits(files: MachineFiles): MemoryLimit[] {
  return cgroupFolders(files).flatMap((folder) => {
    const bytes = memoryLimit(folder);
    if (bytes === undefined) return [];
    const paths = [join(folder, 'memory.current'), join(folder, 'memory.usage_in_bytes')];
    const usedPath = paths.find((path) => findNumber(path) !== undefined);
    return usedPath === undefined ? [] : [{ bytes, usedPath }];
  });
}

function freeWithin(limits: readonly MemoryLimit[]): number {
  let free = freemem();
  for (const { bytes, usedPath } of limits) {
    const used = findNumber(usedPath);
    if (used !== undefined) free = Math.min(free, Math.max(bytes - used, 0));
  }
  return free;
}

/**
 * The folders of this process's cgroups and of all above them, of both versions. In a container the
 * path that the kernel tells may not exist below its own mount; the mount's root then is the limit.
 */
function cgroupFolders(files: MachineFiles): string[] {
  const lines = findText(join(files.root, 'proc/self/cgroup'))?.split('\n') ?? [];
  const folders = new Set<string>();
  for (const line of lines) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === '') continue;
    const names = controllers === '' ? ['', 'unified'] : controllers.split(',');
    for (const name of names) {
      const mount = join(files.root, 'sys/fs/cgroup', name);
      const parts = path.split('/').filter((part) => part !== '' && part !== '..');
      for (let depth = parts.length; depth >= 0; depth -= 1) {
        folders.add(join(mount, ...parts.slice(0, depth)));
      }
    }
  }
  return [...folders];
}

function cpuLimit(folder: string): number | undefined {
  const [quota, period] = (findText(join(folder, 'cpu.max')) ?? '').trim().split(' ').map(Number);
  if (isPositive(quota) && isPositive(period)) return quota / period;
  const quotaUs = findNumber(join(folder, 'cpu.cfs_quota_us'));
  const periodUs = findNumber(join(folder, 'cpu.cfs_period_us'));
  return isPositive(quotaUs) && isPositive(periodUs) ? quotaUs / periodUs : undefined;
}

function memoryLimits(folders: readonly string[]): number[] {
  return folders.map((folder) => memoryLimit(folder)).filter((limit) => limit !== undefined);
}

function memoryLimit(folder: string): number | undefined {
  const limit =
    findNumber(join(folder, 'memory.max')) ?? findNumber(join(folder, 'memory.limit_in_bytes'));
  return isPositive(limit) ? limit : undefined;
}

function isPositive(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value > 0;
}

function findNumber(path: string): number | undefined {
  const text = findText(path)?.trim();
  if (text === undefined || text === '' || text === 'max') return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
}

function findText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Most of these files do not exist on most machines.
    return undefined;
  }
}
