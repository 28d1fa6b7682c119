/** Finds where this process may make control groups. */
import { readFileSync } from 'node:fs';
import { toError } from '../../protocol/base/errors.ts';
import type { AgentMark } from './agent-mark.ts';
import type { CgroupMount, CgroupSearch } from './cgroup.ts';
import { createCgroupHomeV1 } from './cgroup-v1.ts';
import { createCgroupHomeV2 } from './cgroup-v2.ts';

/** Finds a place where this process may make groups; the older interface first, since it rules where both are mounted. */
export function findCgroupHome(agent: AgentMark): CgroupSearch {
  const failures: string[] = [];
  const mounts = readCgroupMounts();
  const own = readOwnCgroups();
  for (const create of [createCgroupHomeV1, createCgroupHomeV2]) {
    try {
      const home = create({ mounts, own, agent });
      if ('home' in home) return home;
      failures.push(home.failure);
    } catch (caught) {
      failures.push(toError(caught).message);
    }
  }
  return {
    failure:
      `no control groups: ${failures.join('; ')}. As root on the machine itself nothing is needed; in a container ` +
      'run it with `--cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw`; without root start it by ' +
      '`systemd-run --user --scope -p Delegate=yes`',
  };
}

function readCgroupMounts(): CgroupMount[] {
  const mounts: CgroupMount[] = [];
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before, after] = line.split(' - ');
    const path = before?.split(' ')[4];
    const [type, , options] = after?.split(' ') ?? [];
    if (path === undefined) continue;
    if (type === 'cgroup')
      mounts.push({ version: 1, path, controllers: options?.split(',') ?? [] });
    if (type === 'cgroup2') mounts.push({ version: 2, path, controllers: [] });
  }
  return mounts;
}

function readOwnCgroups(): Map<string, string> {
  const own = new Map<string, string>();
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    for (const controller of controllers.split(',')) own.set(controller, path);
  }
  return own;
}
