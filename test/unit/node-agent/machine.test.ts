import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createMemoryMeter,
  measureDisk,
  measureMachine,
  measureMemoryFree,
} from '../../../node-agent/machine.ts';

const gib = 1024 ** 3;
const reserveMin = 128 * 1024 ** 2;
let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'perigee-machine-test-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function write(files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

describe('measureMachine', () => {
  it('takes the whole machine, less a reserve, where nothing limits it', () => {
    const { cpus, memoryBytes } = measureMachine({ root });
    expect(cpus).toBe(availableParallelism());
    expect(memoryBytes).toBeLessThan(totalmem());
    expect(memoryBytes).toBeGreaterThanOrEqual(Math.floor(totalmem() / 2));
  });

  it('keeps to the limits of a container of version 2', async () => {
    await write({
      'proc/self/cgroup': '0::/\n',
      'sys/fs/cgroup/cpu.max': '50000 100000\n',
      'sys/fs/cgroup/memory.max': `${2 * gib}\n`,
    });
    expect(measureMachine({ root })).toEqual({ cpus: 0.5, memoryBytes: Math.floor(1.8 * gib) });
  });

  it('keeps to the tightest limit of all groups above it', async () => {
    await write({
      'proc/self/cgroup': '0::/system.slice/agent.service\n',
      'sys/fs/cgroup/memory.max': 'max\n',
      'sys/fs/cgroup/system.slice/memory.max': `${gib}\n`,
      'sys/fs/cgroup/system.slice/agent.service/memory.max': `${2 * gib}\n`,
      'sys/fs/cgroup/system.slice/agent.service/cpu.max': 'max 100000\n',
    });
    expect(measureMachine({ root })).toEqual({
      cpus: availableParallelism(),
      memoryBytes: gib - reserveMin,
    });
  });

  it('keeps to the limits of version 1, whose path a container does not see', async () => {
    await write({
      'proc/self/cgroup': '4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': `${gib}\n`,
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '25000\n',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    });
    expect(measureMachine({ root })).toEqual({ cpus: 0.25, memoryBytes: gib - reserveMin });
  });

  it('takes version 1’s word for no limit as none', async () => {
    await write({
      'proc/self/cgroup': '4:memory:/\n3:cpu:/\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    });
    expect(measureMachine({ root })).toEqual(measureMachine({ root: join(root, 'nothing') }));
  });
});

describe('measureMemoryFree', () => {
  it('is what the container has left', async () => {
    await write({
      'proc/self/cgroup': '0::/\n',
      'sys/fs/cgroup/memory.max': '1000\n',
      'sys/fs/cgroup/memory.current': '400\n',
    });
    expect(measureMemoryFree({ root })).toBe(600);
  });
});

describe('createMemoryMeter', () => {
  it('follows what is used at every look, and the limit in time', async () => {
    let nowMs = 0;
    const measure = createMemoryMeter(() => nowMs, { root });
    await write({
      'proc/self/cgroup': '0::/\n',
      'sys/fs/cgroup/memory.max': '1000\n',
      'sys/fs/cgroup/memory.current': '400\n',
    });
    expect(measure()).toBe(600);
    await write({ 'sys/fs/cgroup/memory.current': '900\n' });
    nowMs += 1_000;
    expect(measure()).toBe(100);
    await write({ 'sys/fs/cgroup/memory.max': '2000\n' });
    nowMs += 60_000;
    expect(measure()).toBe(1_100);
  });
});

describe('measureDisk', () => {
  it('knows the disk of a folder', async () => {
    const { sizeBytes, freeBytes } = await measureDisk(root);
    expect(sizeBytes).toBeGreaterThan(0);
    expect(freeBytes).toBeLessThanOrEqual(sizeBytes);
  });
});
