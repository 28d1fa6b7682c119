/** Control groups, version 2: one hierarchy, whose controllers are handed down level by level. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { toError } from '../../protocol/base/errors.ts';
import { formatAgentMark, isStaleMark } from './agent-mark.ts';
import type { Cgroup, CgroupHome, CgroupLimits, CgroupPlaces, CgroupSearch } from './cgroup.ts';
import {
  findControl,
  killMembers,
  listGroups,
  readControlField,
  readControlNumber,
  removeFolders,
  tryWriteControl,
  writeControl,
} from './cgroup-folder.ts';

const controllers = ['memory', 'pids', 'cpu'];
const cpuPeriodUs = 100_000;

/** The first place that lets this process make groups: below the root, then below its own (delegated) group. */
export function createCgroupHomeV2(places: CgroupPlaces): CgroupSearch {
  const mount = places.mounts.find(
    (one) => one.version === 2 && hasControllers(one.path, 'cgroup.controllers'),
  );
  if (mount === undefined) return { failure: 'version 2 has no memory, pids and cpu controllers' };
  const failures: string[] = [];
  for (const parent of [mount.path, join(mount.path, places.own.get('') ?? '/')]) {
    try {
      return { home: openHome(parent, places) };
    } catch (caught) {
      failures.push(toError(caught).message);
    }
  }
  return { failure: `version 2: ${failures.join(', ')}` };
}

function openHome(parent: string, places: CgroupPlaces): CgroupHome {
  handDown(parent, places.agent.pid);
  const base = join(parent, 'perigee');
  const own = join(base, formatAgentMark(places.agent));
  mkdirSync(base, { recursive: true });
  handDown(base, null);
  mkdirSync(own, { recursive: true });
  handDown(own, null);
  return {
    version: 2,
    create(name, limits) {
      const folder = join(own, name);
      mkdirSync(folder);
      setLimits(folder, limits);
      return openGroup(folder);
    },
    async sweepStale() {
      for (const name of listGroups(base)) {
        if (isStaleMark(name, places.agent)) await removeAgent(join(base, name));
      }
    },
    async close() {
      await removeAgent(own);
    },
  };
}

/**
 * Lets the groups below `folder` have the controllers. A group other than the root may not have
 * members then, so the agent moves itself into a leaf when it is in the way.
 */
function handDown(folder: string, agentPid: number | null): void {
  if (hasControllers(folder, 'cgroup.subtree_control')) return;
  const order = controllers.map((controller) => `+${controller}`).join(' ');
  if (tryWriteControl(folder, 'cgroup.subtree_control', order)) return;
  if (agentPid !== null) {
    const leaf = join(folder, 'perigee-agent');
    mkdirSync(leaf, { recursive: true });
    writeControl(leaf, 'cgroup.procs', agentPid);
  }
  writeControl(folder, 'cgroup.subtree_control', order);
}

function hasControllers(folder: string, file: string): boolean {
  const present = (findControl(folder, file) ?? '').trim().split(/\s+/);
  return controllers.every((controller) => present.includes(controller));
}

async function removeAgent(folder: string): Promise<void> {
  for (const name of listGroups(folder)) await openGroup(join(folder, name)).remove();
  await removeFolders([folder], () => {});
}

function setLimits(folder: string, limits: CgroupLimits): void {
  writeControl(folder, 'memory.max', limits.memoryBytes);
  tryWriteControl(folder, 'memory.swap.max', 0);
  // One victim would leave a worker behind that is neither whole nor gone.
  tryWriteControl(folder, 'memory.oom.group', 1);
  writeControl(folder, 'pids.max', limits.processesMax);
  writeControl(folder, 'cpu.max', `${Math.ceil(limits.cpus * cpuPeriodUs)} ${cpuPeriodUs}`);
}

function openGroup(folder: string): Cgroup {
  const kill = () => {
    // Before Linux 5.14 there is no kill file; then no fork gets through while members are killed.
    if (tryWriteControl(folder, 'cgroup.kill', 1)) return;
    tryWriteControl(folder, 'pids.max', 0);
    killMembers(folder);
  };
  return {
    joinPaths: [join(folder, 'cgroup.procs')],
    countOomKills: () => readControlField(folder, 'memory.events', 'oom_kill'),
    readPeakMemoryBytes: () => readControlNumber(folder, 'memory.peak'),
    kill,
    remove: () => removeFolders([folder], kill),
  };
}
