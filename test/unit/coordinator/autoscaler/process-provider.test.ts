import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  findProcess,
  isAlive,
  signalProcess,
} from '../../../../coordinator/autoscaler/process-table.ts';
import type { Provider } from '../../../../coordinator/autoscaler/provider-port.ts';
import { createProcessProvider } from '../../../../coordinator/autoscaler/providers/process.ts';
import type { InstanceId } from '../../../../protocol/wire/ids.ts';

const one = 'local-one' as InstanceId;
const two = 'local-two' as InstanceId;
const request = (instance: InstanceId) => ({ instance, offer: 'process', userData: '' });
const { signal } = new AbortController();

describe('process provider', () => {
  let folder: string;
  let provider: Provider;
  let ended: InstanceId[];
  let warnings: string[];
  const create = (): Provider => {
    const created = createProcessProvider(
      {
        makeJoinToken: async (instance) => `token of ${instance}`,
        joinAddress: () => '/ip4/127.0.0.1/tcp/1/p2p/X',
        log: { warn: (_fields, message) => warnings.push(message) },
      },
      {
        agentMain: join(import.meta.dirname, 'stand-in-agent.ts'),
        folder,
        shape: { slots: 1, cpus: 1, memoryBytes: 2 ** 31, network: false },
        mounts: ['scenes=/tmp'],
        imageryAllow: ['127.0.0.1:9'],
        orphanMs: 60_000,
        watchMs: 10,
        env: process.env,
      },
    );
    // This test's list: what ends while it is cleaned up is not the next test's.
    const heard = ended;
    created.onEnded((instance) => heard.push(instance));
    return created;
  };
  const started = async (instance: InstanceId): Promise<{ arguments: string[]; token: string }> => {
    const file = join(folder, instance, 'started.json');
    await expect
      .poll(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('}'))
      .toBe(true);
    return JSON.parse(readFileSync(file, 'utf8'));
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-provider-'));
    ended = [];
    warnings = [];
    provider = create();
  });
  afterEach(async () => {
    const pids = [...provider.pids()];
    for (const instance of [one, two]) provider.kill(instance);
    await expect.poll(() => pids.filter((pid) => findProcess(pid) !== undefined)).toEqual([]);
    await provider.close();
    rmSync(folder, { recursive: true });
  });

  it('starts a node with its address, its tag and a token that no other user can see', async () => {
    await provider.create(request(one), signal);
    const { arguments: words, token } = await started(one);
    const line = words.join(' ');
    expect(line).toContain('--join /ip4/127.0.0.1/tcp/1/p2p/X');
    expect(line).toContain(`--instance ${one}`);
    expect(line).toContain('--slots 1 --cpus 1 --memory-bytes 2147483648');
    expect(line).toContain('--mount scenes=/tmp');
    expect(line).toContain('--imagery-allow 127.0.0.1:9');
    expect(line).toContain('--exit-when-orphaned-seconds 60');
    expect(token).toBe(`token of ${one}`);
    expect(line).not.toContain('token of');
  });

  it('tells the end of a node at once, however it ended, and removes its folder', async () => {
    await provider.create(request(one), signal);
    await provider.create(request(two), signal);
    await started(one);
    await provider.terminate(one, null, signal);
    provider.kill(two);
    await expect.poll(() => [...ended].sort()).toEqual([one, two]);
    expect(provider.pids()).toEqual([]);
    expect(existsSync(join(folder, one))).toBe(false);
    await provider.terminate(one, null, signal);
    provider.kill(one);
    expect(ended).toHaveLength(2);
  });

  it('tells the end of a node whose folder cannot be removed, and lives on', async () => {
    await provider.create(request(one), signal);
    await started(one);
    const held = join(folder, one, 'held');
    const release = makeIrremovable(held);
    try {
      provider.kill(one);
      await expect
        .poll(() => [ended, warnings])
        .toEqual([[one], ['the folder of a local node stays']]);
      expect(existsSync(held)).toBe(true);
    } finally {
      release();
    }
  });

  it('finds its nodes again in another run, by tag, and watches them by process and start time', async () => {
    const handle = await provider.create(request(one), signal);
    await started(one);
    const later = create();
    const listed = await later.list(signal);
    expect([...listed]).toMatchObject([[one, { handle, state: 'running', interrupted: false }]]);
    later.adopt(one, handle);
    expect(later.pids()).toEqual(provider.pids());
    await later.terminate(one, null, signal);
    await expect.poll(() => ended).toEqual([one, one]);
    expect([...(await later.list(signal))]).toEqual([]);
    await later.close();
  });

  it('tells the end of a node that ended between two runs', async () => {
    const dead = JSON.stringify({ pid: process.pid, startTicks: '1' });
    provider.adopt(one, dead);
    await expect.poll(() => ended).toEqual([one]);
  });
});

/** A folder that not even its owner can remove as it is, and the way to let go of it. */
function makeIrremovable(folder: string): () => void {
  mkdirSync(join(folder, 'inside'), { recursive: true });
  if (process.getuid?.() !== 0) {
    chmodSync(folder, 0o555);
    return () => chmodSync(folder, 0o755);
  }
  execFileSync('mount', ['-t', 'tmpfs', 'perigee-test', folder]);
  return () => execFileSync('umount', [folder]);
}

describe('process table', () => {
  it('tells a process from a later one with the same id', () => {
    const self = findProcess(process.pid);
    expect(self?.pid).toBe(process.pid);
    if (self === undefined) return;
    expect(isAlive(self)).toBe(true);
    const earlier = { ...self, startTicks: '1' };
    expect(isAlive(earlier)).toBe(false);
    // This would end the test itself if the start time did not count.
    signalProcess(earlier, 'SIGKILL');
    expect(findProcess(2 ** 22 + 1)).toBeUndefined();
  });
});
