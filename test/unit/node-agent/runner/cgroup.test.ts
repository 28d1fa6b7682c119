/**
 * Both control group interfaces over plain folders: what is written where. The first is played for
 * real by every test of the sandboxes on a machine that has it; a machine has only one.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AgentMark } from '../../../../node-agent/runner/agent-mark.ts';
import {
  formatAgentMark,
  isStaleMark,
  readAgentMark,
} from '../../../../node-agent/runner/agent-mark.ts';
import type { CgroupSearch } from '../../../../node-agent/runner/cgroup.ts';
import { createCgroupHomeV1 } from '../../../../node-agent/runner/cgroup-v1.ts';
import { createCgroupHomeV2 } from '../../../../node-agent/runner/cgroup-v2.ts';

const limits = { memoryBytes: 256 * 1024 * 1024, processesMax: 64, cpus: 1.5 };

describe('control groups', () => {
  let root: string;
  let agent: AgentMark;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'perigee-cgroup-'));
    agent = readAgentMark();
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8');
  const homeOf = (search: CgroupSearch) => {
    if (!('home' in search)) throw new Error(search.failure);
    return search.home;
  };

  it('of version 2 hand the controllers down and hold the limits', () => {
    writeFileSync(join(root, 'cgroup.controllers'), 'cpuset cpu io memory pids');
    const mounts = [{ version: 2 as const, path: root, controllers: [] }];
    const home = homeOf(createCgroupHomeV2({ mounts, own: new Map([['', '/user']]), agent }));
    const group = home.create('w1', limits);
    const folder = join('perigee', formatAgentMark(agent), 'w1');
    expect(read('cgroup.subtree_control')).toBe('+memory +pids +cpu');
    expect(read('perigee', 'cgroup.subtree_control')).toBe('+memory +pids +cpu');
    expect(read(folder, 'memory.max')).toBe('268435456');
    expect(read(folder, 'memory.swap.max')).toBe('0');
    expect(read(folder, 'memory.oom.group')).toBe('1');
    expect(read(folder, 'pids.max')).toBe('64');
    expect(read(folder, 'cpu.max')).toBe('150000 100000');
    expect(group.joinPaths).toEqual([join(root, folder, 'cgroup.procs')]);
    writeFileSync(join(root, folder, 'memory.events'), 'low 0\noom 3\noom_kill 2\n');
    writeFileSync(join(root, folder, 'memory.peak'), '1234\n');
    expect(group.countOomKills()).toBe(2);
    expect(group.readPeakMemoryBytes()).toBe(1234);
    group.kill();
    expect(read(folder, 'cgroup.kill')).toBe('1');
  });

  it('of version 2 are not used without their controllers', () => {
    writeFileSync(join(root, 'cgroup.controllers'), 'cpu io');
    const mounts = [{ version: 2 as const, path: root, controllers: [] }];
    expect(createCgroupHomeV2({ mounts, own: new Map(), agent })).toEqual({
      failure: 'version 2 has no memory, pids and cpu controllers',
    });
  });

  it('of version 1 hold the limits in each hierarchy', () => {
    const mounts = ['memory', 'pids', 'cpu'].map((name) => {
      mkdirSync(join(root, name));
      return { version: 1 as const, path: join(root, name), controllers: [name] };
    });
    const home = homeOf(createCgroupHomeV1({ mounts, own: new Map(), agent }));
    const group = home.create('w1', limits);
    const folder = join('perigee', formatAgentMark(agent), 'w1');
    expect(read('memory', folder, 'memory.limit_in_bytes')).toBe('268435456');
    expect(read('pids', folder, 'pids.max')).toBe('64');
    expect(read('cpu', folder, 'cpu.cfs_quota_us')).toBe('150000');
    expect(group.joinPaths).toHaveLength(3);
    writeFileSync(
      join(root, 'memory', folder, 'memory.oom_control'),
      'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
    );
    expect(group.countOomKills()).toBe(1);
    group.kill();
    expect(read('pids', folder, 'pids.max')).toBe('0');
  });

  it('of version 1 go below the agent’s own where the top is closed', () => {
    const mounts = ['memory', 'pids', 'cpu'].map((name) => {
      mkdirSync(join(root, name, 'own'), { recursive: true });
      // A file where a folder should be made: as closed as a folder without rights, for root too.
      writeFileSync(join(root, name, 'perigee'), '');
      return { version: 1 as const, path: join(root, name), controllers: [name] };
    });
    const own = new Map([
      ['memory', '/own'],
      ['pids', '/own'],
      ['cpu', '/own'],
    ]);
    const home = homeOf(createCgroupHomeV1({ mounts, own, agent }));
    expect(home.version).toBe(1);
    expect(readdirSync(join(root, 'memory', 'own', 'perigee'))).toEqual([formatAgentMark(agent)]);
  });

  it('of agents that are gone are known by their mark', () => {
    const mark = formatAgentMark(agent);
    expect(isStaleMark(mark, agent)).toBe(false);
    expect(isStaleMark(formatAgentMark({ ...agent, startTicks: '1' }), agent)).toBe(true);
    expect(isStaleMark(formatAgentMark({ ...agent, pid: 4_194_303 }), agent)).toBe(true);
    // Of another pid namespace nothing is known, and what is not a mark is not ours.
    const elsewhere = { ...agent, pidNamespace: '1', startTicks: '1' };
    expect(isStaleMark(formatAgentMark(elsewhere), agent)).toBe(false);
    expect(isStaleMark('something else', agent)).toBe(false);
  });
});
