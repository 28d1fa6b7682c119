/** An image goes from one node to another, over real processes that are killed on the way. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
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
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { launcher, runProgram } from '../setup/run-program.ts';

const imageName = 'perigee/python:py3.11';
/** What a coordinator writes beside an image in a test of a minute, by far. */
const otherBytesMax = 8 * 1024 * 1024;

let folder = '';
let short = '';
let coordinator: ChildProcess;
let said: { url: string; token: string; join: string; joinToken: string };
let tasks: Tasks;
const agents: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-image-peers-'));
  // Slots run as other users.
  chmodSync(folder, 0o755);
  const found = await findImages(perigeeHome(process.env), {
    arch: process.arch,
    onSkipped: () => undefined,
  });
  // The smallest that goes by this name, as old ones may lie there too.
  const [image] = found
    .filter((each) => each.names.includes(imageName))
    .sort((left, right) => left.sizeBytes - right.sizeBytes);
  short = image?.digest.slice(7, 39) ?? '';
  for (const home of ['origin', 'has', 'lacks', 'fresh']) {
    mkdirSync(imagesOf(home), { recursive: true });
    if (home === 'lacks' || home === 'fresh') continue;
    symlinkSync(join(perigeeHome(process.env), 'images', short), join(imagesOf(home), short));
  }
  coordinator = spawn(launcher, ['coordinator', '--data', join(folder, 'data'), '--json'], {
    env: { ...process.env, PERIGEE_HOME: join(folder, 'origin') },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  said = JSON.parse(await firstLine(coordinator)) as typeof said;
  tasks = createTasks(said);
  writeFileSync(join(folder, 'join-token'), `${said.joinToken}\n`, { mode: 0o600 });
});

afterAll(async () => {
  for (const child of [...agents, coordinator])
    if (child !== undefined) await end(child, 'SIGTERM');
  rmSync(folder, { recursive: true, force: true });
});

it('a node takes an image from another one, goes on after kill -9, and runs tasks with it', async () => {
  // Too small for the task: it can give its image, and not run it.
  const has = startAgent('has', ['--memory-bytes', String(256 * 1024 * 1024)]);
  const lacks = startAgent('lacks', []);
  const nodes = await waitFor('both are there', async () => {
    const ready = (await tasks.nodes()).filter((node) => node.state === 'ready');
    return ready.length === 2 ? ready : undefined;
  });
  const giver = nodes.find((node) => node.name === 'has');
  expect(nodes.find((node) => node.name === 'lacks')?.images).toEqual([]);

  const before = writtenBytes(coordinator);
  const source = 'def work(value):\n    return value + 42\n';
  const [task = ''] = await tasks.submit(await tasks.create(source), [0]);
  const part = join(imagesOf('lacks'), `.fetching-${short}`, 'archive.part');
  await waitFor('some of it has come', async () => (sizeOf(part) > 0 ? true : undefined), 120_000);
  await end(lacks.child, 'SIGKILL');
  const cut = sizeOf(part);
  expect(existsSync(join(imagesOf('lacks'), short))).toBe(false);

  const again = startAgent('lacks', []);
  const done = await tasks.settle(task, 120_000);
  expect(done, again.log()).toMatchObject({ status: 'SUCCESS' });
  expect(await tasks.result(task)).toBe(42);

  const arrived = again
    .log()
    .split('\n')
    .filter((line) => line.includes('An image has arrived.'));
  expect(arrived).toHaveLength(1);
  expect(arrived[0]).toContain(giver?.id);
  // What had come before the kill was not asked for again.
  expect(JSON.parse(arrived[0] ?? '')).toMatchObject({ offset: cut });
  const packed = join(imagesOf('lacks'), '.archives', `${short}.tar.zst`);
  const packedBytes = statSync(packed).size;
  expect(cut).toBeLessThan(packedBytes);
  const given = readFileSync(join(imagesOf('has'), '.archives', `${short}.tar.zst`));
  expect(readFileSync(packed).equals(given)).toBe(true);
  // The coordinator read it once to say what it is, and neither packed nor sent any of it.
  expect(existsSync(join(imagesOf('origin'), '.archives', `${short}.tar.zst`))).toBe(false);
  expect(writtenBytes(coordinator) - before).toBeLessThan(packedBytes + otherBytesMax);
  expect(has.log()).not.toContain('An image has arrived.');

  const told = await waitFor('the coordinator knows', async () =>
    (await tasks.nodes()).find((node) => node.name === 'lacks' && node.images.length > 0),
  );
  expect(told.images).toEqual([imageName]);
  expect(readdirSync(imagesOf('lacks')).filter((name) => name.startsWith('.fetching'))).toEqual([]);
}, 300_000);

it('a node brings an image with requirements and the one that it lies on', async () => {
  const lacks = agents.at(-1);
  if (lacks !== undefined) await end(lacks, 'SIGTERM');
  const requirements = join(folder, 'requirements.txt');
  writeFileSync(requirements, 'affine==2.4.0\n');
  const built = await runProgram(
    [launcher, 'image', 'build', 'scaled', '--base', imageName, '--requirements', requirements],
    { env: { ...process.env, PERIGEE_URL: said.url, PERIGEE_TOKEN: said.token } },
  );
  expect(built, built.stderr).toMatchObject({ status: 0 });

  const fresh = startAgent('fresh', []);
  await waitFor('it is there', async () =>
    (await tasks.nodes()).find((node) => node.name === 'fresh' && node.state === 'ready'),
  );
  const source = `
import affine

def work(value):
    return [affine.__file__, affine.Affine.scale(2).a]
`;
  const [task = ''] = await tasks.submit(await tasks.create(source, { image: 'scaled' }), [0]);
  const done = await tasks.settle(task, 120_000);
  expect(done, fresh.log()).toMatchObject({ status: 'SUCCESS' });
  expect(await tasks.result(task)).toEqual(['/perigee/site/affine/__init__.py', 2]);
  const from = fresh
    .log()
    .split('\n')
    .filter((line) => line.includes('An image has arrived.'))
    .map((line) => (JSON.parse(line) as { from: string }).from);
  const giver = (await tasks.nodes()).find((node) => node.name === 'has');
  // Nobody else has the layer yet.
  expect(from).toEqual(['the coordinator', giver?.id]);
}, 300_000);

const imagesOf = (home: string): string => join(folder, home, 'images');

function startAgent(home: string, words: string[]): { child: ChildProcess; log(): string } {
  const child = spawn(
    launcher,
    [
      'agent',
      ...['--join', said.join, '--join-token-file', join(folder, 'join-token')],
      ...['--data', join(folder, `${home}-data`), '--name', home, ...words],
    ],
    {
      env: { ...process.env, PERIGEE_HOME: join(folder, home) },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  agents.push(child);
  return { child, log: () => log };
}

function writtenBytes(child: ChildProcess): number {
  const text = readFileSync(`/proc/${child.pid}/io`, 'utf8');
  return Number(/^wchar: (\d+)$/m.exec(text)?.[1]);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout !== null) {
    for await (const line of createInterface({ input: child.stdout })) return line;
  }
  throw new Error('The coordinator did not start.');
}
