/** Control groups, version 1: one hierarchy per controller, a folder of the same name in each. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { toError } from '../../protocol/base/errors.ts';
import { formatAgentMark, isStaleMark } from './agent-mark.ts';
import type { Cgroup, CgroupHome, CgroupLimits, CgroupPlaces, CgroupSearch } from './cgroup.ts';
import {
  killMembers,
  listGroups,
  readControlField,
  readControlNumber,
  removeFolders,
  tryWriteControl,
  writeControl,
} from './cgroup-folder.ts';

const controllers = ['memory', 'pids', 'cpu'] as const;
type Folders = Record<(typeof controllers)[number], string>;
const cpuPeriodUs = 100_000;

/** The first place that lets this process make groups: below the root of the hierarchies, then below its own group. */
export function createCgroupHomeV1(places: CgroupPlaces): CgroupSearch {
  const failures: string[] = [];
  for (const below of ['top', 'own'] as const) {
    const bases = findBases(places, below);
    if (bases === undefined)
      return { failure: 'version 1 has no memory, pids and cpu hierarchies' };
    try {
      return { home: openHome(bases, places) };
    } catch (caught) {
      failures.push(toError(caught).message);
    }
  }
  return { failure: `version 1: ${failures.join(', ')}` };
}

function findBases(places: CgroupPlaces, below: 'top' | 'own'): Folders | undefined {
  const found = new Map<string, string>();
  for (const controller of controllers) {
    const mount = places.mounts.find(
      (one) => one.version === 1 && one.controllers.includes(controller),
    );
    if (mount === undefined) return undefined;
    const own = below === 'own' ? (places.own.get(controller) ?? '/') : '/';
    found.set(controller, join(mount.path, own, 'perigee'));
  }
  return foldersOf((controller) => found.get(controller) ?? '');
}

function openHome(bases: Folders, places: CgroupPlaces): CgroupHome {
  const mark = formatAgentMark(places.agent);
  const own = foldersOf((controller) => join(bases[controller], mark));
  for (const folder of Object.values(own)) mkdirSync(folder, { recursive: true });
  return {
    version: 1,
    create(name, limits) {
      const folders = foldersOf((controller) => join(own[controller], name));
      for (const folder of Object.values(folders)) mkdirSync(folder);
      setLimits(folders, limits);
      return openGroup(folders);
    },
    async sweepStale() {
      const names = new Set(controllers.flatMap((controller) => listGroups(bases[controller])));
      for (const name of names) {
        if (!isStaleMark(name, places.agent)) continue;
        await removeAgent(foldersOf((controller) => join(bases[controller], name)));
      }
    },
    async close() {
      await removeAgent(own);
    },
  };
}

async function removeAgent(agent: Folders): Promise<void> {
  const names = new Set(controllers.flatMap((controller) => listGroups(agent[controller])));
  for (const name of names) {
    await openGroup(foldersOf((controller) => join(agent[controller], name))).remove();
  }
  await removeFolders(Object.values(agent), () => {});
}

function setLimits(folders: Folders, limits: CgroupLimits): void {
  writeControl(folders.memory, 'memory.limit_in_bytes', limits.memoryBytes);
  // Missing when the kernel does not account for swap; then there is none to hide in.
  tryWriteControl(folders.memory, 'memory.memsw.limit_in_bytes', limits.memoryBytes);
  tryWriteControl(folders.memory, 'memory.swappiness', 0);
  writeControl(folders.pids, 'pids.max', limits.processesMax);
  tryWriteControl(folders.cpu, 'cpu.cfs_period_us', cpuPeriodUs);
  tryWriteControl(folders.cpu, 'cpu.cfs_quota_us', Math.ceil(limits.cpus * cpuPeriodUs));
}

function openGroup(folders: Folders): Cgroup {
  const kill = () => {
    // No fork gets through while the members are killed one by one.
    tryWriteControl(folders.pids, 'pids.max', 0);
    killMembers(folders.pids);
  };
  return {
    joinPaths: Object.values(folders).map((folder) => join(folder, 'cgroup.procs')),
    countOomKills: () => readControlField(folders.memory, 'memory.oom_control', 'oom_kill'),
    readPeakMemoryBytes: () => readControlNumber(folders.memory, 'memory.max_usage_in_bytes'),
    kill,
    remove: () => removeFolders(Object.values(folders), kill),
  };
}

function foldersOf(pathOf: (controller: keyof Folders) => string): Folders {
  return { memory: pathOf('memory'), pids: pathOf('pids'), cpu: pathOf('cpu') };
}
