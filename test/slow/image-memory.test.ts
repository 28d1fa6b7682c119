/** A large image goes from node to node and from the coordinator, and the real processes stay small. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { launcher } from '../setup/run-program.ts';

const mib = 1024 ** 2;
const grownBytesMax = 64 * mib;
const short = '5c'.repeat(16);
const name = 'test/large:1';
const children: ChildProcess[] = [];
let folder = '';
let coordinator: ChildProcess;
let said: { url: string; token: string; join: string; joinToken: string };
let tasks: Tasks;

const imagesOf = (home: string): string => join(folder, home, 'images');
const libraryOf = (home: string): string => join(imagesOf(home), short, 'rootfs', 'library-4');

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-large-'));
  chmodSync(folder, 0o755);
  const image = join(imagesOf('origin'), short);
  mkdirSync(join(image, 'rootfs'), { recursive: true });
  const python = { implementation: 'CPython', version: '3.11.2', path: '/usr/bin/python3' };
  const fields = { name, digest: `sha256:${'5c'.repeat(32)}`, python, arch: process.arch };
  writeFileSync(join(image, 'image.json'), JSON.stringify({ ...fields, sizeBytes: 500 * mib }));
  // Random bytes do not get smaller on the way.
  for (let part = 0; part < 500; part += 1) {
    appendFileSync(join(image, 'rootfs', `library-${part % 5}`), randomBytes(mib));
  }
  mkdirSync(imagesOf('has'), { recursive: true });
  symlinkSync(image, join(imagesOf('has'), short));
  coordinator = start('origin', ['coordinator', '--data', join(folder, 'data'), '--json']);
  const lines = createInterface({ input: coordinator.stdout ?? process.stdin });
  said = JSON.parse(String((await once(lines, 'line'))[0])) as typeof said;
  tasks = createTasks(said);
  writeFileSync(join(folder, 'join-token'), `${said.joinToken}\n`, { mode: 0o600 });
});

afterAll(async () => {
  for (const child of children.reverse()) await end(child);
  rmSync(folder, { recursive: true, force: true });
});

it('an image of 500 MB reaches a node from another one, and no process grows by 64 MB', async () => {
  // Too small for the task: it can give its image, and not run it.
  const has = startAgent('has', ['--memory-bytes', String(256 * mib)]);
  const lacks = startAgent('lacks', []);
  await waitForNodes('has', 'lacks');
  const grown = await watchGrowth({ coordinator, has, lacks }, () => bring('lacks'));
  expectSmall(grown);
  await end(has);
  await end(lacks);
});

it('an image of 500 MB reaches a node from the coordinator, and neither grows by 64 MB', async () => {
  const fresh = startAgent('fresh', []);
  await waitForNodes('fresh');
  const grown = await watchGrowth({ coordinator, fresh }, () => bring('fresh'));
  expectSmall(grown);
});

/** Has a task ask for the image; it cannot run in random bytes, but they are to come. */
async function bring(home: string): Promise<void> {
  const source = 'def work(value):\n    return value\n';
  await tasks.submit(await tasks.create(source, { image: name }), [0]);
  const isHere = async () =>
    existsSync(join(imagesOf(home), '.archives', `${short}.json`)) ? true : undefined;
  await waitFor('the image is there', isHere, 300_000);
  expect(statSync(libraryOf(home)).size).toBe(100 * mib);
  expect(readFileSync(libraryOf(home)).equals(readFileSync(libraryOf('origin')))).toBe(true);
}

/** The largest growth of each process while something happens, by the kernel's own high-water mark. */
async function watchGrowth(
  watched: Record<string, ChildProcess>,
  happens: () => Promise<void>,
): Promise<[string, number][]> {
  const before = new Map<string, number>();
  for (const [role, child] of Object.entries(watched)) {
    before.set(role, residentBytes(child, 'VmRSS'));
    writeFileSync(`/proc/${child.pid}/clear_refs`, '5');
  }
  await happens();
  return Object.entries(watched).map(([role, child]) => [
    role,
    residentBytes(child, 'VmHWM') - (before.get(role) ?? 0),
  ]);
}

function expectSmall(grown: readonly [string, number][]): void {
  const shown = grown.map(([role, bytes]) => `${role} +${(bytes / mib).toFixed(1)} MiB`);
  process.stdout.write(`500 MiB: ${shown.join(', ')}\n`);
  for (const [role, bytes] of grown) expect(bytes, role).toBeLessThan(grownBytesMax);
}

function residentBytes(child: ChildProcess, key: string): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1]) * 1024;
}

async function waitForNodes(...names: string[]): Promise<void> {
  await waitFor(`${names.join(' and ')} ready`, async () => {
    const ready = (await tasks.nodes()).filter((node) => node.state === 'ready');
    return names.every((each) => ready.some((node) => node.name === each)) ? true : undefined;
  });
}

function startAgent(home: string, words: readonly string[]): ChildProcess {
  return start(home, [
    'agent',
    ...['--join', said.join, '--join-token-file', join(folder, 'join-token')],
    ...['--data', join(folder, `${home}-data`), '--name', home, ...words],
  ]);
}

function start(home: string, words: readonly string[]): ChildProcess {
  const child = spawn(launcher, words, {
    env: { ...process.env, PERIGEE_HOME: join(folder, home) },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
