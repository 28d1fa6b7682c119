/** The life of `scripts/perigee up`: how it starts, is asked to stop, is killed, and what it leaves: nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listProcesses, signal } from '../chaos/processes.ts';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { type Ended, launcher, runProgram } from '../setup/run-program.ts';

interface Ready {
  url: string;
  token: string;
  join: string;
  joinToken: string;
  pids: { up: number; coordinator: number; nodes: number[] };
}

interface Up {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** The line of `--json`. */
  ready(): Promise<Ready>;
  ended(): Promise<{ code: number | null; signal: string | null }>;
}

/** Prints, then works for as long as the argument says. */
const work = `
import time
def work(seconds):
    print('begun')
    time.sleep(seconds)
    return 'through'
`;

let folder = '';
let environment: NodeJS.ProcessEnv = {};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-up-'));
  environment = {
    ...process.env,
    NO_COLOR: '1',
    PERIGEE_CONFIG: join(folder, 'config.json'),
    PERIGEE_STOP_MS_MAX: '1500',
  };
});

// Whatever a test did: nothing of its mesh may be there some seconds later.
afterEach(async () => {
  try {
    for (const { pid, command } of listProcesses(folder)) {
      if (command.includes('sdk/cli/main.ts')) signal(pid, 'SIGTERM');
    }
    await nothingLeft();
  } finally {
    for (const { pid } of listProcesses(folder)) signal(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});

const nothingLeft = (withinMs = 40_000): Promise<true> =>
  waitFor(
    'no process of the mesh is left',
    () => {
      const left = listProcesses(folder);
      if (left.length > 0) throw new Error(left.map(({ command }) => command).join('\n'));
      return true as const;
    },
    withinMs,
  );

function startUp(
  words: string[] = [],
  options: { name?: string; env?: NodeJS.ProcessEnv } = {},
): Up {
  const data = join(folder, options.name ?? 'data');
  const child = spawn(launcher, ['up', '--data', data, '--nodes', '1', ...words], {
    env: { ...environment, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = once(child, 'close');
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text;
  });
  return {
    child,
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    ready: () =>
      waitFor('up is ready', () => {
        if (child.exitCode !== null) throw new Error(`up ended: ${said.stderr}`);
        const [line, rest] = said.stdout.split('\n', 2);
        return rest === undefined ? undefined : (JSON.parse(line ?? '') as Ready);
      }),
    async ended() {
      await exit;
      return { code: child.exitCode, signal: child.signalCode };
    },
  };
}

const perigee = (words: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  runProgram([launcher, ...words], { env: { ...environment, ...env } });

/** A task that runs, and its mesh's API. */
async function runTask(ready: Ready, seconds: number): Promise<{ tasks: Tasks; task: string }> {
  const tasks = createTasks(ready);
  const group = await tasks.create(work);
  const [task = ''] = await tasks.submit(group, [seconds]);
  await tasks.running(task, 'begun');
  return { tasks, task };
}

const config = (): unknown => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));

describe('up', () => {
  it('tells a person where the mesh is, writes the config, and takes it away when it is stopped', async () => {
    const up = startUp();
    await waitFor('it says what is next', () => (up.stderr().includes('next:') ? true : undefined));
    const url = /^Mesh is up: (http:\S+) {2}\(token in (.+)\)\n/.exec(up.stdout());
    expect(url?.[2]).toBe(join(folder, 'config.json'));
    expect(up.stderr()).toBe('next: scripts/perigee python mine.py\n');
    expect(config()).toMatchObject({ url: url?.[1], data: join(folder, 'data') });
    expect(statSync(join(folder, 'config.json')).mode & 0o777).toBe(0o600);
    expect((await perigee(['status'])).status).toBe(0);
    up.child.kill('SIGTERM');
    expect(await up.ended()).toEqual({ code: 0, signal: null });
    expect(existsSync(join(folder, 'config.json'))).toBe(false);
    expect(listProcesses(folder)).toEqual([]);
    expect((await perigee(['status'])).status).toBe(7);
  });

  it('with --json prints one object, keeps its ports and tokens, and locks its data', async () => {
    const first = startUp(['--json']);
    const ready = await first.ready();
    expect(Object.keys(ready)).toEqual(['url', 'token', 'join', 'joinToken', 'pids']);
    expect(ready.pids).toEqual({ up: first.child.pid, coordinator: expect.any(Number), nodes: [] });
    expect((await createTasks(ready).request('GET', '/v1/status')).status).toBe(200);

    const second = await perigee(['up', '--data', join(folder, 'data')]);
    expect(second).toMatchObject({ status: 6, stdout: '' });
    expect(second.stderr).toMatch(
      /^error: Another coordinator uses this data directory. \[data_locked\]\n {2}why: .*\n {2}fix: .*--data.*\n$/,
    );
    expect((await perigee(['status'])).status).toBe(0);

    first.child.kill('SIGTERM');
    expect((await first.ended()).code).toBe(0);
    const again = startUp(['--json']);
    const { pids: _, ...same } = ready;
    expect(await again.ready()).toMatchObject(same);
  });

  it('leaves the config of another mesh that is up alone', async () => {
    const first = startUp(['--json']);
    const { url } = await first.ready();
    const other = startUp(['--json'], { name: 'other' });
    const ready = await other.ready();
    expect(ready.url).not.toBe(url);
    expect(config()).toMatchObject({ url });
    const own = join(folder, 'other', 'config.json');
    expect(other.stderr()).toContain(`belongs to another mesh that is up, ${url}`);
    expect(other.stderr()).toContain(`PERIGEE_CONFIG=${own} scripts/perigee status`);
    const status = await perigee(['status', '--json'], { PERIGEE_CONFIG: own });
    expect(JSON.parse(status.stdout)).toMatchObject({ url: ready.url });
    other.child.kill('SIGTERM');
    expect((await other.ended()).code).toBe(0);
    expect(config()).toMatchObject({ url });
  });

  it('asked to stop lets a short task finish and keeps a long one for the next start', async () => {
    const up = startUp(['--json'], { env: { PERIGEE_STOP_MS_MAX: '4000' } });
    const ready = await up.ready();
    const { task: short } = await runTask(ready, 0.5);
    up.child.kill('SIGTERM');
    expect((await up.ended()).code).toBe(0);
    const again = startUp(['--json'], { env: { PERIGEE_STOP_MS_MAX: '500' } });
    const tasks = createTasks(await again.ready());
    expect(await tasks.look(short)).toMatchObject({ state: 'done', status: 'SUCCESS' });
    const { task: long } = await runTask(ready, 3_600);
    again.child.kill('SIGTERM');
    expect((await again.ended()).code).toBe(0);
    const last = startUp(['--json']);
    await last.ready();
    const found = await tasks.look(long);
    expect(found.state).not.toBe('done');
    expect(found.attempts[0]).toMatchObject({ charged: false });
  });

  it('interrupted when nobody reads what it says any more stops in order', async () => {
    const up = startUp(['--json']);
    await up.ready();
    // As `up 2>&1 | tee FILE` at Ctrl-C: the reader has had the same signal.
    up.child.stdout?.destroy();
    up.child.stderr?.destroy();
    up.child.kill('SIGINT');
    expect(await up.ended()).toEqual({ code: 0, signal: null });
    expect(existsSync(join(folder, 'config.json'))).toBe(false);
    expect(listProcesses(folder)).toEqual([]);
  });

  it('interrupted twice ends at once with 130, whatever runs', async () => {
    const up = startUp(['--json'], { env: { PERIGEE_STOP_MS_MAX: '600000' } });
    await runTask(await up.ready(), 3_600);
    up.child.kill('SIGINT');
    await waitFor('it says that it stops', () =>
      up.stderr().includes('Stopping:') ? true : undefined,
    );
    up.child.kill('SIGINT');
    expect(await up.ended()).toEqual({ code: 130, signal: null });
    await nothingLeft();
  });

  it('starts a killed coordinator again, and its tasks go on', async () => {
    const up = startUp(['--json']);
    const ready = await up.ready();
    const { tasks, task } = await runTask(ready, 4);
    signal(ready.pids.coordinator, 'SIGKILL');
    expect(await perigee(['logs', '-f', task])).toMatchObject({
      status: 0,
      stdout: 'begun\n',
      stderr: expect.stringContaining(`next: scripts/perigee task ${task}\n`),
    });
    expect(up.stderr()).toContain('The coordinator was killed by SIGKILL; it is started again');
    expect(await tasks.settle(task)).toMatchObject({
      status: 'SUCCESS',
      attempts: [{ attempt: 1 }],
    });
    up.child.kill('SIGTERM');
    expect((await up.ended()).code).toBe(0);
  });

  it('killed takes its coordinator and its nodes with it, and is started again over its config', async () => {
    const up = startUp(['--json']);
    const { url } = await up.ready().then(async (ready) => {
      await runTask(ready, 3_600);
      return ready;
    });
    up.child.kill('SIGKILL');
    await nothingLeft();
    expect(config()).toMatchObject({ url });
    const left = await perigee(['status']);
    expect(left.status).toBe(7);
    expect(left.stderr).toContain('fix: ');
    const again = startUp(['--json']);
    expect((await again.ready()).url).toBe(url);
    expect(again.stderr()).not.toContain('belongs to another mesh');
    expect((await perigee(['status'])).status).toBe(0);
  });

  it('killed together with its coordinator leaves nodes that end by themselves', async () => {
    const up = startUp(['--json'], { env: { PERIGEE_NODE_ORPHAN_MS: '1000' } });
    const ready = await up.ready();
    await runTask(ready, 3_600);
    // Stopped first, so that it cannot do anything about it.
    signal(ready.pids.coordinator, 'SIGSTOP');
    up.child.kill('SIGKILL');
    signal(ready.pids.coordinator, 'SIGKILL');
    await nothingLeft();
  });
});
