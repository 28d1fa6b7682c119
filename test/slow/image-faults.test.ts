/**
 * What goes wrong with an image on its way, over real processes: its giver is killed, it has no room,
 * it is on one node alone, it must go to make room. The images hold random bytes, in which no task
 * can run: what is looked at is how they come and go.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { launcher } from '../setup/run-program.ts';

const mib = 1024 ** 2;
const patienceMs = 120_000;
/** Too small for any task: such a node gives images, and runs nothing. */
const giver = ['--memory-bytes', String(64 * mib)];
const isRoot = process.getuid?.() === 0;

let folder = '';
let said: { url: string; token: string; join: string; joinToken: string };
let tasks: Tasks;
let children: ChildProcess[] = [];
let mounts: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-image-faults-'));
  chmodSync(folder, 0o755);
});

afterEach(async () => {
  for (const child of children.reverse()) await end(child);
  children = [];
  for (const mount of mounts) execFileSync('umount', [mount]);
  mounts = [];
  rmSync(folder, { recursive: true, force: true });
});

it('an image goes on from the coordinator when the node that gave it is killed', async () => {
  makeImage('has', 'aa', 300 * mib);
  cpSync(imagesOf('has'), imagesOf('origin'), { recursive: true, preserveTimestamps: true });
  await startCoordinator();
  const has = startAgent('has', giver);
  const lacks = startAgent('lacks', []);
  await waitForNodes('has', 'lacks');
  await ask('aa');
  const part = join(imagesOf('lacks'), `.fetching-${shortOf('aa')}`, 'archive.part');
  const some = () => (sizeOf(part) > 10 * mib ? true : undefined);
  await waitFor('some of it has come', some, patienceMs);
  has.child.kill('SIGKILL');
  await waitForImage('lacks', 'aa');
  expect(lacks.log()).toContain('An image did not arrive from there.');
  const arrived = await waitFor('it is told', () => lines(lacks, 'An image has arrived.')[0]);
  expect(JSON.parse(arrived)).toMatchObject({ from: 'the coordinator' });
  expect(libraryOf('lacks', 'aa').equals(libraryOf('origin', 'aa'))).toBe(true);
});

it('an image that one node alone has comes to another one', async () => {
  makeImage('has', 'aa', 5 * mib);
  await startCoordinator();
  startAgent('has', giver);
  const lacks = startAgent('lacks', []);
  await waitForNodes('has', 'lacks');
  await ask('aa');
  await waitForImage('lacks', 'aa');
  expect(libraryOf('lacks', 'aa').equals(libraryOf('has', 'aa'))).toBe(true);
  await waitFor('it is told', () => lines(lacks, 'An image has arrived.')[0]);
  expect(existsSync(join(imagesOf('origin'), shortOf('aa')))).toBe(false);
});

it('the longest unused image goes for one that must come, and everyone knows', async () => {
  for (const name of ['aa', 'bb', 'cc']) makeImage('origin', name, 20 * mib);
  await startCoordinator();
  const lacks = startAgent('lacks', [], { PERIGEE_IMAGES_BYTES_MAX: String(70 * mib) });
  await waitForNodes('lacks');
  for (const name of ['aa', 'bb', 'cc']) {
    await tasks.terminate(await ask(name, () => waitForImage('lacks', name)), false);
  }
  await waitFor('the coordinator knows', async () => {
    const node = (await tasks.nodes()).find((each) => each.name === 'lacks');
    return node?.images.join() === 'test/bb:1,test/cc:1' ? true : undefined;
  });
  expect(lines(lacks, 'An unused image was removed')).toHaveLength(1);
  expect(readdirSync(join(imagesOf('lacks'), '.archives')).join()).not.toContain(
    `${shortOf('aa')}.tar.zst`,
  );
  // What went comes again when it is asked for.
  await ask('aa', () => waitForImage('lacks', 'aa'));
});

it.skipIf(!isRoot)('an image without room leaves nothing, and its tasks go elsewhere', async () => {
  makeImage('origin', 'aa', 40 * mib);
  mkdirSync(join(folder, 'full'));
  const options = ['-t', 'tmpfs', '-o', 'size=64m,mode=0755', 'perigee-test', join(folder, 'full')];
  execFileSync('mount', options);
  mounts.push(join(folder, 'full'));
  await startCoordinator();
  const full = startAgent('full', [], { PERIGEE_BLOB_RETRY_MS: '50' });
  await waitForNodes('full');
  await ask('aa');
  await waitFor('the tasks went back', () => lines(full, 'Tasks go back')[0], patienceMs);
  expect(lines(full, 'Tasks go back')[0]).toMatch(/needs 8\d MB of disk.*are free/);
  expect(readdirSync(imagesOf('full')).filter((name) => !name.startsWith('.lock'))).toEqual([]);
  startAgent('roomy', []);
  await waitForImage('roomy', 'aa');
});

const shortOf = (name: string): string => name.repeat(16);
const imagesOf = (home: string): string => join(folder, home, 'images');
const libraryOf = (home: string, name: string): Buffer =>
  readFileSync(join(imagesOf(home), shortOf(name), 'rootfs', 'library'));
const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Random bytes do not get smaller on the way. */
function makeImage(home: string, name: string, bytes: number): void {
  const image = join(imagesOf(home), shortOf(name));
  mkdirSync(join(image, 'rootfs'), { recursive: true });
  writeFileSync(join(image, 'rootfs', 'library'), randomBytes(bytes));
  const python = { implementation: 'CPython', version: '3.11.2', path: '/usr/bin/python3' };
  const fields = { name: `test/${name}:1`, digest: `sha256:${name.repeat(32)}`, python };
  const text = JSON.stringify({ ...fields, arch: process.arch, sizeBytes: bytes });
  writeFileSync(join(image, 'image.json'), text);
}

/** Makes a task that needs the image, and answers its group. */
async function ask(name: string, meanwhile?: () => Promise<void>): Promise<string> {
  const source = 'def work(value):\n    return value\n';
  const group = await tasks.create(source, { image: `test/${name}:1` });
  await tasks.submit(group, [0]);
  await meanwhile?.();
  return group;
}

async function waitForImage(home: string, name: string): Promise<void> {
  const note = join(imagesOf(home), '.archives', `${shortOf(name)}.json`);
  const isThere = () => (existsSync(note) ? true : undefined);
  await waitFor(`${home} has the image ${name}`, isThere, patienceMs);
}

async function waitForNodes(...names: string[]): Promise<void> {
  const areReady = async () => {
    const ready = (await tasks.nodes()).filter((node) => node.state === 'ready');
    return names.every((each) => ready.some((node) => node.name === each)) ? true : undefined;
  };
  await waitFor(`${names.join(' and ')} ready`, areReady, patienceMs);
}

async function startCoordinator(): Promise<void> {
  const { child } = start('origin', ['coordinator', '--data', join(folder, 'data'), '--json']);
  const output = createInterface({ input: child.stdout ?? process.stdin });
  said = JSON.parse(String((await once(output, 'line'))[0])) as typeof said;
  tasks = createTasks(said);
  writeFileSync(join(folder, 'join-token'), `${said.joinToken}\n`, { mode: 0o600 });
}

interface Started {
  child: ChildProcess;
  log(): string;
}

function startAgent(home: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const where = ['--join', said.join, '--join-token-file', join(folder, 'join-token')];
  const data = ['--data', join(folder, `${home}-data`), '--name', home];
  return start(home, ['agent', ...where, ...data, ...words], {
    PERIGEE_IMAGES_DISK_FREE_BYTES_MIN: '0',
    ...env,
  });
}

function start(home: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  mkdirSync(imagesOf(home), { recursive: true });
  const child = spawn(launcher, words, {
    env: { ...process.env, PERIGEE_HOME: join(folder, home), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  return { child, log: () => log };
}

function lines(agent: Started, text: string): string[] {
  return agent
    .log()
    .split('\n')
    .filter((line) => line.includes(text));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
