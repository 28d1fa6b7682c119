/**
 * What an agent makes of the rights that it has: as root of a rootless container, in one that denies
 * user namespaces, and as the machine's root without the slots' users. User namespaces of this
 * machine's own stand in for the containers.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { checkout, launcher } from '../setup/run-program.ts';

/** Debian's nobody: an ordinary user with nothing of its own. */
const nobody = 65_534;
const asNobody = [
  'setpriv',
  ...[`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'],
  // Root in there, as in a rootless container, with one user in all.
  ...['unshare', '--user', '--map-root-user', '--mount', '--'],
];
/** The limit is the namespace's own: nobody outside of it is concerned. */
const denied = [
  ...asNobody,
  ...['sh', '-c', 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', 'sh'],
];
const asRootAlone = ['unshare', '--user', '--map-root-user', '--mount', '--'];

let folder = '';
let coordinator: ChildProcess;
let said: { url: string; token: string; join: string; joinToken: string };
let tasks: Tasks;

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)('an agent with few rights', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-isolation-'));
    // Passed through by the agents of other users; what is in it is closed to them.
    chmodSync(folder, 0o711);
    coordinator = spawn(launcher, ['coordinator', '--data', join(folder, 'data'), '--json'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = await once(createInterface(coordinator.stdout ?? process.stdin), 'line');
    said = JSON.parse(String(line)) as typeof said;
    tasks = createTasks(said);
  });
  afterAll(async () => {
    if (coordinator !== undefined) await end(coordinator);
    rmSync(folder, { recursive: true, force: true });
  });

  it('in a rootless container isolates as an ordinary user does: standard', async () => {
    await using agent = start('rootless', asNobody, { owner: nobody });
    expect((await agent.ready()).isolation).toBe('standard');
    const done = await tasks.run(whoRuns);
    expect(done).toMatchObject({ status: 'SUCCESS' });
    // In its own namespaces: it is the first or second process there.
    expect(await tasks.result(done.id)).toEqual({ isAlone: true });
  });

  it('where user namespaces are denied isolates at minimal, and runs tasks', async () => {
    await using agent = start('denied', denied, { owner: nobody });
    expect((await agent.ready()).isolation).toBe('minimal');
    const done = await tasks.run(whoRuns);
    expect(done).toMatchObject({ status: 'SUCCESS' });
    expect(await tasks.result(done.id)).toEqual({ isAlone: false });
  });

  it('where user namespaces are denied refuses --min-isolation standard, with the line that mends it', async () => {
    await using agent = start('strict', denied, {
      owner: nobody,
      words: ['--min-isolation', 'standard'],
    });
    expect(await agent.ended()).toBe(6);
    const text = agent.said();
    expect(text).toContain('This machine cannot isolate user code at level standard or better.');
    expect(text).toContain('standard: bwrap: ');
    expect(text).toContain('`sysctl user.max_user_namespaces=10000` (RHEL)');
    expect(text).toContain('or accept less with --min-isolation. (isolation_unavailable)');
    expect(text).not.toContain('minimal:');
  });

  it('that is the machine’s root and cannot become a slot’s user starts no sandbox', async () => {
    await using agent = start('root', asRootAlone, { owner: 0 });
    expect(await agent.ended()).toBe(6);
    const text = agent.said();
    for (const level of ['standard', 'reduced', 'minimal']) {
      expect(text).toContain(
        `${level}: root is the machine’s root here and cannot become a slot’s user: uids 61001 to 61183 are not mapped. Fix: map them`,
      );
    }
    expect(text).toContain('(isolation_unavailable)');
  });
});

const whoRuns = `
import os
def work(value):
    return {'isAlone': os.getppid() <= 1 or os.getpid() < 10}
`;

/** An agent started by what gives it its rights. */
function start(name: string, by: string[], options: { owner: number; words?: string[] }) {
  const data = join(folder, name);
  mkdirSync(data, { mode: 0o700 });
  chownSync(data, options.owner, options.owner);
  const [program = '', ...words] = [
    ...by,
    ...[join(checkout, 'node_modules/.bin/node'), join(checkout, 'node-agent/main.ts')],
    ...['--join', said.join, '--name', name, '--data', data, '--slots', '1', '--cpus', '1'],
    ...(options.words ?? []),
  ];
  const env = { ...process.env, PERIGEE_JOIN_TOKEN: said.joinToken, HOME: data };
  const child = spawn(program, words, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (more: string) => {
    text = (text + more).slice(-20_000);
  });
  return {
    said: () => text,
    ready: () =>
      waitFor(`${name} is ready`, async () => {
        if (child.exitCode !== null) throw new Error(`it ended: ${text}`);
        return (await tasks.nodes()).find((node) => node.name === name && node.state === 'ready');
      }),
    async ended(): Promise<number | null> {
      if (child.exitCode === null) await once(child, 'exit');
      return child.exitCode;
    },
    async [Symbol.asyncDispose]() {
      await end(child);
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
