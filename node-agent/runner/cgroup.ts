/**
 * Control groups behind one port. A worker gets a group of its own with limits for memory, processes
 * and cpu time; `cgroup-v1.ts` and `cgroup-v2.ts` implement it for the two kernel interfaces.
 */
import type { AgentMark } from './agent-mark.ts';

export interface CgroupLimits {
  memoryBytes: number;
  processesMax: number;
  cpus: number;
}

/** One worker's group. */
export interface Cgroup {
  /** A process that writes its pid into each of these is in the group, and so are its children. */
  readonly joinPaths: readonly string[];
  /** Processes of the group that the kernel killed for its memory limit. */
  countOomKills(): number;
  /** Highest memory so far, 0 when the kernel does not say. */
  readPeakMemoryBytes(): number;
  /** SIGKILL to every process in it. */
  kill(): void;
  /** Kills what is left and removes it; resolves false when the kernel kept it busy for too long. */
  remove(): Promise<boolean>;
}

/** Where one agent keeps its groups. */
export interface CgroupHome {
  readonly version: 1 | 2;
  /** @throws Error of the file system. */
  create(name: string, limits: CgroupLimits): Cgroup;
  /** Kills and removes the groups of agents that are gone. */
  sweepStale(): Promise<void>;
  /** Removes this agent's own folder; its groups must be gone. */
  close(): Promise<void>;
}

/** What a look for control groups found: a home, or why there is none, with the fix. */
export type CgroupSearch = { home: CgroupHome } | { failure: string };

/** A mounted hierarchy. */
export interface CgroupMount {
  version: 1 | 2;
  path: string;
  controllers: readonly string[];
}

/** What the two implementations need to know of the machine. */
export interface CgroupPlaces {
  mounts: readonly CgroupMount[];
  /** Path of this process's own group by controller; `''` is version 2. */
  own: ReadonlyMap<string, string>;
  agent: AgentMark;
}
