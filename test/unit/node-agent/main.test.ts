import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { generateMeshKey, peerIdOfKey } from '../../../protocol/net/mesh-key.ts';
import { findInstalled, isMissing } from '../../isolation/attack.ts';
import type { TinyCoordinator } from './tiny-coordinator.ts';
import { startTinyCoordinator, welcome, within } from './tiny-coordinator.ts';

const mainFile = fileURLToPath(new URL('../../../node-agent/main.ts', import.meta.url));

let folder = '';
let children: ChildProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'perigee-main-test-'));
});
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  children = [];
  await rm(folder, { recursive: true, force: true });
});

/** The agent as a process, at the level that works everywhere. */
function start(
  args: readonly string[],
  level = ['--isolation', 'none', '--insecure'],
  launcher: readonly string[] = [],
) {
  const argv = [...launcher, process.execPath, mainFile, ...level, ...args];
  const child = spawn(argv[0] ?? '', argv.slice(1), {
    env: { ...process.env, PERIGEE_HOME: folder, PERIGEE_JOIN_TOKEN: 'pgj_test' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let said = '';
  child.stdout.on('data', (data: Buffer) => {
    said += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    said += data.toString();
  });
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    said: () => said,
    exitCode: () => within(exited, `the exit; so far it said: ${said}`),
    async saying(text: string) {
      while (!said.includes(text)) {
        const more = Promise.race([once(child.stderr, 'data'), exited]);
        await within(more, `'${text}'; so far: ${said}`);
      }
    },
  };
}

const isRoot = process.getuid?.() === 0;

/** Runs a command where gVisor is not to be had, whether this machine has it or not. */
function hideRunsc(): string[] {
  const path = findInstalled('runsc');
  if (path === undefined || !isRoot) return [];
  const script = 'mount --bind /dev/null "$0" && exec "$@"';
  return ['unshare', '--mount', '--propagation', 'private', '/bin/sh', '-c', script, path];
}

const data = () => ['--data', join(folder, 'data')];

async function withCoordinator(
  play: (coordinator: TinyCoordinator) => Promise<void>,
): Promise<void> {
  await using coordinator = await startTinyCoordinator(await generateMeshKey());
  await play(coordinator);
}

describe('node-agent/main.ts', () => {
  it('explains a missing address with its fix and exits 2', async () => {
    const agent = start([]);
    expect(await agent.exitCode()).toBe(2);
    expect(agent.said()).toContain('--join is missing');
    expect(agent.said()).toContain('Give the join address');
  });

  it('drains at SIGTERM and leaves nothing but its key and caches', async () => {
    await withCoordinator(async (coordinator) => {
      const agent = start(['--join', coordinator.address, ...data(), '--slots', '3']);
      const session = await coordinator.accept();
      expect(session.hello).toMatchObject({ joinToken: 'pgj_test', capacity: { slots: 3 } });
      session.send(welcome());
      await session.next('pull');
      agent.child.kill('SIGTERM');
      await session.next('drainAsked');
      await session.next('goodbye');
      expect(await agent.exitCode()).toBe(0);
      expect(await readdir(join(folder, 'data'))).toEqual(['blobs', 'imagery', 'node.key']);
    });
  });

  it('is the same node when it comes back with its folder', async () => {
    await withCoordinator(async (coordinator) => {
      const pids: number[] = [];
      for (let run = 0; run < 2; run += 1) {
        const agent = start(['--join', coordinator.address, ...data()]);
        const session = await coordinator.accept();
        session.send(welcome());
        pids.push(session.hello.pid);
        await agent.saying('Joined the mesh');
        agent.child.kill('SIGKILL');
        await agent.exitCode();
      }
      expect(new Set(pids).size).toBe(2);
      expect(new Set(coordinator.peers()).size).toBe(1);
    });
  });

  it('exits with the code of a refusal and the coordinator’s own words', async () => {
    await withCoordinator(async (coordinator) => {
      const agent = start(['--join', coordinator.address, ...data()]);
      const session = await coordinator.accept();
      session.send({
        kind: 'refused',
        code: 'join_token_wrong',
        message: 'The join token is used up.',
        fix: 'Make another.',
      });
      expect(await agent.exitCode()).toBe(4);
      expect(agent.said()).toContain(
        'The join token is used up.\nMake another. (join_token_wrong)',
      );
    });
  });

  it('keeps trying while nobody answers, and stops at once when asked to', async () => {
    const peer = peerIdOfKey(await generateMeshKey());
    const agent = start(['--join', `/ip4/127.0.0.1/tcp/1/p2p/${peer}`, ...data()]);
    await agent.saying('cannot be reached; trying again');
    agent.child.kill('SIGTERM');
    expect(await agent.exitCode()).toBe(0);
  });

  it('refuses a folder that another agent uses', async () => {
    const peer = peerIdOfKey(await generateMeshKey());
    const address = ['--join', `/ip4/127.0.0.1/tcp/1/p2p/${peer}`];
    const first = start([...address, ...data()]);
    await first.saying('cannot be reached');
    const second = start([...address, ...data()]);
    expect(await second.exitCode()).toBe(6);
    expect(second.said()).toContain('data_locked');
  });

  it('refuses a folder that is open to everyone, and leaves its mode alone', async () => {
    const shared = mkdtempSync(join(tmpdir(), 'perigee-shared-'));
    chmodSync(shared, 0o1777);
    const peer = peerIdOfKey(await generateMeshKey());
    const agent = start(['--join', `/ip4/127.0.0.1/tcp/1/p2p/${peer}`, '--data', shared]);
    expect(await agent.exitCode()).toBe(6);
    expect(agent.said()).toContain('is open to everyone');
    expect(statSync(shared).mode & 0o7777).toBe(0o1777);
    rmSync(shared, { recursive: true });
  });

  it('refuses a level that this machine cannot give, with the way to it', async () => {
    const peer = peerIdOfKey(await generateMeshKey());
    const args = ['--join', `/ip4/127.0.0.1/tcp/1/p2p/${peer}`, ...data()];
    const agent = start(args, ['--isolation', 'strong'], hideRunsc());
    expect(await agent.exitCode()).toBe(6);
    expect(agent.said()).toContain('isolation_unavailable');
    expect(agent.said()).toContain(isRoot ? 'apt-get install runsc' : 'needs root');
  });

  it.skipIf(isMissing('strong'))('reports the level strong when it was asked for', async () => {
    await withCoordinator(async (coordinator) => {
      const args = ['--join', coordinator.address, ...data()];
      const agent = start(args, ['--isolation', 'strong']);
      const session = await coordinator.accept();
      expect(session.hello.isolation).toBe('strong');
      session.send(welcome());
      await session.next('pull');
      agent.child.kill('SIGTERM');
      expect(await agent.exitCode()).toBe(0);
    });
  });
});
